// Acquire and release, which no kernel of this project needs: what was written before a release is seen after the
// acquire that reads its value.
#pragma once
#include "cuda/parts/device.cuh"

namespace magnet {

MAGNET_DEVICE uint64_t load_acquire(const uint64_t* p) {
  uint64_t x;
  asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(x) : "l"(p) : "memory");
  return x;
}
MAGNET_DEVICE void store_release(uint64_t* p, uint64_t x) {
  asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(x) : "memory");
}

}  // namespace magnet
