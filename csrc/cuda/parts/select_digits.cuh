// Radix selection: counts of the keys' digits, of a block and of all blocks, and the digit of the K-th highest.
#pragma once

#include "cuda/parts/block.cuh"
#include "cuda/parts/selection.h"

namespace magnet::cuda {

// Adds one to bins[digit[i]] for every i and lane that counts. The first digit of the warp is counted apart and added
// at once: in flat areas nothing else is there, and lanes would wait for each other. spread(digit): whether a warp is
// likely to meet many digits such as this one, rather than the same few.
template <int kN, class Spread>
MAGNET_DEVICE void count_digits(Shared<uint32_t> bins, const bool (&counts)[kN], const uint32_t (&digit)[kN],
                                const Spread& spread) {
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
    same += counts[i] && is_usual;
    if (!counts[i] || is_usual) continue;
    if (spread(digit[i])) {
      add_one_to_many(bins + digit[i]);
    } else {
      add_one_to_few(bins + digit[i]);
    }
  }
  same = warp_sum(same);
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

struct Found {
  uint32_t lane, wanted;  // wanted: the rank left among what that lane has counted
};

// The lane that has the one of rank `wanted` among what the lanes have counted, the first lane's are the highest.
MAGNET_DEVICE Found find_in_lanes(uint32_t counted, uint32_t wanted) {
  const uint32_t scan = warp_scan(counted);
  const uint32_t lane = __ffs(static_cast<int>(__ballot_sync(kFullWarp, scan >= wanted))) - 1;
  return {lane, wanted - __shfl_sync(kFullWarp, scan - counted, static_cast<int>(lane))};
}

// Of four counts a lane, of `digit` and those after it, the first lane's digits being the highest.
MAGNET_DEVICE Rank find_in_fours(const Pack<uint32_t, 4>& four, uint32_t digit, uint32_t wanted) {
  const Found found = find_in_lanes(four.value[0] + four.value[1] + four.value[2] + four.value[3], wanted);
  uint32_t left = found.wanted;
  int i = 3;
#pragma unroll
  for (int step = 3; step > 0; --step) {
    if (i == step && left > four.value[step]) {
      left -= four.value[step];
      i = step - 1;
    }
  }
  uint32_t count = four.value[0];
#pragma unroll
  for (int step = 1; step < 4; ++step) count = i == step ? four.value[step] : count;
  const int lane = static_cast<int>(found.lane);
  return {__shfl_sync(kFullWarp, digit + i, lane), __shfl_sync(kFullWarp, left, lane),
          __shfl_sync(kFullWarp, count, lane)};
}

// The same of 256 digits; `counts` of the upper and of the lower half.
struct Counts256 {
  Pack<uint32_t, 4> upper, lower;

  Counts256() = default;
  MAGNET_DEVICE explicit Counts256(Global<const uint32_t> counts) {
    const uint32_t last = 124 - 4 * lane_index();
    upper = load<4>(counts + 128 + last);
    lower = load<4>(counts + last);
  }
  MAGNET_DEVICE Rank find(uint32_t wanted) const {
    const uint32_t above = warp_sum(upper.value[0] + upper.value[1] + upper.value[2] + upper.value[3]);
    const bool is_upper = wanted <= above;
    Pack<uint32_t, 4> four;
#pragma unroll
    for (int i = 0; i < 4; ++i) four.value[i] = is_upper ? upper.value[i] : lower.value[i];
    return find_in_fours(four, (is_upper ? 252 : 124) - 4 * lane_index(), is_upper ? wanted : wanted - above);
  }
};

// Counts of kBins digits in global memory, all 0 at first: kGroups sums of kGroupDigits of them, then one by one. Those
// of every block are added; who comes after in the stream finds a digit in two steps, without waiting for a last block
// that would do it for all.
template <uint32_t kBins>
struct CountTable {
  static constexpr uint32_t kOfGroup = kGroupDigits, kUsedGroups = kBins / kOfGroup, kWords = kGroups + kBins;
  static_assert(kBins % kOfGroup == 0 && kOfGroup == 4 * 32 && kUsedGroups <= kGroups && kGroups == 2 * 32);
  Global<uint32_t> groups;

  MAGNET_DEVICE Global<uint32_t> bins() const { return groups + kGroups; }

  // Adds a block's counts. All of its threads, after a barrier.
  MAGNET_DEVICE void add(Shared<const uint32_t> counted) const {
    for (uint32_t group = threadIdx.x / 32; group < kUsedGroups; group += blockDim.x / 32) {
      const uint32_t first = group * kOfGroup + lane_index();
      uint32_t count[4], sum = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) sum += count[i] = counted[first + 32 * i];
      if (__ballot_sync(kFullWarp, sum != 0) == 0) continue;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (count[i] != 0) add_relaxed(bins() + first + 32 * i, count[i]);
      }
      const uint32_t all = warp_sum(sum);
      if (lane_index() == 0) add_relaxed(groups + group, all);
    }
  }

  // The sums of two groups of a lane, the first lane's the highest.
  struct Groups {
    uint32_t upper, lower;
  };
  MAGNET_DEVICE static uint32_t upper_group() { return kGroups - 1 - 2 * lane_index(); }
  MAGNET_DEVICE Groups load_groups() const { return {groups[upper_group()], groups[upper_group() - 1]}; }

  // As find_digit. `more` keys with the digit `of` are in no table yet. One warp.
  MAGNET_DEVICE Rank find(Groups sums, uint32_t wanted, uint32_t of = 0, uint32_t more = 0) const {
    if (of / kOfGroup == upper_group()) sums.upper += more;
    if (of / kOfGroup == upper_group() - 1) sums.lower += more;
    const Found group = find_in_lanes(sums.upper + sums.lower, wanted);
    const uint32_t upper = __shfl_sync(kFullWarp, sums.upper, group.lane);
    const bool is_upper = group.wanted <= upper;
    const uint32_t begin = (kGroups - 1 - 2 * group.lane - (is_upper ? 0 : 1)) * kOfGroup;
    const uint32_t digit = begin + kOfGroup - 4 - 4 * lane_index();
    Pack<uint32_t, 4> four = load<4>(bins() + digit);
#pragma unroll
    for (int i = 0; i < 4; ++i) four.value[i] += digit + i == of ? more : 0;
    return find_in_fours(four, digit, is_upper ? group.wanted : group.wanted - upper);
  }
};

}  // namespace magnet::cuda
