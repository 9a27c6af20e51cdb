// median_blur: the median of a square window, zero padded.
#include "binding/checks.h"
#include "cpu/parts/median.h"
#include "cpu/parts/tensors.h"

namespace magnet {
namespace {

Tensor median_blur(const Tensor& x, int64_t kernel_size) {
  check_kernel_size(kernel_size);
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
    median_blur_rows(in.type, plane, static_cast<int>(kernel_size), band * rows, std::min(in.h, (band + 1) * rows));
  });
  return result;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) { m.def("median_blur(Tensor x, int kernel_size=3) -> Tensor"); }

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("median_blur", TORCH_BOX(&magnet::median_blur)); }
