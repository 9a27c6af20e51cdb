// patch_uncertainty: the mean of 1 - confidence over boxes.
#include "cuda/patch_uncertainty.h"

#include "binding/checks.h"
#include "cuda/parts/patches.h"

namespace magnet::cuda {
namespace {

Tensor patch_uncertainty(const Tensor& coarse, const Tensor& boxes, bool from_logits) {
  const Map map = view(coarse, "coarse");
  check_classes(map.c, "coarse");
  const std::vector<Rect> list = rounded(read_boxes(boxes, map.n));
  const OnDevice device(coarse);
  Tensor result = torch::stable::new_empty(coarse, {static_cast<int64_t>(list.size())}, ScalarType::Float);
  if (list.empty()) return result;
  Tensor workspace = new_workspace(coarse, patch_uncertainty_workspace(map, list));
  launch_patch_uncertainty(map, list, from_logits, static_cast<float*>(result.data_ptr()), workspace.data_ptr(),
                           device.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("patch_uncertainty", TORCH_BOX(&magnet::cuda::patch_uncertainty)); }
