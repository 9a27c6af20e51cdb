// replace_points: the values of fine at the points, of coarse elsewhere.
#include "binding/checks.h"
#include "cpu/parts/replace.h"
#include "cpu/parts/tensors.h"

namespace magnet {
namespace {

// Raises IndexError before anything is written; returns the points as a dense array.
const int64_t* checked_points(const Tensor& points, const Map& coarse, std::vector<int64_t>& dense) {
  check_points(points, coarse);
  const int64_t n = points.size(0), k = points.size(1), sn = points.stride(0), sk = points.stride(1);
  const int64_t* data = static_cast<const int64_t*>(points.data_ptr());
  if (!points.is_contiguous()) {
    dense.resize(n * k);
    for (int64_t i = 0; i < n * k; ++i) dense[i] = data[i / k * sn + i % k * sk];
    data = dense.data();
  }
  const int64_t total = coarse.h * coarse.w;
  int64_t lowest = 0, highest = -1;
  for (int64_t i = 0; i < n * k; ++i) {
    lowest = std::min(lowest, data[i]);
    highest = std::max(highest, data[i]);
  }
  if (lowest < -1 || highest >= total) {
    const int64_t* wrong = std::find_if(data, data + n * k, [&](int64_t p) { return p < -1 || p >= total; });
    throw std::out_of_range("points: expected flat indices from -1 to " + std::to_string(total - 1) + ", got " +
                            std::to_string(*wrong) + "; they count y * W + x");
  }
  return data;
}

void replace_points_(const Tensor& coarse, const Tensor& fine, const Tensor& points) {
  const Map to = view(coarse, "coarse"), from = view(fine, "fine");
  check_same(to, from, "fine");
  std::vector<int64_t> dense;
  const int64_t* data = checked_points(points, to, dense);
  replace_pixels(from, to, data, points.size(1));
}

Tensor replace_points(const Tensor& coarse, const Tensor& fine, const Tensor& points) {
  const Map base = view(coarse, "coarse"), from = view(fine, "fine");
  check_same(base, from, "fine");
  std::vector<int64_t> dense;
  const int64_t* data = checked_points(points, base, dense);
  Tensor result = torch::stable::empty_like(coarse);
  const Map to = view(result, "result");
  prefer_large_pages(result, result.numel() * to.item());
  copy_map(base, to);
  replace_pixels(from, to, data, points.size(1));
  return result;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def("replace_points(Tensor coarse, Tensor fine, Tensor points) -> Tensor");
  m.def("replace_points_(Tensor(a!) coarse, Tensor fine, Tensor points) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) {
  m.impl("replace_points", TORCH_BOX(&magnet::replace_points));
  m.impl("replace_points_", TORCH_BOX(&magnet::replace_points_));
}
