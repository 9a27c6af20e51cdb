#include "cuda/upsample_confidence.cuh"
#include "cuda/upsample_confidence.h"

namespace magnet::cuda {
namespace {

template <class T, bool kLogits>
void run(const Map& coarse, const Map& upsampled, Global<float> confidence, const Stream& stream) {
  const auto start = [&](auto kernel, int64_t rows, int64_t columns, auto... more) {
    const PixelGrid grid(upsampled.n, rows, columns, 1, kUpsampleThreads);
    launch("upsample_confidence", kernel, grid.n * grid.blocks, kUpsampleThreads, stream, view_of<const T>(coarse),
           view_of<T>(upsampled), confidence, grid, more...);
  };
  if constexpr (sizeof(T) < 8) {
    if (doubles(coarse, upsampled.h, upsampled.w)) {
      return start(upsample_confidence_squares<T, kLogits>, coarse.h + 1, coarse.w, planes_aligned(upsampled, 2));
    }
  }
  start(upsample_confidence_pixels<T, kLogits>, upsampled.h, upsampled.w);
}

}  // namespace

void upsample_confidence(const Map& coarse, const Map& upsampled, bool from_logits, float* confidence,
                         const Stream& stream) {
  const int64_t pixels = upsampled.n * upsampled.h * upsampled.w;
  if (pixels == 0) return;
  const Global<float> out = global<float>(confidence, pixels);
  visit_element(coarse.type, [&](auto zero) {
    visit_flag(from_logits, [&](auto logits) { run<decltype(zero), logits.value>(coarse, upsampled, out, stream); });
  });
}

}  // namespace magnet::cuda
