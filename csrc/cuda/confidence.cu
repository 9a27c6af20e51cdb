#include "cuda/confidence.cuh"
#include "cuda/confidence.h"

namespace magnet::cuda {
namespace {

template <class T, bool kLogits>
void run_pixels(const Map& x, Global<float> out, const PixelTiles& tiles, const Stream& stream) {
  launch("confidence", confidence_pixels<T, kLogits>, tiles.blocks, PixelTiles::kThreads, stream, view_of<const T>(x),
         out, tiles);
}

template <class T, bool kLogits, int kN, int kClasses>
void run_planes(const Map& x, Global<float> out, const Stream& stream) {
  const PixelGrid grid(x.n, x.h, x.w, kN, kConfidenceThreads);
  launch("confidence", confidence_planes<T, kLogits, kN, kClasses>, x.n * grid.blocks, kConfidenceThreads, stream,
         view_of<const T>(x), out, grid);
}

template <class T, bool kLogits>
void run(const Map& x, const Map& result, Global<float> out, const Stream& stream) {
  const PixelTiles tiles(x);
  if (tiles.pixels > 0 && pixels_dense(x)) return run_pixels<T, kLogits>(x, out, tiles, stream);
  if constexpr (sizeof(T) < 8) {
    constexpr int kN = kPixelsAThread<T, kLogits>;
    if (planes_aligned(x, kN) && planes_aligned(result, 4)) {
      return visit_classes(x.c, [&](auto classes) { run_planes<T, kLogits, kN, classes.value>(x, out, stream); });
    }
  }
  run_planes<T, kLogits, 1, 0>(x, out, stream);
}

}  // namespace

void confidence(const Map& map, bool from_logits, float* data, const Stream& stream) {
  if (map.n * map.h * map.w == 0) return;
  Map x = map, result = scores_like(data, x.n, x.h, x.w);
  flatten({&x, &result});
  const Global<float> out = global<float>(data, x.n * x.h * x.w);
  visit_element(x.type, [&](auto zero) {
    visit_flag(from_logits, [&](auto logits) { run<decltype(zero), logits.value>(x, result, out, stream); });
  });
}

}  // namespace magnet::cuda
