// confidence: top-1 minus top-2 class probability.
#include "cuda/confidence.h"

#include "binding/checks.h"
#include "cuda/parts/binding.h"

namespace magnet::cuda {
namespace {

Tensor confidence_tensor(const Tensor& x, bool from_logits) {
  const Map map = view(x, "x");
  check_classes(map.c, "x");
  const OnDevice device(x);
  Tensor result = new_scores(x, map.n, map.h, map.w);
  confidence(map, from_logits, static_cast<float*>(result.data_ptr()), device.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("confidence", TORCH_BOX(&magnet::cuda::confidence_tensor)); }
