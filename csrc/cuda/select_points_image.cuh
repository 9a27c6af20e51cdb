// The points of a small image, digit by digit, by one block.
//
// A warp has a stretch of the image to itself, which it goes through once for each digit, once to count and once to
// list, four keys of 32 bits a lane and step, kImageLoads steps at a time. After the first time they come from L1.
#pragma once

#include "cuda/parts/select_digits.cuh"
#include "cuda/parts/selection.h"

namespace magnet::cuda {

constexpr int kImageLoads = 4;  // 16-byte loads in flight of a thread

// Key: uint32_t or uint64_t.
template <class Key, int kThreads>
MAGNET_KERNEL(kThreads, 64, 1)
void list_image(Global<const Key> all_keys, Global<int64_t> points, int64_t pixels, int64_t pitch, uint32_t k) {
  constexpr int kKeyBits = 8 * sizeof(Key), kWidth = 16 / sizeof(Key), kWarps = kThreads / 32;
  MAGNET_SHARED(uint32_t, bins, kSelectDigits);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  let_next_kernel_begin();
  wait_for_earlier_kernels();
  const int64_t image = blockIdx.x;
  const Global<const Key> keys = all_keys + image * pitch;
  const uint32_t thread = threadIdx.x, lane = lane_index(), warp = thread / 32;
  constexpr int64_t kStep = 32 * kWidth;
  const int64_t stretch = ((pixels + kStep - 1) / kStep + kWarps - 1) / kWarps * kStep;
  const int64_t begin = warp * stretch, end = begin + stretch < pixels ? begin + stretch : pixels;
  // use(keys, index of the first) for all of the warp's stretch, all of its lanes together.
  const auto for_keys = [&](const auto& use) {
#pragma unroll 1
    for (int64_t index = begin; index < end; index += kImageLoads * kStep) {
      Pack<Key, kWidth> key[kImageLoads];
#pragma unroll
      for (int s = 0; s < kImageLoads; ++s) {
        const int64_t mine = index + s * kStep + lane * kWidth;
        key[s] = {};
        if (mine < end) key[s] = load<kWidth>(keys + mine);
      }
#pragma unroll
      for (int s = 0; s < kImageLoads; ++s) {
        if (index + s * kStep < end) use(key[s], index + s * kStep + lane * kWidth);
      }
    }
  };

  // Digit by digit; `threshold` holds those that are known.
  Key threshold = 0;
  uint32_t chosen = 0, wanted = 0;
  bool decided = false;
  for (int shift = kKeyBits; shift > 0 && !decided;) {
    const int above = shift, digit_bits = shift < 12 ? shift : 12;
    shift -= digit_bits;
    for (uint32_t i = thread; i < kSelectDigits; i += kThreads) bins[i] = 0;
    __syncthreads();
    for_keys([&](const Pack<Key, kWidth>& four, int64_t) {
      bool counts[kWidth];
      uint32_t digit[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        counts[i] = four.value[i] != 0 && (above == kKeyBits || (four.value[i] ^ threshold) >> above == 0);
        digit[i] = static_cast<uint32_t>(four.value[i] >> shift) & ((1u << digit_bits) - 1);
      }
      count_digits(bins, counts, digit, [&](uint32_t) { return above != kKeyBits; });
    });
    __syncthreads();
    if (above == kKeyBits) {
      uint32_t valid = 0;
      for (uint32_t i = thread; i < kSelectDigits; i += kThreads) valid += bins[i];
      valid = block_scan(valid, scratch).total;
      chosen = wanted = k < valid ? k : valid;
      if (chosen == 0) break;
    }
    const Rank rank = find_digit<kSelectDigits>(bins, wanted, scratch);
    threshold |= static_cast<Key>(rank.digit) << shift;
    wanted = rank.wanted;
    decided = rank.wanted == rank.count;  // all that begin so
  }
  // All keys above the threshold, and so many that equal it. A threshold that is above all or below some valid key
  // stands for "none" and "all of them".
  uint32_t ties = 0;
  if (chosen == 0) {
    threshold = static_cast<Key>(~Key{0});
  } else if (decided) {
    threshold -= 1;
  } else {
    ties = wanted;
  }

  // A warp counts its stretch, the block adds up, the warp lists it.
  uint32_t above = 0, equal = 0;
  for_keys([&](const Pack<Key, kWidth>& four, int64_t) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      above += four.value[i] > threshold;
      equal += four.value[i] == threshold;
    }
  });
  above = block_scan(above, scratch).before;
  equal = block_scan(equal, scratch).before;
  above = __shfl_sync(kFullWarp, above, 0);  // before the warp
  equal = __shfl_sync(kFullWarp, equal, 0);
  const Global<int64_t> row = points + image * k;
  for_keys([&](const Pack<Key, kWidth>& four, int64_t mine) {
    uint32_t counts = 0;  // above in the lower half, equal in the upper
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      counts += (four.value[i] > threshold ? 1u : 0u) + (four.value[i] == threshold ? 1u << 16 : 0u);
    }
    const uint32_t scan = warp_scan(counts), total = __shfl_sync(kFullWarp, scan, 31);
    uint32_t a = above + ((scan - counts) & 0xffff), e = equal + ((scan - counts) >> 16);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const bool higher = four.value[i] > threshold, tie = four.value[i] == threshold;
      if (higher || (tie && e < ties)) row[a + min(e, ties)] = mine + i;
      a += higher;
      e += tie;
    }
    above += total & 0xffff;
    equal += total >> 16;
  });
  for (uint32_t i = chosen + thread; i < k; i += kThreads) row[i] = -1;
}

}  // namespace magnet::cuda
