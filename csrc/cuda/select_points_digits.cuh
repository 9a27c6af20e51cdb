// Counts of the candidates for the K-th highest key of large images among many, digit by digit: two launches that need
// little memory an image, in place of the one of select_points_candidates.cuh.
#pragma once

#include "cuda/parts/select_keys.cuh"

namespace magnet::cuda {

constexpr int kDigitThreads = 256;
constexpr int kDigitLoads = 8;  // 16-byte loads in flight of a thread
constexpr int64_t kDigitTile = int64_t{kDigitThreads} * kDigitLoads * 4;

// kLast: the last 8 bits of the candidates that have the second digit of the K-th highest key; else their second digit.
template <bool kLast>
MAGNET_KERNEL(kDigitThreads, 64, 4)
void count_digit(SelectTables tables, uint32_t blocks_of_image) {
  constexpr uint32_t kBins = kLast ? kLowCounts : kSelectDigits;
  MAGNET_SHARED(uint32_t, bins, kBins);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const int64_t image = blockIdx.x / blocks_of_image;
  const uint32_t thread = threadIdx.x, block = blockIdx.x % blocks_of_image;
  const Global<const uint32_t> keys = tables.keys + image * tables.pitch;
  let_next_kernel_begin();
  clear<kBins>(bins);
  wait_for_earlier_kernels();
  Pack<uint32_t, 4> key[kDigitLoads];
#pragma unroll
  for (int i = 0; i < kDigitLoads; ++i) {
    const int64_t index = block * kDigitTile + (i * kDigitThreads + static_cast<int64_t>(thread)) * 4;
    key[i] = {};
    if (index < tables.pixels) key[i] = load<4>(keys + index);
  }
  Candidates candidates = find_candidates(tables, image, scratch);
  if (block == 0 && thread == 0 && !kLast) candidates.tell(tables.state_of(image));
  if (candidates.wanted == 0) return;
  if constexpr (kLast) {
    if (thread < 32) {
      const Rank second = find_second(tables, image, candidates.wanted);
      if (thread == 0) {
        scratch[0] = candidates.from + (second.digit << 8);
        scratch[1] = second.wanted < second.count;
      }
    }
    __syncthreads();
    if (scratch[1] == 0) return;  // all of them are chosen: no need to look closer
    candidates.from = scratch[0];
    candidates.bits = 8;
  }

#pragma unroll
  for (int i = 0; i < kDigitLoads; ++i) {
    bool counts[4];
    uint32_t digit[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      counts[j] = candidates.has(key[i].value[j]);
      digit[j] = (key[i].value[j] - candidates.from) >> (kLast ? 0 : 8);
    }
    count_digits(bins, counts, digit, [](uint32_t) { return true; });
  }
  __syncthreads();
  if constexpr (kLast) {
    const Global<uint32_t> all = tables.fine + image * kLowCounts;
    if (thread < kBins && bins[thread] != 0) add_relaxed(all + thread, bins[thread]);
  } else {
    tables.second_of(image).add(bins);
  }
}

}  // namespace magnet::cuda
