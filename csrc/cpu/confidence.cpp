// confidence: top-1 minus top-2 class probability.
#include "binding/checks.h"
#include "cpu/parts/margins.h"
#include "cpu/parts/tensors.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {

Tensor confidence(const Tensor& x, bool from_logits) {
  Map map = view(x, "x");
  check_classes(map.c, "x");
  Tensor result = new_scores(x, map.n, map.h, map.w);
  const int64_t pixels = map.h * map.w;
  if (map.n * pixels == 0) return result;
  prefer_large_pages(result, map.n * pixels * 4);
  float* out = static_cast<float*>(result.data_ptr());

  if (map.one_row()) map = as_one_row(map);
  constexpr int64_t kSpan = 16 * kMarginBlock;
  const int64_t spans = (map.w + kSpan - 1) / kSpan;
  const int64_t rows = std::max<int64_t>(1, kSpan / map.w);  // narrow rows are taken several at a time
  const int64_t bands = (map.h + rows - 1) / rows, items = map.n * bands * spans;
  Workspace tiles(worker_count(items), map.planar() ? 0 : tile_bytes(map));
  for_each_item(items, [&](int64_t worker, int64_t item) {
    const int64_t x0 = item % spans * kSpan, band = item / spans % bands, image = item / (spans * bands);
    for (int64_t y = band * rows; y < std::min(map.h, (band + 1) * rows); ++y) {
      margin_pixels(map, image, y, x0, std::min(kSpan, map.w - x0), from_logits, tiles.of(worker),
                    out + image * pixels + y * map.w + x0);
    }
  });
  return result;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) { m.def("confidence(Tensor x, bool from_logits=False) -> Tensor"); }

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("confidence", TORCH_BOX(&magnet::confidence)); }
