// median_blur: the median of a square window, zero padded.
#include "cpu/median_blur.h"

#include <type_traits>
#include <utility>

#include "common/median_network.h"
#include "common/order_key.h"
#include "cpu/tensors.h"

namespace magnet {
namespace {

// One image and channel; strides in elements.
struct MedianPlane {
  const void* src;
  int64_t src_sy, src_sx;
  void* dst;
  int64_t dst_sy, dst_sx;
  int64_t h, w;
};

}  // namespace
}  // namespace magnet

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC's own _mm512_undefined_epi32
#endif
#define MAGNET_KERNEL_FILE "cpu/median_blur_kernel.h"
#include "cpu/foreach_isa.h"

namespace magnet {
namespace {

void run_median_rows(Element type, const MedianPlane& plane, int kernel_size, int64_t y0, int64_t y1) {
  switch (type) {
    case Element::f32:
      return MAGNET_BEST(median_rows<Float32Format>)(plane, kernel_size, y0, y1);
    case Element::f16:
      return MAGNET_BEST(median_rows<Float16Format>)(plane, kernel_size, y0, y1);
    case Element::bf16:
      return MAGNET_BEST(median_rows<BFloat16Format>)(plane, kernel_size, y0, y1);
    case Element::f64:
      return MAGNET_BEST(median_rows<Float64Format>)(plane, kernel_size, y0, y1);
  }
}

Tensor median_blur(const Tensor& x, int64_t kernel_size) {
  check(kernel_size >= 1 && kernel_size <= 15 && kernel_size % 2 == 1,
        "kernel_size: expected an odd int from 1 to 15, got ", kernel_size);
  const Map in = view(x, "x");
  Tensor result = torch::stable::empty_like(x);
  const int64_t planes = in.n * in.c;
  if (planes * in.h * in.w == 0) return result;
  if (kernel_size == 1) {
    torch::stable::copy_(result, x);
    return result;
  }
  const Map out = view(result, "result");
  prefer_large_pages(result, planes * in.h * in.w * in.item());
  // Bands of rows: each reads kernel_size - 1 rows more than it writes, so they should not be low.
  const int64_t pixels = (int64_t{1} << 17) / kernel_size;
  const int64_t rows = std::clamp<int64_t>(pixels / in.w, std::min<int64_t>(in.h, 2 * kernel_size), in.h);
  const int64_t bands = (in.h + rows - 1) / rows;
  for_each_item(planes * bands, [&](int64_t, int64_t item) {
    const int64_t band = item % bands, n = item / bands / in.c, c = item / bands % in.c;
    const MedianPlane plane{in.at(n, 0, 0) + c * in.sc * in.item(),
                            in.sh,
                            in.sw,
                            out.at(n, 0, 0) + c * out.sc * out.item(),
                            out.sh,
                            out.sw,
                            in.h,
                            in.w};
    run_median_rows(in.type, plane, static_cast<int>(kernel_size), band * rows, std::min(in.h, (band + 1) * rows));
  });
  return result;
}

}  // namespace

void median_blur_rows(const float* src, float* dst, int64_t h, int64_t w, int kernel_size, int64_t y0, int64_t y1) {
  if (kernel_size == 1) {
    std::copy(src + y0 * w, src + y1 * w, dst + y0 * w);
    return;
  }
  run_median_rows(Element::f32, {src, w, 1, dst, w, 1, h, w}, kernel_size, y0, y1);
}

}  // namespace magnet

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("median_blur", TORCH_BOX(&magnet::median_blur)); }
