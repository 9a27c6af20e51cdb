// Between torch's stable tensors and the host side of the CUDA operators.
#pragma once

#include "binding/tensors.h"
#include "cuda/parts/launch.h"
#include "cuda/parts/stream.h"

// MAGNET_EMULATED: compiled for tests on the CPU (tests/ptx), whose operators take CPU tensors and live in a
// namespace of their own.
#ifdef MAGNET_EMULATED
#define MAGNET_CUDA_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(magnet_kernels_emulated, CPU, m)
#else
#include <torch/csrc/stable/accelerator.h>
#define MAGNET_CUDA_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CUDA, m)
#endif

namespace magnet {

// Makes the device of a tensor the current one while it lives; `stream` is the current stream there.
class OnDevice {
 public:
#ifdef MAGNET_EMULATED
  explicit OnDevice(const Tensor&) {}
#else
  explicit OnDevice(const Tensor& x) : guard_(x.get_device_index()) {
    stream.device = x.get_device_index();
    stream.handle = current_stream(stream.device);
  }
#endif
  Stream stream;

#ifndef MAGNET_EMULATED
 private:
  torch::stable::accelerator::DeviceGuard guard_;
#endif
};

}  // namespace magnet
