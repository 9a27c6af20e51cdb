// From scores to points: keys, the K-th highest key, and the ordered list with the replacement of its pixels.
//
// Large images: find_threshold looks once at the keys with the leading digit of the K-th highest. Their next 12 bits
// and all their 20 lower bits are counted at once; the last block reads the former to find 256 of the latter, and among
// these the key. list_tiles then lists tile by tile; what lies before a tile it learns by decoupled look-back, see
// Merrill and Garland, "Single-pass Parallel Prefix Scan with Decoupled Look-back", 2016.
// Small images: one block does it all, digit by digit.
#pragma once

#include <type_traits>

#include "cuda/replace_points.cuh"
#include "cuda/select_keys.cuh"

namespace magnet::cuda {

// --- keys of a score map

constexpr int kKeyThreads = 256;

// Of an image as one row where that is possible.
template <class T>
struct ScoreView {
  Global<const T> data;
  int64_t sn, sy, sx;
  bool vectors;  // four consecutive pixels are in one place, aligned
};

template <class T>
MAGNET_DEVICE uint32_t key_of(T score) {
  return ScoreKey::selection_key(float_bits(to_float(score)));
}
MAGNET_DEVICE uint64_t key_of(double score) {
  return OrderKey<Float64Format>::selection_key(static_cast<uint64_t>(__double_as_longlong(score)));
}

// Four pixels a thread and step. T: float, Half, BFloat16.
template <class T>
MAGNET_KERNEL(kKeyThreads, 64)
void make_keys_kernel(ScoreView<T> score, KeySink sink, uint32_t blocks_of_image) {
  const int64_t image = blockIdx.x / blocks_of_image;
  const uint32_t index = blockIdx.x % blocks_of_image, pixels = sink.tables.pixels;
  const uint32_t w = static_cast<uint32_t>(sink.w);
  KeySink::Block block(sink, image, blocks_of_image);
  const Global<const T> from = score.data + image * score.sn;
  for (int64_t begin = static_cast<int64_t>(index) * kKeyThreads * 4; begin < pixels;
       begin += static_cast<int64_t>(blocks_of_image) * kKeyThreads * 4) {
    const int64_t first = begin + threadIdx.x * 4, left = pixels - first;
    const int count = left < 0 ? 0 : left < 4 ? static_cast<int>(left) : 4;
    uint32_t y = static_cast<uint32_t>(first) / w, x = static_cast<uint32_t>(first) - y * w;
    Pack<T, 4> value{};
    if (score.vectors && count == 4) value = load<4>(from + first);
    Pack<uint32_t, 4> keys;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      keys.value[i] = ScoreKey::kInvalid;
      if (i >= count) continue;
      if (!score.vectors || count != 4) value.value[i] = from[y * score.sy + x * score.sx];
      if (sink.valid.at(image, y, x)) keys.value[i] = key_of(value.value[i]);
      if (++x == w) {
        x = 0;
        ++y;
      }
    }
    block.put_keys(first, keys, count);
  }
  block.end();
}

// fp64: stored only.
template <class T>
MAGNET_KERNEL(kKeyThreads, 64)
void make_wide_keys(ScoreView<T> score, ValidView valid, Global<uint64_t> keys, int64_t pixels, int64_t pitch,
                    int64_t w, uint32_t blocks_of_image) {
  const int64_t image = blockIdx.x / blocks_of_image;
  const int64_t index = static_cast<int64_t>(blockIdx.x % blocks_of_image) * kKeyThreads + threadIdx.x;
  if (index >= pixels) {
    if (index < pitch) keys[image * pitch + index] = OrderKey<Float64Format>::kInvalid;
    return;
  }
  const uint32_t y = static_cast<uint32_t>(index) / static_cast<uint32_t>(w);
  const int64_t x = index - y * w;
  keys[image * pitch + index] =
      valid.at(image, y, x) ? key_of(score.data[image * score.sn + y * score.sy + x * score.sx]) : 0;
}

// --- the threshold of large images

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
    atomic_add(fine + key % kFineCounts, count);
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
    if (second[i] != 0) atomic_add(all + i, second[i]);
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

// --- the list of large images

constexpr int kTileThreads = kReplaceThreads;
constexpr int kListLoads = kListTile / kTileThreads / 4;  // 16-byte loads of a thread
static_assert(kListLoads == 2, "the counts of a warp's loads share a word, see below");

// How many keys are above and equal to the threshold, in a word: 31 bits each, above it the flag of the word.
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
      while ((word = load_acquire(place)) == 0) back_off();
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
  if (thread == 0) store_release(word, counts | (tile == 0 ? kPrefix : kAggregate));
  const uint64_t earlier = look_back<kTileThreads>(word, tile, sums);
  if (thread == 0 && tile != 0) store_release(word, (earlier + counts) | kPrefix);

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

// --- small images

// The points of one image by one block. Key: uint32_t or uint64_t.
template <class Key, int kThreads>
MAGNET_KERNEL(kThreads, 64, 1)
void list_image(Global<const Key> all_keys, Global<int64_t> points, int64_t pixels, int64_t pitch, uint32_t k) {
  constexpr int kKeyBits = 8 * sizeof(Key), kWidth = 16 / sizeof(Key), kWarps = kThreads / 32;
  MAGNET_SHARED(uint32_t, bins, kSelectDigits);
  MAGNET_SHARED(uint32_t, scratch, kScratchWords);
  const int64_t image = blockIdx.x;
  const Global<const Key> keys = all_keys + image * pitch;
  const uint32_t thread = threadIdx.x, lane = lane_index(), warp = thread / 32;
  const auto load_keys = [&](int64_t index) {
    Pack<Key, kWidth> key{};
    if (index < pixels) key = load<kWidth>(keys + index);
    return key;
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
    for (int64_t begin = 0; begin < pixels; begin += kThreads * kWidth) {
      const Pack<Key, kWidth> key = load_keys(begin + thread * kWidth);
      bool counts[kWidth];
      uint32_t digit[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        counts[i] = key.value[i] != 0 && (above == kKeyBits || (key.value[i] ^ threshold) >> above == 0);
        digit[i] = static_cast<uint32_t>(key.value[i] >> shift) & ((1u << digit_bits) - 1);
      }
      count_digits(bins, counts, digit);
    }
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

  // A warp lists a stretch of its own: it counts it, the block adds up, it lists it.
  constexpr int64_t kStep = 32 * kWidth;
  const int64_t stretch = ((pixels + kStep - 1) / kStep + kWarps - 1) / kWarps * kStep;
  const int64_t begin = warp * stretch, end = begin + stretch < pixels ? begin + stretch : pixels;
  uint32_t above = 0, equal = 0;
  for (int64_t index = begin; index < end; index += kStep) {
    const Pack<Key, kWidth> key = load_keys(index + lane * kWidth);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      above += key.value[i] > threshold;
      equal += key.value[i] == threshold;
    }
  }
  above = block_scan(above, scratch).before;
  equal = block_scan(equal, scratch).before;
  above = __shfl_sync(kFullWarp, above, 0);  // before the warp
  equal = __shfl_sync(kFullWarp, equal, 0);
  const Global<int64_t> row = points + image * k;
  for (int64_t index = begin; index < end; index += kStep) {
    const int64_t mine = index + lane * kWidth;
    const Pack<Key, kWidth> key = load_keys(mine);
    uint32_t counts = 0;  // above in the lower half, equal in the upper
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      counts += (key.value[i] > threshold ? 1u : 0u) + (key.value[i] == threshold ? 1u << 16 : 0u);
    }
    const uint32_t scan = warp_scan(counts), total = __shfl_sync(kFullWarp, scan, 31);
    uint32_t a = above + ((scan - counts) & 0xffff), e = equal + ((scan - counts) >> 16);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const bool higher = key.value[i] > threshold, tie = key.value[i] == threshold;
      if (higher || (tie && e < ties)) row[a + min(e, ties)] = mine + i;
      a += higher;
      e += tie;
    }
    above += total & 0xffff;
    equal += total >> 16;
  }
  for (uint32_t i = chosen + thread; i < k; i += kThreads) row[i] = -1;
}

}  // namespace magnet::cuda
