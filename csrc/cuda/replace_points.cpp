// replace_points: the values of fine at the points, of coarse elsewhere. Does not wait for the points: those outside
// the map replace nothing.
#include "cuda/replace_points.h"

#include "binding/checks.h"
#include "cuda/parts/binding.h"

namespace magnet::cuda {
namespace {

PointList view_points(const Tensor& points, const Map& map) {
  check_points(points, map);
  return {static_cast<const int64_t*>(points.data_ptr()), points.size(1), points.stride(0), points.stride(1)};
}

void replace_points_(const Tensor& coarse, const Tensor& fine, const Tensor& points) {
  const Map to = view(coarse, "coarse"), from = view(fine, "fine");
  check_same(to, from, "fine");
  const PointList list = view_points(points, to);
  const OnDevice device(coarse);
  replace_pixels(from, to, list, false, device.stream);
}

Tensor replace_points(const Tensor& coarse, const Tensor& fine, const Tensor& points) {
  const Map from = view(fine, "fine");
  check_same(view(coarse, "coarse"), from, "fine");
  const PointList list = view_points(points, from);
  const OnDevice device(coarse);
  Tensor result = torch::stable::clone(coarse);
  replace_pixels(from, view(result, "result"), list, false, device.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) {
  m.impl("replace_points", TORCH_BOX(&magnet::cuda::replace_points));
  m.impl("replace_points_", TORCH_BOX(&magnet::cuda::replace_points_));
}
