// The points of a large image, tile by tile, and the replacement of their pixels. What lies before a tile it learns by
// decoupled look-back, see Merrill and Garland, "Single-pass Parallel Prefix Scan with Decoupled Look-back", 2016.
#pragma once

#include "cuda/parts/select_keys.cuh"
#include "cuda/replace_points.cuh"

namespace magnet::cuda {

constexpr int kTileThreads = kReplaceThreads;
constexpr int kListLoads = kListTile / kTileThreads / 4;  // 16-byte loads of a thread
static_assert(kListLoads == 4, "a thread's keys fill half a word of bits");

// What a tile tells those after it is all in one word, so that nothing else need be seen in its order: relaxed loads
// and stores, no fences. How many keys are above and equal to the threshold: 31 bits each, above them the word's flag.
constexpr uint64_t kAggregate = uint64_t{1} << 62, kPrefix = uint64_t{2} << 62, kCounts = kAggregate - 1;
MAGNET_DEVICE uint64_t counts_word(uint32_t above, uint32_t equal) { return uint64_t{equal} << 31 | above; }

// The counts of the `before` tiles whose words precede `words`. All threads of a block; a thread looks at kEach tiles
// that are kThreads apart.
template <int kThreads>
MAGNET_DEVICE uint64_t look_back(Global<uint64_t> words, uint32_t before, Shared<uint64_t> scratch) {
  constexpr int kWarps = kThreads / 32, kEach = 2;
  const uint32_t warp = threadIdx.x / 32;
  uint64_t sum = 0;
  bool found = before == 0;
  for (uint32_t base = 0; !found; base += kEach * kThreads) {
    uint64_t word[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const uint32_t distance = base + i * kThreads + threadIdx.x + 1;
      word[i] = distance <= before ? load_relaxed(words - distance) : kPrefix;
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const uint32_t distance = base + i * kThreads + threadIdx.x + 1;
      while (word[i] == 0) {
        back_off();
        word[i] = load_relaxed(words - distance);
      }
      const uint32_t prefixes = __ballot_sync(kFullWarp, word[i] >= kPrefix);
      const uint32_t last = prefixes != 0 ? __ffs(static_cast<int>(prefixes)) - 1 : 31;
      uint64_t counts = lane_index() <= last ? word[i] & kCounts : 0;
#pragma unroll
      for (int step = 16; step > 0; step /= 2) counts += __shfl_xor_sync(kFullWarp, counts, step);
      if (lane_index() == 0) scratch[i * kWarps + warp] = counts | (prefixes != 0 ? kPrefix : 0);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach * kWarps; ++i) {
      const uint64_t part = scratch[i];
      if (!found) sum += part & kCounts;
      found = found || part >= kPrefix;
    }
    __syncthreads();
  }
  return sum;
}

// Lists the points of one tile after the other, by ticket, and replaces their pixels. Without maps (C = 0) nothing.
// at_once: how the candidates were counted.
template <class T>
MAGNET_KERNEL(kTileThreads, 64, 4)
void list_tiles(SelectTables tables, bool at_once, Global<int64_t> points, uint32_t tiles_of_image,
                ReplaceMaps<T> maps) {
  constexpr int kWarps = kTileThreads / 32, kKeys = 4 * kListLoads;
  MAGNET_SHARED(uint16_t, list, kListTile);
  MAGNET_SHARED(uint8_t, bits, kListTile / 4);
  MAGNET_SHARED(uint64_t, sums, 2 * kWarps);
  MAGNET_SHARED(uint64_t, threshold_word, 1);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const uint32_t thread = threadIdx.x, lane = lane_index(), warp = thread / 32;
  let_next_kernel_begin();
  wait_for_earlier_kernels();
  if (thread == 0) scratch[0] = atomic_add(tables.ticket, 1u);
  __syncthreads();
  const uint32_t ticket = scratch[0];
  const int64_t image = ticket / tiles_of_image;
  const uint32_t tile = ticket % tiles_of_image;
  const Global<uint32_t> state = tables.state_of(image);

  // A thread's keys follow each other.
  const Global<const uint32_t> keys = tables.keys + image * tables.pitch;
  const int64_t first = tile * kListTile;
  const uint32_t place = thread * kKeys;  // of the thread's first key in the tile
  Pack<uint32_t, 4> key[kListLoads];
#pragma unroll
  for (int i = 0; i < kListLoads; ++i) {
    const int64_t index = first + place + i * 4;
    key[i] = {};
    if (index < tables.pixels) key[i] = load<4>(keys + index);
  }
  const uint32_t chosen = state[kChosen];
  if (warp == 0) {
    // What the first blocks find they tell the later ones.
    const Global<uint64_t> result = reinterpret_cast<Global<uint64_t>>(state + kResult);
    uint64_t word = load_relaxed(result);
    if (__shfl_sync(kFullWarp, word, 0) == 0) {
      word = find_threshold(tables, image, at_once).word();
      if (lane == 0) store_relaxed(result, word);
    }
    if (lane == 0) threshold_word[0] = word;
  }
  __syncthreads();
  const Threshold threshold = Threshold::of_word(threshold_word[0]);
  uint32_t above = 0, equal = 0;  // bit i: the thread's key i
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    above |= (key[i / 4].value[i % 4] > threshold.key ? 1u : 0u) << i;
    equal |= (key[i / 4].value[i % 4] == threshold.key ? 1u : 0u) << i;
  }
  const uint32_t own = __popc(above) | __popc(equal) << 16, scan = warp_scan(own);
  if (lane == 31) scratch[warp] = scan;
  __syncthreads();
  uint32_t before = scan - own, sum = 0;  // of the tile: above in the lower half, equal in the upper
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    const uint32_t part = scratch[i];
    before += i < static_cast<int>(warp) ? part : 0;
    sum += part;
  }
  const uint64_t counts = counts_word(sum & 0xffff, sum >> 16);
  const Global<uint64_t> word = tables.words + ticket;
  if (thread == 0) store_relaxed(word, counts | (tile == 0 ? kPrefix : kAggregate));
  const uint64_t earlier = look_back<kTileThreads>(word, tile, sums);
  if (thread == 0 && tile != 0) store_relaxed(word, (earlier + counts) | kPrefix);

  const uint32_t earlier_above = static_cast<uint32_t>(earlier & INT32_MAX);
  const uint32_t earlier_equal = static_cast<uint32_t>(earlier >> 31);
  const uint32_t earlier_ties = min(earlier_equal, threshold.ties);
  const uint32_t ties = min(sum >> 16, threshold.ties - earlier_ties), count = (sum & 0xffff) + ties;
  const uint32_t equal_before = before >> 16;
  while (equal_before + __popc(equal) > ties && equal != 0)
    equal &= ~(1u << (31 - __clz(equal)));  // beyond the last tie
  uint32_t at = (before & 0xffff) + min(equal_before, ties), taken = above | equal;
  const uint32_t four = (taken & 15) | (taken & 0xf0) << 4 | (taken & 0xf00) << 8 | (taken & 0xf000) << 12;
  store<1>(reinterpret_cast<Shared<uint32_t>>(bits + place / 4), Pack<uint32_t, 1>{{four}});
  for (; taken != 0; taken &= taken - 1) list[at++] = static_cast<uint16_t>(place + __ffs(static_cast<int>(taken)) - 1);
  __syncthreads();
  const Global<int64_t> row = points + image * tables.k;
  for (uint32_t i = thread; i < count; i += kTileThreads) row[earlier_above + earlier_ties + i] = first + list[i];
  // Each tile fills a part of what is left of the row.
  const uint32_t none = tables.k - chosen, part = (none + tiles_of_image - 1) / tiles_of_image;
  const int64_t from = static_cast<int64_t>(tile) * part;
  for (int64_t i = from + thread; i < from + part && i < none; i += kTileThreads) row[chosen + i] = -1;

  if (maps.from.c == 0) return;
  if (maps.vectors && count * 5 >= kListTile * 2) {
    const int64_t left = tables.pixels - first;
    replace_dense(maps, image, first, static_cast<uint32_t>(left < kListTile ? left : kListTile), bits);
  } else {
    replace_listed<false>(maps, image, count, [&](uint32_t i) { return first + list[i]; });
  }
}

}  // namespace magnet::cuda
