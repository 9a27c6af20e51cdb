// crop_patches: patches cut out of maps by RoIAlign.
#include "cuda/crop_patches.h"

#include "binding/patch_arguments.h"
#include "cuda/parts/patches.h"

namespace magnet::cuda {
namespace {

template <class Real>
CropBox crop_box(const Box& box, int64_t height, int64_t width, bool aligned) {
  const auto axis = [&](int start, int64_t size) {
    return roi_axis(static_cast<Real>(box[start]), static_cast<Real>(box[start + 2]), size, aligned);
  };
  return {static_cast<int64_t>(box[0]), axis(2, height), axis(1, width)};
}

Tensor crop_patches(const Tensor& x, const Tensor& boxes, int64_t height, int64_t width, bool aligned) {
  const std::vector<Box> list = read_crop_arguments(x, boxes, height, width);
  check_sides("x", x.size(2), x.size(3));
  check_sides("output_size", height, width);
  const OnDevice device(x);
  const bool channels_last = is_channels_last(x);
  Tensor result = new_map(x, boxes.size(0), x.size(1), height, width, channels_last);
  if (result.numel() == 0) return result;
  check_not_empty(x.size(2), x.size(3), "x");
  const Map map = view(x, "x"), out = view(result, "result");
  std::vector<CropBox> crops;
  crops.reserve(list.size());
  for (const Box& box : list) {
    crops.push_back(map.type == Element::f64 ? crop_box<double>(box, height, width, aligned)
                                             : crop_box<float>(box, height, width, aligned));
  }
  Tensor workspace = new_workspace(x, crop_patches_workspace(map, crops, out));
  launch_crop_patches(map, crops, channels_last, out, workspace.data_ptr(), device.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("crop_patches", TORCH_BOX(&magnet::cuda::crop_patches)); }
