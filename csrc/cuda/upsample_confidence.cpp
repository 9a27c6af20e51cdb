#include "cuda/upsample_confidence.h"

#include <tuple>

#include "cuda/binding.h"
#include "cuda/patches.h"

namespace magnet::cuda {
namespace {

std::tuple<Tensor, Tensor> upsample_confidence_tensors(const Tensor& coarse, int64_t height, int64_t width,
                                                       bool from_logits) {
  check(coarse.dim() == 4, "coarse: expected 4 dimensions (N, C, H, W), got ", coarse.dim());
  check(coarse.size(1) >= 2, "coarse: expected at least 2 channels (C), got ", coarse.size(1));
  check(coarse.size(2) > 0 && coarse.size(3) > 0, "coarse: expected at least one pixel (H, W >= 1)");
  check(height > 0 && width > 0, "size: expected two positive ints (H, W)");
  const OnDevice device(coarse);
  const int64_t n = coarse.size(0);
  Tensor upsampled = new_map(coarse, n, coarse.size(1), height, width, is_channels_last(coarse));
  Tensor confidence = new_scores(coarse, n, height, width);
  upsample_confidence(view(coarse, "coarse"), view(upsampled, "upsampled"), from_logits,
                      static_cast<float*>(confidence.data_ptr()), device.stream);
  return {upsampled, confidence};
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("upsample_confidence", TORCH_BOX(&magnet::cuda::upsample_confidence_tensors)); }
