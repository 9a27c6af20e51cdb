// Counts of the candidates for the K-th highest key of a large image, of all that tells them apart: their next digit of
// up to 12 bits, and all their up to 20 lower bits, at once.
#pragma once

#include "cuda/parts/select_keys.cuh"

namespace magnet::cuda {

constexpr int kCandidateThreads = 512;
constexpr int kCandidateLoads = 4;  // 16-byte loads of a thread, all in flight together
constexpr int64_t kCandidateTile = int64_t{kCandidateThreads} * kCandidateLoads * 4;
constexpr int kHotBits = 11;

// Counts the candidates of a block. Keys that come often must not meet at one address in global memory: they are first
// added up here, under their hash; a key whose place is taken goes to the tables at once.
struct CandidateCounts {
  Shared<uint32_t> second, hot_key, hot_count;
  Global<uint32_t> fine;
  uint32_t from;

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
    add_relaxed(fine + (key - from), count);
    atomic_add(second + ((key - from) >> 8), count);
  }
};

template <int kThreads>
MAGNET_KERNEL(kThreads, 64, 2)
void count_candidates(SelectTables tables, uint32_t blocks_of_image) {
  constexpr int kHot = 1 << kHotBits;
  MAGNET_SHARED(uint32_t, second, kSelectDigits);
  MAGNET_SHARED(uint32_t, hot_key, kHot);
  MAGNET_SHARED(uint32_t, hot_count, kHot);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const int64_t image = blockIdx.x / blocks_of_image;
  const uint32_t thread = threadIdx.x, block = blockIdx.x % blocks_of_image;
  const Global<const uint32_t> keys = tables.keys + image * tables.pitch;
  let_next_kernel_begin();
  clear<kSelectDigits>(second);
  clear<kHot>(hot_key);
  clear<kHot>(hot_count);
  wait_for_earlier_kernels();
  Pack<uint32_t, 4> key[kCandidateLoads];
#pragma unroll
  for (int i = 0; i < kCandidateLoads; ++i) {
    const int64_t index = block * kCandidateTile + (i * kThreads + static_cast<int64_t>(thread)) * 4;
    key[i] = {};
    if (index < tables.pixels) key[i] = load<4>(keys + index);  // on their way while the rest gets ready
  }
  const Candidates candidates = find_candidates(tables, image, scratch);
  if (block == 0 && thread == 0) candidates.tell(tables.state_of(image));
  if (candidates.wanted == 0) return;

  const CandidateCounts counts{second, hot_key, hot_count, tables.fine + image * kFineCounts, candidates.from};
  uint32_t own = 0;  // the lane's first candidate
#pragma unroll
  for (int i = 0; i < 4 * kCandidateLoads; ++i) {
    uint32_t& one = key[i / 4].value[i % 4];
    if (!candidates.has(one)) one = 0;
    if (own == 0) own = one;
  }
  // One key of the warp, in flat areas the only one, is counted in registers.
  const uint32_t lanes = __ballot_sync(kFullWarp, own != 0);
  if (lanes != 0) {
    const uint32_t usual = __shfl_sync(kFullWarp, own, __ffs(static_cast<int>(lanes)) - 1);
    uint32_t same = 0;
#pragma unroll
    for (int i = 0; i < 4 * kCandidateLoads; ++i) {
      const uint32_t one = key[i / 4].value[i % 4];
      if (one == usual) {
        ++same;
      } else if (one != 0) {
        counts.add(one, 1);
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
  tables.second_of(image).add(second);
}

}  // namespace magnet::cuda
