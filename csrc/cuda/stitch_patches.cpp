// stitch_patches: patches resized to their boxes and laid into maps, overlaps averaged.
#include "cuda/stitch_patches.h"

#include <tuple>

#include "binding/patch_arguments.h"
#include "cuda/parts/patches.h"

namespace magnet::cuda {
namespace {

std::tuple<Tensor, Tensor> stitch_patches(const Tensor& patches, const Tensor& boxes, int64_t height, int64_t width,
                                          int64_t batch_size) {
  const std::vector<Box> list = read_stitch_arguments(patches, boxes, height, width, batch_size);
  check_sides("size", height, width);
  const OnDevice device(patches);
  const bool channels_last = is_channels_last(patches);
  Tensor result = new_map(patches, batch_size, patches.size(1), height, width, channels_last);
  Tensor covered = torch::stable::new_empty(patches, {batch_size, 1, height, width}, ScalarType::Bool);
  if (covered.numel() == 0) return {result, covered};
  check_not_empty(patches.size(2), patches.size(3), "patches");
  const Map map = view(patches, "patches"), out = view(result, "result");
  Tensor workspace = new_workspace(patches, rect_bytes(map.n));
  launch_stitch_patches(map, rounded(list), channels_last, out, static_cast<bool*>(covered.data_ptr()),
                        workspace.data_ptr(), device.stream);
  return {result, covered};
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("stitch_patches", TORCH_BOX(&magnet::cuda::stitch_patches)); }
