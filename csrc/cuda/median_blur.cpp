// median_blur on CUDA: between torch and the kernels.
#include "cuda/median_blur.h"

#include "binding/checks.h"
#include "cuda/parts/binding.h"

namespace magnet::cuda {
namespace {

Tensor median_blur_tensor(const Tensor& x, int64_t kernel_size) {
  check_kernel_size(kernel_size);
  const Map in = view(x, "x");
  const OnDevice on(x);
  Tensor result = torch::stable::empty_like(x);
  median_blur(in, view(result, "result"), static_cast<int>(kernel_size), on.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("median_blur", TORCH_BOX(&magnet::cuda::median_blur_tensor)); }
