// upsample_confidence: a map made larger, and the confidence of the larger map.
#include "cuda/upsample_confidence.h"

#include <tuple>

#include "binding/checks.h"
#include "cuda/parts/binding.h"
#include "cuda/parts/patches.h"

namespace magnet::cuda {
namespace {

std::tuple<Tensor, Tensor> upsample_confidence_tensors(const Tensor& coarse, int64_t height, int64_t width,
                                                       bool from_logits) {
  check_upsample_arguments(coarse, height, width);
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
