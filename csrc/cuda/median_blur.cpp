// median_blur on CUDA: between torch and the kernels.
#include "cuda/median_blur.h"

#include "cuda/binding.h"

namespace magnet::cuda {
namespace {

Tensor median_blur_tensor(const Tensor& x, int64_t kernel_size) {
  check(kernel_size >= 1 && kernel_size <= 15 && kernel_size % 2 == 1,
        "kernel_size: expected an odd int from 1 to 15, got ", kernel_size);
  const Map in = view(x, "x");
  const OnDevice on(x);
  Tensor result = torch::stable::empty_like(x);
  median_blur(in, view(result, "result"), static_cast<int>(kernel_size), on.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("median_blur", TORCH_BOX(&magnet::cuda::median_blur_tensor)); }
