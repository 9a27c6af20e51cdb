// select_points: flat indices of the K highest scores of each image.
#include "binding/checks.h"
#include "cpu/parts/select.h"
#include "cpu/parts/tensors.h"

namespace magnet {
namespace {

Tensor select_points(const Tensor& score, const std::optional<Tensor>& mask, int64_t n_points) {
  const Map map = read_scores(score, n_points);
  const ValidMap valid = view_mask(mask, map.n, map.h, map.w);
  Tensor points = torch::stable::new_empty(score, {map.n, n_points}, ScalarType::Long);
  if (map.n * n_points == 0) return points;
  int64_t* out = static_cast<int64_t*>(points.data_ptr());
  prefer_large_pages(points, map.n * n_points * 8);
  const auto image = [&](int64_t n) {
    select_highest(map.type, score_plane(map, valid, n), n_points, out + n * n_points);
  };
  if (map.h * map.w < kSelectAlone) {
    for_each_item(map.n, [&](int64_t, int64_t n) { image(n); });
  } else {
    for (int64_t n = 0; n < map.n; ++n) image(n);
  }
  return points;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def("select_points(Tensor score, Tensor? mask, SymInt n_points) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("select_points", TORCH_BOX(&magnet::select_points)); }
