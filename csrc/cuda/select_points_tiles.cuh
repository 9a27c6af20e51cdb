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

// Sixteen bits as four times four, a byte each.
MAGNET_DEVICE uint32_t spread_bits(uint32_t x) {
  return (x & 0xf) | (x & 0xf0) << 4 | (x & 0xf00) << 8 | (x & 0xf000) << 12;
}

// Lists the points of a tile, tiles by ticket, and replaces their pixels; without maps (C = 0) nothing. at_once: how
// the candidates were counted. What is above the threshold is replaced before anything is known of earlier tiles; by
// then they have told their counts.
template <class T>
MAGNET_KERNEL(kTileThreads, 64, 4)
void list_tiles(SelectTables tables, bool at_once, Global<int64_t> points, uint32_t tiles_of_image,
                ReplaceMaps<T> maps) {
  constexpr int kWarps = kTileThreads / 32, kKeys = 4 * kListLoads;
  MAGNET_SHARED(uint16_t, list, kListTile);
  MAGNET_SHARED(uint32_t, bits, kListTile / 16);
  MAGNET_SHARED(uint32_t, masks, kTileThreads);   // bit i: the thread's key i is above, bit 16 + i: equal
  MAGNET_SHARED(uint32_t, places, kTileThreads);  // how many of the tile's come before the thread's: above, << 16 equal
  MAGNET_SHARED(uint64_t, sums, 2 * kWarps);
  MAGNET_SHARED(uint64_t, found, 1);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const uint32_t thread = threadIdx.x, lane = lane_index(), warp = thread / 32;
  const int64_t image = blockIdx.x / tiles_of_image;
  wait_for_earlier_kernels();
  const Global<uint32_t> state = tables.state_of(image);
  // What the first blocks find they tell the later ones.
  const Global<uint64_t> result = reinterpret_cast<Global<uint64_t>>(state + kResult);
  ThresholdSearch search;
  uint64_t known = 0;
  if (warp == 0) {
    known = load_relaxed(result);
    search = ThresholdSearch(tables, image);
  }
  if (thread == kTileThreads - 1) scratch[kWarps] = atomic_add(tables.ticket + image, 1u);
  __syncthreads();
  const uint32_t tile = scratch[kWarps];

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
  if (warp == 0) {
    if (__shfl_sync(kFullWarp, known, 0) == 0) {
      known = search.find(tables, image, at_once).word();
      if (lane == 0) store_relaxed(result, known);
    }
    if (lane == 0) found[0] = known;
  }
  __syncthreads();
  const Threshold threshold = Threshold::of_word(found[0]);
  uint32_t mask = 0;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    mask |= (key[i / 4].value[i % 4] > threshold.key ? 1u : 0u) << i;
    mask |= (key[i / 4].value[i % 4] == threshold.key ? 1u : 0u) << (16 + i);
  }
  const uint32_t own = __popc(mask & 0xffff) | __popc(mask >> 16) << 16, scan = warp_scan(own);
  masks[thread] = mask;
  if (lane == 31) scratch[warp] = scan;
  __syncthreads();
  uint32_t before = scan - own, sum = 0;  // as places; sum: of the tile
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    const uint32_t part = scratch[i];
    before += i < static_cast<int>(warp) ? part : 0;
    sum += part;
  }
  places[thread] = before;
  if (thread == 0) {
    store_relaxed(tables.words + (image * tiles_of_image + tile),
                  counts_word(sum & 0xffff, sum >> 16) | (tile == 0 ? kPrefix : kAggregate));
    scratch[kWarps + 1] = sum;
  }
  __syncthreads();

  const auto put_list = [&](uint32_t chosen, uint32_t at) {
    for (; chosen != 0; chosen &= chosen - 1) {
      list[at++] = static_cast<uint16_t>(thread * kKeys + __ffs(static_cast<int>(chosen)) - 1);
    }
  };
  // Those that are above, and once earlier tiles are known, ties. What is needed afterwards is in shared memory: all
  // registers are for the replacement.
  uint32_t count = sum & 0xffff, at = before & 0xffff;
  mask &= 0xffff;
#pragma unroll 1
  for (bool of_ties = false; maps.from.c > 0 || !of_ties; of_ties = true) {
    if (maps.from.c > 0 && count > 0) {
      const bool dense = maps.vectors && count * 5 >= kListTile;
      if (dense) {
        bits[thread] = spread_bits(mask);
      } else {
        put_list(mask, at);
      }
      __syncthreads();
      const int64_t of = opaque(image), begin = opaque(first);  // nothing of the replacement moves out of the loop
      if (dense) {
        const int64_t left = tables.pixels - begin;
        replace_dense(maps, of, begin, static_cast<uint32_t>(left < kListTile ? left : kListTile),
                      reinterpret_cast<Shared<const uint8_t>>(bits));
      } else {
        replace_listed<false>(maps, of, count, [&](uint32_t i) { return begin + list[i]; });
      }
      __syncthreads();
    }
    if (of_ties) break;
    const uint32_t own_tile = scratch[kWarps], all = scratch[kWarps + 1];
    const Global<uint64_t> word = tables.words + (image * tiles_of_image + own_tile);
    const uint64_t earlier = look_back<kTileThreads>(word, own_tile, sums);
    const uint32_t all_ties = Threshold::of_word(found[0]).ties;
    const uint32_t earlier_ties = min(static_cast<uint32_t>(earlier >> 31), all_ties);
    count = min(all >> 16, all_ties - earlier_ties);
    mask = masks[thread] >> 16;
    at = places[thread] >> 16;
    while (mask != 0 && at + __popc(mask) > count) mask &= ~(1u << (31 - __clz(static_cast<int>(mask))));
    at = min(at, count);
    masks[thread] = (masks[thread] & 0xffff) | mask;
    places[thread] = (places[thread] & 0xffff) + at;
    if (thread == 0) {
      if (own_tile != 0) store_relaxed(word, (earlier + counts_word(all & 0xffff, all >> 16)) | kPrefix);
      scratch[kWarps + 2] = (all & 0xffff) + count;
      sums[0] = (earlier & INT32_MAX) + earlier_ties;
    }
  }
  put_list(masks[thread], places[thread]);
  __syncthreads();
  const Global<int64_t> row = points + image * tables.k;
  count = scratch[kWarps + 2];
  for (uint32_t i = thread; i < count; i += kTileThreads) row[sums[0] + i] = first + list[i];
  // Each tile fills a part of what is left of the row.
  const uint32_t chosen = Candidates::told(state).chosen;
  const uint32_t none = tables.k - chosen, part = (none + tiles_of_image - 1) / tiles_of_image;
  const int64_t from = static_cast<int64_t>(tile) * part;
  for (int64_t i = from + thread; i < from + part && i < none; i += kTileThreads) row[chosen + i] = -1;
}

}  // namespace magnet::cuda
