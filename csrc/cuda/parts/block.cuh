// Sums over a warp and over a block, and cleared shared memory.
#pragma once

#include "cuda/parts/device.cuh"

namespace magnet::cuda {

constexpr uint32_t kFullWarp = 0xffffffffu;

MAGNET_DEVICE uint32_t lane_index() { return threadIdx.x % 32; }

MAGNET_DEVICE uint32_t warp_sum(uint32_t x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kFullWarp, x, distance);
  return x;
}

// The sum over the lanes up to this one.
MAGNET_DEVICE uint32_t warp_scan(uint32_t x) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const uint32_t below = __shfl_up_sync(kFullWarp, x, distance);
    if (lane_index() >= distance) x += below;
  }
  return x;
}

struct Scanned {
  uint32_t before, total;
};

constexpr int kScratchWords = 32;

// The sum over the threads before this one, and over all. `scratch` is free to use before and after.
MAGNET_DEVICE Scanned block_scan(uint32_t x, Shared<uint32_t> scratch) {
  const uint32_t sum = warp_scan(x), warp = threadIdx.x / 32;
  if (lane_index() == 31) scratch[warp] = sum;
  __syncthreads();
  Scanned result{sum - x, 0};
  for (uint32_t i = 0; i < blockDim.x / 32; ++i) {
    const uint32_t part = scratch[i];
    result.before += i < warp ? part : 0;
    result.total += part;
  }
  __syncthreads();
  return result;
}

// Zeros, by all threads of a block; visible after a barrier.
template <uint32_t kCount>
MAGNET_DEVICE void clear(Shared<uint32_t> words) {
  static_assert(kCount % 4 == 0);
  for (uint32_t i = threadIdx.x * 4; i < kCount; i += blockDim.x * 4) store<4>(words + i, Pack<uint32_t, 4>{});
}

}  // namespace magnet::cuda
