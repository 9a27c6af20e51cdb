// Radix selection within a block: counts of the keys' digits, and the digit of the K-th highest.
#pragma once

#include "cuda/parts/block.cuh"

namespace magnet::cuda {

// Adds one to bins[digit[i]] for every i and lane that counts. The first digit of the warp is counted apart and added
// at once: in flat areas nothing else is there, and lanes would wait for each other.
template <int kN>
MAGNET_DEVICE void count_digits(Shared<uint32_t> bins, const bool (&counts)[kN], const uint32_t (&digit)[kN]) {
  bool any = false;
  uint32_t mine = 0;
#pragma unroll
  for (int i = kN - 1; i >= 0; --i) {
    any = any || counts[i];
    mine = counts[i] ? digit[i] : mine;
  }
  const uint32_t lanes = __ballot_sync(kFullWarp, any);
  if (lanes == 0) return;
  const int first = __ffs(static_cast<int>(lanes)) - 1;
  const uint32_t usual = __shfl_sync(kFullWarp, mine, first);
  uint32_t same = 0;
#pragma unroll
  for (int i = 0; i < kN; ++i) {
    const bool is_usual = digit[i] == usual;
    same += __popc(__ballot_sync(kFullWarp, counts[i] && is_usual));
    if (counts[i] && !is_usual) atomic_add(bins + digit[i], 1u);
  }
  if (lane_index() == first) atomic_add(bins + usual, same);
}

struct Rank {
  uint32_t digit, wanted, count;  // wanted: the rank left among the `count` keys with that digit
};

// Of keys counted by digit: the digit of the one of rank `wanted`, from 1 for the highest; it must exist. kBins: a
// power of two. All threads of a block, a power of two.
template <uint32_t kBins>
MAGNET_DEVICE Rank find_digit(Shared<uint32_t> bins, uint32_t wanted, Shared<uint32_t> scratch) {
  const uint32_t own = kBins > blockDim.x ? kBins / blockDim.x : 1, t = threadIdx.x;  // bins of a thread
  const bool active = t * own < kBins;
  const uint32_t end = kBins - t * own;  // of its bins; the first thread has the highest
  uint32_t sum = 0;
  if (active) {
    for (uint32_t i = 0; i < own; ++i) sum += bins[end - own + (i + t) % own];  // turned: banks do not collide
  }
  const uint32_t before = block_scan(sum, scratch).before;
  if (before < wanted && wanted - before <= sum) {
    uint32_t digit = end - 1, left = wanted - before;
    for (; left > bins[digit]; --digit) left -= bins[digit];
    scratch[0] = digit;
    scratch[1] = left;
    scratch[2] = bins[digit];
  }
  __syncthreads();
  const Rank rank{scratch[0], scratch[1], scratch[2]};
  __syncthreads();
  return rank;
}

}  // namespace magnet::cuda
