// The median of 7 x 7 to 15 x 15: lists of sorted columns in shared memory.
//
// A thread loads four columns of one row of the result, sorts them, merges them to two pairs and the pairs to a quad;
// then finishes the tile of four windows that starts there from the lists of its neighbours, as planned in
// common/median_network.h. The first windows of a block's next tile begin where those of this one end, so the last few
// threads of a block only make lists.
//
// Minimum and maximum instructions a pixel: 7: 131, 9: 237, 11: 315, 13: 498, 15: 656; the rest, mostly accesses to the
// lists, about as many again for 7 and half as many for 15. Counting the values not below a candidate, bit by bit,
// takes two instructions a value and step: 49 * 2 * 24 = 2400 for 7 and 225 * 2 * 24 = 11000 for 15.
#pragma once

#include "cuda/parts/median_network.cuh"
#include "cuda/parts/median_source.cuh"

namespace magnet::cuda {

// Lists of `tiles` tiles; rank by rank, so that neighbouring threads touch neighbouring words.
template <int k, int tiles>
struct SharedLists {
  static constexpr int kWords = 12 * k * tiles;
  Shared<int32_t> words;

  // Of columns 4 t + q; of columns 4 t + 2 q and the next; of columns 4 t .. 4 t + 3.
  MAGNET_DEVICE Shared<int32_t> column(int t, int q) const { return words + (q * k * tiles + t); }
  MAGNET_DEVICE Shared<int32_t> pair(int t, int q) const { return words + ((4 + 2 * q) * k * tiles + t); }
  MAGNET_DEVICE Shared<int32_t> quad(int t) const { return words + (8 * k * tiles + t); }

  // All ranks; those from `first` on.
  template <int count>
  MAGNET_DEVICE static void put(const int32_t (&list)[count], Shared<int32_t> to) {
#pragma unroll
    for (int i = 0; i < count; ++i) to[i * tiles] = list[i];
  }
  template <int first = 0, int count>
  MAGNET_DEVICE static void get(Shared<int32_t> from, int32_t (&list)[count]) {
#pragma unroll
    for (int i = 0; i < count; ++i) list[i] = from[(first + i) * tiles];
  }
};

constexpr int kMaxListThreads = 64;
// Half of them where the sink leaves no room for more: 48 KB are to be had.
template <int k, class Sink>
constexpr int kListThreads =
    SharedLists<k, kMaxListThreads>::kWords * 4 + Sink::kSharedBytes <= 48 * 1024 ? kMaxListThreads
                                                                                  : kMaxListThreads / 2;
// Tiles a block finishes, and the rows it does so one after the other.
template <int k, class Sink>
constexpr int kListTiles = kListThreads<k, Sink> - (k + 3) / 4;
constexpr int kListRows = 4;

// The lists of tile t, whose first column is pixel x, for row y of the result.
template <int k, int tiles>
MAGNET_DEVICE void make_lists(const MedianSource& source, int64_t base, int y, int x, int t,
                              const SharedLists<k, tiles>& lists) {
  using Lists = SharedLists<k, tiles>;
  int32_t column[4][k], pair[2][2 * k], quad[4 * k];
  const int top = y - k / 2;
  visit_source(source, base, top, x, [&](auto format, auto here, auto wide) {
    constexpr bool aligned = decltype(wide)::value && (k / 2 + 1) % 4 == 0;
#pragma unroll
    for (int i = 0; i < k; ++i) {
      const auto four = load_four<aligned>(here, source, is_inside(top + i, source.h), x);
      here = here + source.sh;
#pragma unroll
      for (int q = 0; q < 4; ++q) column[q][i] = OrderKey<decltype(format)>::median_key(four.value[q]);
    }
  });
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    int32_t sorted[k];
    sort_keys(column[q], sorted);
#pragma unroll
    for (int i = 0; i < k; ++i) column[q][i] = sorted[i];
    Lists::put(sorted, lists.column(t, q));
  }
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    merge_keys<0>(column[2 * q], column[2 * q + 1], pair[q]);
    Lists::put(pair[q], lists.pair(t, q));
  }
  merge_keys<0>(pair[0], pair[1], quad);
  Lists::put(quad, lists.quad(t));
}

// The core of tile t after `pieces` of its pieces.
template <int k, int pieces, int tiles, int count>
MAGNET_DEVICE void merge_core(const SharedLists<k, tiles>& lists, int t, int32_t (&core)[count]) {
  using Plan = median::Plan<k>;
  using Lists = SharedLists<k, tiles>;
  if constexpr (pieces == 1) {
    Lists::template get<Plan::core(1).first>(lists.quad(t + 1), core);
  } else {
    constexpr int last = pieces - 1;
    int32_t before[Plan::core(last).kept.count], piece[Plan::piece(last)];
    merge_core<k, last>(lists, t, before);
    Lists::get(last < Plan::kQuads ? lists.quad(t + 1 + last) : lists.pair(t + 1 + last, 0), piece);
    merge_keys<Plan::core(pieces).first>(before, piece, core);
  }
}

// Window p of tile t covers columns 4 t + 1 + p .. 4 t + k + p.
template <int k, int tiles>
MAGNET_DEVICE void finish_tile(const SharedLists<k, tiles>& lists, int t, int32_t (&out)[4]) {
  using Plan = median::Plan<k>;
  using Lists = SharedLists<k, tiles>;
  constexpr median::Step half = Plan::half();
  static_assert(half.kept.count == k + 1);
  int32_t core[Plan::core(Plan::kPieces).kept.count];
  merge_core<k, Plan::kPieces>(lists, t, core);
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    int32_t pair[2 * k], list[k + 1];
    Lists::get(side == 0 ? lists.pair(t, 1) : lists.pair(t + 1 + Plan::kQuads, Plan::kPairInCore), pair);
    merge_keys<half.first>(core, pair, list);
#pragma unroll
    for (int window = 0; window < 2; ++window) {
      const int c = (window == 0 ? 1 : k + 1) + 2 * side;
      int32_t column[k];
      Lists::get(lists.column(t + c / 4, c % 4), column);
      out[2 * side + window] = middle_key(list, column);
    }
  }
}

template <int k, class Sink>
MAGNET_KERNEL(kMaxListThreads, 192)
void median_of_lists(MedianSource source, uint32_t blocks_of_plane, uint32_t tiles, uint32_t tiles_of_row, Sink sink) {
  constexpr int threads = kListThreads<k, Sink>, finished = kListTiles<k, Sink>;
  using Lists = SharedLists<k, threads>;
  MAGNET_SHARED(int32_t, words, Lists::kWords);
  const Lists lists{words};
  const MedianBlock mine(source, blocks_of_plane);
  if constexpr (Sink::kFollows) let_next_kernel_begin();
  typename Sink::Block block(sink, mine.plane, blocks_of_plane);
  wait_for_earlier_kernels();
  const int t = threadIdx.x;
  for (uint32_t tile = mine.index; tile < tiles; tile += blocks_of_plane) {
    const uint32_t down = tile / tiles_of_row;
    const int y0 = down * kListRows, x = ((tile - down * tiles_of_row) * finished + t) * 4;
    const int rows = source.h - y0 < kListRows ? static_cast<int>(source.h - y0) : kListRows;
    for (int y = y0; y < y0 + rows; ++y) {
      make_lists(source, mine.base, y, x - k / 2 - 1, t, lists);
      __syncthreads();
      int32_t out[4] = {};
      if (t < finished) finish_tile(lists, t, out);
      __syncthreads();
      block.put(y, x, out, t < finished ? pixels_inside(source, y, x) : 0);
    }
  }
  block.end();
}

}  // namespace magnet::cuda
