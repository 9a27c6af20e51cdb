// The K-th highest key of a large image among many, digit by digit: two launches that need little memory an image, in
// place of the one of select_points_threshold.cuh.
#pragma once

#include "cuda/parts/select_keys.cuh"

namespace magnet::cuda {

constexpr int kDigitThreads = 256;
constexpr int kDigitLoads = 8;  // 16-byte loads in flight of a thread
constexpr int64_t kDigitTile = int64_t{kDigitThreads} * kDigitLoads * 4;

// kLast: the last 8 bits of the keys that begin with the 24 of kTwoDigits; else the 12 bits that follow kDigit.
template <bool kLast>
MAGNET_KERNEL(kDigitThreads, 64, 4)
void count_digit(SelectTables tables, uint32_t blocks_of_image) {
  constexpr int kBits = kLast ? 8 : 12, kShift = kLast ? 0 : 8;
  constexpr uint32_t kBins = 1u << kBits;
  MAGNET_SHARED(uint32_t, bins, kBins);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const int64_t image = blockIdx.x / blocks_of_image;
  const uint32_t thread = threadIdx.x;
  const Global<const uint32_t> keys = tables.keys + image * tables.pitch;
  const int64_t tile = (blockIdx.x % blocks_of_image) * kDigitTile;
  Pack<uint32_t, 4> key[kDigitLoads];
#pragma unroll
  for (int i = 0; i < kDigitLoads; ++i) {
    const int64_t index = tile + (i * kDigitThreads + static_cast<int64_t>(thread)) * 4;
    key[i] = {};
    if (index < tables.pixels) key[i] = load<4>(keys + index);
  }
  const Global<uint32_t> state = tables.state + image * kStateWords;
  const bool decided = state[kDecided] != 0 || (kLast && state[kTwoDigitsDecided] != 0);
  const uint32_t prefix = state[kLast ? kTwoDigits : kDigit], wanted = state[kLast ? kTwoDigitsWanted : kWanted];
  for (uint32_t i = thread; i < kBins; i += kDigitThreads) bins[i] = 0;
  __syncthreads();
  if (decided) return;

#pragma unroll
  for (int i = 0; i < kDigitLoads; ++i) {
    bool counts[4];
    uint32_t digit[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      counts[j] = key[i].value[j] >> (kShift + kBits) == prefix;
      digit[j] = key[i].value[j] >> kShift & (kBins - 1);
    }
    count_digits(bins, counts, digit);
  }
  __syncthreads();
  const Global<uint32_t> all = kLast ? tables.fine + image * kLowCounts : tables.second + image * kSelectDigits;
  for (uint32_t i = thread; i < kBins; i += kDigitThreads) {
    if (bins[i] != 0) add_relaxed(all + i, bins[i]);
  }
  if (!is_last_block(state + (kLast ? kThresholdDone : kSecondDone), blocks_of_image, scratch)) return;
  for (uint32_t i = thread; i < kBins; i += kDigitThreads) bins[i] = all[i];
  __syncthreads();
  const Rank rank = find_digit<kBins>(bins, wanted, scratch);
  if (thread != 0) return;
  const uint32_t longer = prefix << kBits | rank.digit;
  if constexpr (kLast) {
    state[kThreshold] = longer;
    state[kTies] = rank.wanted;
  } else {
    state[kTwoDigits] = longer;
    state[kTwoDigitsWanted] = rank.wanted;
    if (rank.wanted == rank.count) {  // all keys that begin so: no need to look closer
      state[kThreshold] = (longer << 8) - 1;
      state[kTies] = 0;
      state[kTwoDigitsDecided] = 1;
    }
  }
}

}  // namespace magnet::cuda
