// The points of a large image, tile by tile, and the replacement of their pixels. What lies before a tile it learns by
// decoupled look-back, see Merrill and Garland, "Single-pass Parallel Prefix Scan with Decoupled Look-back", 2016.
#pragma once

#include "cuda/parts/select_keys.cuh"
#include "cuda/replace_points.cuh"

namespace magnet::cuda {

constexpr int kTileThreads = kReplaceThreads;
constexpr int kListLoads = kListTile / kTileThreads / 4;  // 16-byte loads of a thread
static_assert(kListLoads == 2, "the counts of a warp's loads share a word, see below");

// What a tile tells those after it is all in one word, so that nothing else need be seen in its order: relaxed loads
// and stores, no fences. How many keys are above and equal to the threshold: 31 bits each, above them the word's flag.
constexpr uint64_t kAggregate = uint64_t{1} << 62, kPrefix = uint64_t{2} << 62, kCounts = kAggregate - 1;
MAGNET_DEVICE uint64_t counts_word(uint32_t above, uint32_t equal) { return uint64_t{equal} << 31 | above; }

// The counts of the `before` tiles whose words precede `words`. All threads of a block; a thread looks at one tile.
template <int kThreads>
MAGNET_DEVICE uint64_t look_back(Global<uint64_t> words, uint32_t before, Shared<uint64_t> scratch) {
  constexpr int kWarps = kThreads / 32;
  const uint32_t warp = threadIdx.x / 32;
  uint64_t sum = 0;
  bool found = before == 0;
  for (uint32_t base = 0; !found; base += kThreads) {
    const uint32_t distance = base + threadIdx.x + 1;
    uint64_t word = kPrefix;
    if (distance <= before) {
      const Global<uint64_t> place = words + (-static_cast<int64_t>(distance));
      while ((word = load_relaxed(place)) == 0) back_off();
    }
    const uint32_t prefixes = __ballot_sync(kFullWarp, word >= kPrefix);
    const uint32_t last = prefixes != 0 ? __ffs(static_cast<int>(prefixes)) - 1 : 31;
    uint64_t counts = lane_index() <= last ? word & kCounts : 0;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) counts += __shfl_xor_sync(kFullWarp, counts, step);
    if (lane_index() == 0) scratch[warp] = counts | (prefixes != 0 ? kPrefix : 0);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      const uint64_t part = scratch[i];
      if (!found) sum += part & kCounts;
      found = found || part >= kPrefix;
    }
    __syncthreads();
  }
  return sum;
}

// Lists the points of one tile after the other, by ticket, and replaces their pixels. Without maps (C = 0) nothing.
template <class T>
MAGNET_KERNEL(kTileThreads, 64, 4)
void list_tiles(SelectTables tables, Global<int64_t> points, uint32_t tiles_of_image, ReplaceMaps<T> maps) {
  constexpr int kWarps = kTileThreads / 32;
  MAGNET_SHARED(uint16_t, list, kListTile);
  MAGNET_SHARED(uint8_t, bits, kListTile / 4);
  MAGNET_SHARED(uint64_t, sums, kWarps);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const uint32_t thread = threadIdx.x, lane = lane_index(), warp = thread / 32;
  if (thread == 0) scratch[0] = atomic_add(tables.ticket, 1u);
  __syncthreads();
  const uint32_t ticket = scratch[0];
  const int64_t image = ticket / tiles_of_image;
  const uint32_t tile = ticket % tiles_of_image;
  __syncthreads();
  const Global<const uint32_t> state = tables.state + image * kStateWords;
  const uint32_t threshold = state[kThreshold], all_ties = state[kTies], chosen = state[kChosen];

  // A warp's keys follow each other, and in each of its loads those of its lanes.
  const Global<const uint32_t> keys = tables.keys + image * tables.pitch;
  const int64_t first = tile * kListTile;
  const uint32_t place = warp * (128 * kListLoads) + lane * 4;  // of the lane's first key in the tile
  Pack<uint32_t, 4> key[kListLoads];
#pragma unroll
  for (int i = 0; i < kListLoads; ++i) {
    const int64_t index = first + place + i * 128;
    key[i] = {};
    if (index < tables.pixels) key[i] = load<4>(keys + index);
  }
  uint32_t above[kListLoads] = {}, equal[kListLoads] = {};  // bit j: the key j of that load
#pragma unroll
  for (int i = 0; i < kListLoads; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      above[i] |= (key[i].value[j] > threshold ? 1u : 0u) << j;
      equal[i] |= (key[i].value[j] == threshold ? 1u : 0u) << j;
    }
  }
  // Four counts of at most 128 in one word, so that one scan is enough for all.
  const uint32_t own = __popc(above[0]) | __popc(equal[0]) << 8 | __popc(above[1]) << 16 | __popc(equal[1]) << 24;
  const uint32_t scan = warp_scan(own), lower = scan - own, total = __shfl_sync(kFullWarp, scan, 31);
  const uint32_t warp_above = (total & 255) + (total >> 16 & 255), warp_equal = (total >> 8 & 255) + (total >> 24);
  if (lane == 0) scratch[warp] = warp_above | warp_equal << 16;
  __syncthreads();
  uint32_t before = 0, sum = 0;  // of the warps before, of the tile: above in the lower half, equal in the upper
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
  const uint32_t earlier_ties = min(earlier_equal, all_ties);
  const uint32_t ties = min(sum >> 16, all_ties - earlier_ties), count = (sum & 0xffff) + ties;
  uint32_t above_before = before & 0xffff, equal_before = before >> 16;
#pragma unroll
  for (int i = 0; i < kListLoads; ++i) {
    uint32_t a = above_before + (lower >> (16 * i) & 255), e = equal_before + (lower >> (16 * i + 8) & 255);
    uint32_t taken = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool higher = above[i] >> j & 1, tie = equal[i] >> j & 1;
      if (higher || (tie && e < ties)) {
        list[a + min(e, ties)] = static_cast<uint16_t>(place + i * 128 + j);
        taken |= 1u << j;
      }
      a += higher;
      e += tie;
    }
    bits[(place + i * 128) / 4] = static_cast<uint8_t>(taken);
    above_before += total >> (16 * i) & 255;
    equal_before += total >> (16 * i + 8) & 255;
  }
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
