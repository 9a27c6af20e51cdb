// Kernels with one mistake each, and the same without it: kWrong. The lines that may be blamed end in "// wrong". The
// correct ones leave i + 1 at out[i]. test_ptx_mistakes.py says how each is launched and what must be found.
#pragma once
#include "cuda/parts/device.cuh"
#include "order.cuh"

namespace magnet::cuda {

constexpr unsigned kAll = 0xffffffff;

// Compiles a kernel NAME<kWrong>(...) with and without its mistake.
#define MAGNET_CASE(name, ...)                       \
  template __global__ void name<false>(__VA_ARGS__); \
  template __global__ void name<true>(__VA_ARGS__);

MAGNET_DEVICE uint32_t lane_id() { return threadIdx.x % 32; }

}  // namespace magnet::cuda
