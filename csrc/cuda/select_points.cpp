// select_points: flat indices of the K highest scores of each image.
#include "cuda/select_points.h"

#include "binding/checks.h"
#include "cuda/parts/binding.h"

namespace magnet::cuda {
namespace {

Tensor select_points(const Tensor& score, const std::optional<Tensor>& mask, int64_t n_points) {
  const Map map = read_scores(score, n_points);
  const OnDevice device(score);
  Selection selection{map.n, map.h, map.w, n_points};
  selection.valid = view_mask(mask, map.n, map.h, map.w);
  selection.wide = map.type == Element::f64;
  const Workspace sizes(selection);
  Tensor points = torch::stable::new_empty(score, {map.n, n_points}, ScalarType::Long);
  if (map.n * n_points == 0) return points;
  Tensor workspace = torch::stable::new_empty(score, {sizes.bytes}, ScalarType::Byte);
  if (sizes.zero_bytes > 0) {
    Tensor counts = torch::stable::narrow(workspace, 0, 0, sizes.zero_bytes);
    torch::stable::zero_(counts);
  }
  selection.workspace = static_cast<char*>(workspace.data_ptr());
  selection.points = static_cast<int64_t*>(points.data_ptr());
  make_keys(selection, map, false, device.stream);
  list_points(selection, nullptr, nullptr, device.stream);
  return points;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("select_points", TORCH_BOX(&magnet::cuda::select_points)); }
