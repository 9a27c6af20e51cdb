// The K-th highest key of a large image. The keys that have its leading digit are looked at once: their next 12 bits
// and all their 20 lower bits are counted at once; the last block reads the former to find 256 of the latter, and among
// these the key.
#pragma once

#include "cuda/parts/select_keys.cuh"

namespace magnet::cuda {

constexpr int kThresholdThreads = 512;
constexpr int kThresholdLoads = 4;  // 16-byte loads in flight of a thread
constexpr int kThresholdSteps = 2;  // of so many loads
constexpr int64_t kThresholdTile = int64_t{kThresholdThreads} * kThresholdLoads * kThresholdSteps * 4;
constexpr int kHotBits = 11;

// Counts the candidates of a block. Keys that come often must not meet at one address in global memory: they are first
// added up here, under their hash; a key whose place is taken goes to the tables at once.
struct CandidateCounts {
  Shared<uint32_t> second, hot_key, hot_count;
  Global<uint32_t> fine;

  MAGNET_DEVICE void add(uint32_t key, uint32_t count) const {
    const uint32_t place = key * 0x9e3779b1u >> (32 - kHotBits);
    const uint32_t owner = atomic_cas(hot_key + place, 0u, key);
    if (owner == 0 || owner == key) {
      atomic_add(hot_count + place, count);
    } else {
      add_to_tables(key, count);
    }
  }
  MAGNET_DEVICE void add_to_tables(uint32_t key, uint32_t count) const {
    add_relaxed(fine + key % kFineCounts, count);
    atomic_add(second + (key >> 8) % kSelectDigits, count);
  }
};

template <int kThreads>
MAGNET_KERNEL(kThreads, 96, 1)
void find_threshold(SelectTables tables, uint32_t blocks_of_image) {
  constexpr int kHot = 1 << kHotBits;
  MAGNET_SHARED(uint32_t, second, kSelectDigits);
  MAGNET_SHARED(uint32_t, hot_key, kHot);
  MAGNET_SHARED(uint32_t, hot_count, kHot);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const int64_t image = blockIdx.x / blocks_of_image;
  const uint32_t thread = threadIdx.x;
  const Global<const uint32_t> keys = tables.keys + image * tables.pitch;
  const int64_t tile = (blockIdx.x % blocks_of_image) * kThresholdTile;
  Pack<uint32_t, 4> key[kThresholdLoads];
  const auto load_keys = [&](int step) {
#pragma unroll
    for (int i = 0; i < kThresholdLoads; ++i) {
      const int64_t index = tile + ((step * kThresholdLoads + i) * kThreads + static_cast<int64_t>(thread)) * 4;
      key[i] = {};
      if (index < tables.pixels) key[i] = load<4>(keys + index);
    }
  };
  load_keys(0);  // on their way while the rest gets ready
  const Global<uint32_t> state = tables.state + image * kStateWords;
  const uint32_t decided = state[kDecided], digit = state[kDigit];
  for (uint32_t i = thread; i < kSelectDigits; i += kThreads) second[i] = 0;
  for (uint32_t i = thread; i < kHot; i += kThreads) hot_key[i] = hot_count[i] = 0;
  __syncthreads();
  if (decided != 0) return;

  const CandidateCounts counts{second, hot_key, hot_count, tables.fine + image * kFineCounts};
#pragma unroll 1
  for (int step = 0; step < kThresholdSteps; ++step) {
    if (step > 0) load_keys(step);
    uint32_t candidate = 0;  // the lane's first
#pragma unroll
    for (int i = 0; i < 4 * kThresholdLoads; ++i) {
      uint32_t& own = key[i / 4].value[i % 4];
      if (own >> kLowBits != digit) own = 0;
      if (candidate == 0) candidate = own;
    }
    // One key of the warp, in flat areas the only one, is counted in registers.
    const uint32_t lanes = __ballot_sync(kFullWarp, candidate != 0);
    if (lanes == 0) continue;
    const uint32_t usual = __shfl_sync(kFullWarp, candidate, __ffs(static_cast<int>(lanes)) - 1);
    uint32_t same = 0;
#pragma unroll
    for (int i = 0; i < 4 * kThresholdLoads; ++i) {
      const uint32_t own = key[i / 4].value[i % 4];
      if (own == usual) {
        ++same;
      } else if (own != 0) {
        counts.add(own, 1);
      }
    }
    same = warp_sum(same);
    if (lane_index() == 0) counts.add(usual, same);
  }
  __syncthreads();
  for (uint32_t i = thread; i < kHot; i += kThreads) {
    if (hot_count[i] != 0) counts.add_to_tables(hot_key[i], hot_count[i]);
  }
  __syncthreads();
  const Global<uint32_t> all = tables.second + image * kSelectDigits;
  for (uint32_t i = thread; i < kSelectDigits; i += kThreads) {
    if (second[i] != 0) add_relaxed(all + i, second[i]);
  }
  if (!is_last_block(state + kThresholdDone, blocks_of_image, scratch)) return;
  for (uint32_t i = thread; i < kSelectDigits; i += kThreads) second[i] = all[i];
  __syncthreads();
  const Rank upper = find_digit<kSelectDigits>(second, state[kWanted], scratch);
  for (uint32_t i = thread; i < 256; i += kThreads) hot_count[i] = counts.fine[upper.digit * 256 + i];
  __syncthreads();
  const Rank lower = find_digit<256>(hot_count, upper.wanted, scratch);
  if (thread == 0) {
    state[kThreshold] = digit << kLowBits | upper.digit << 8 | lower.digit;
    state[kTies] = lower.wanted;
  }
}

}  // namespace magnet::cuda
