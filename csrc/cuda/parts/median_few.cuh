// The median of a square window, zero padded, of 1 x 1, 3 x 3 and 5 x 5: in registers. See median_lists.cuh for more.
//
// A thread takes four neighbours of a row and of a few rows below; a warp 128 pixels of a row, its lanes exchange the
// pixels beside their four. All rows of a thread are loaded before the first is used. Keys go to a sink:
//
//   struct Sink {
//     static constexpr int kSharedBytes = ...;  // of the shared arrays that Block declares
//     static constexpr bool kFollows = ...;     // whether it is between kernels of the same operator
//     class Block {                             // made by every thread of a block
//      public:
//       // All threads, once, at first; may use barriers, but not global memory: earlier kernels may still run.
//       MAGNET_DEVICE Block(const Sink& sink, int64_t plane, int64_t blocks_of_plane);
//       // All threads, equally often, a warp in the same row; no barriers. Pixels (y, x) .. (y, x + count - 1) of the
//       // plane, x % 4 == 0. Where count is 0 the rest means nothing.
//       template <class Key>
//       MAGNET_DEVICE void put(int64_t y, int64_t x, const Key (&key)[4], int count);
//       // All threads, once, at last; may use barriers.
//       MAGNET_DEVICE void end();
//     };
//   };
//
// Instructions a pixel of a wide fp32 map (sm_90): 3 x 3: 40, of them 16.5 minima and maxima (17.5 without those of
// three operands), which run at half rate, and 0.4 16-byte loads; 5 x 5: 120, of them 70 (75).
#pragma once

#include "cuda/parts/median_network.cuh"
#include "cuda/parts/median_source.cuh"

namespace magnet::cuda {

constexpr int kMedianThreads = 256;
constexpr int kMedianTileWidth = 128;  // four pixels a lane
// Rows of a thread.
template <int k>
constexpr int kMedianRows = k == 5 ? 2 : 4;
template <int k>
constexpr int kMedianTileHeight = kMedianThreads / 32 * kMedianRows<k>;

// Keys of rows y .. y + rows - 1, of this lane's pixels x .. x + 3 and `radius` more on both sides. All lanes of a
// warp.
template <int radius, int rows>
MAGNET_DEVICE void load_windows(const MedianSource& source, int64_t base, int y, int x,
                                int32_t (&key)[rows][4 + 2 * radius]) {
  const int lane = threadIdx.x % 32;
  visit_source(source, base, y, x, [&](auto format, auto here, auto wide) {
    using Keys = OrderKey<decltype(format)>;
    // The outer lanes read what lies beyond the warp's pixels.
    const bool outer = (lane == 0) | (lane == 31);
    const int aside = lane == 0 ? -radius : 4;
    auto beside = here + aside * source.sw;
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const bool inside = is_inside(y + i, source.h);
      const auto four = load_four<decltype(wide)::value>(here, source, inside, x);
#pragma unroll
      for (int j = 0; j < 4; ++j) key[i][radius + j] = Keys::median_key(four.value[j]);
#pragma unroll
      for (int j = 0; j < radius; ++j) {
        typename Keys::Bits bits = 0;
        if (inside & outer & is_inside(x + aside + j, source.w)) bits = beside[j * source.sw];
        key[i][j] = key[i][4 + radius + j] = Keys::median_key(bits);
      }
      here = here + source.sh;
      beside = beside + source.sh;
    }
  });
#pragma unroll
  for (int i = 0; i < rows; ++i) {
#pragma unroll
    for (int j = 0; j < radius; ++j) {
      const int32_t left = __shfl_up_sync(kAllLanes, key[i][4 + j], 1);
      const int32_t right = __shfl_down_sync(kAllLanes, key[i][radius + j], 1);
      // In the outer lanes both hold the pixel of their own outer side.
      key[i][j] = lane == 0 ? key[i][j] : left;
      key[i][4 + radius + j] = lane == 31 ? key[i][4 + radius + j] : right;
    }
  }
}

// The middle of three; of two in order and one more.
MAGNET_DEVICE int32_t middle_of_sorted(int32_t low, int32_t high, int32_t x) { return larger(low, smaller(high, x)); }
MAGNET_DEVICE int32_t middle(int32_t a, int32_t b, int32_t c) {
  return middle_of_sorted(smaller(a, b), larger(a, b), c);
}

// 3 x 3: the middle of the highest low, the middle middle and the lowest high of three sorted columns. Two rows of the
// result share the order of the two rows between them, two neighbours what their columns have in common.
template <int rows>
MAGNET_DEVICE void medians(const int32_t (&key)[rows + 2][6], int32_t (&out)[rows][4]) {
#pragma unroll
  for (int pair = 0; pair < rows; pair += 2) {
    int32_t low[6], high[6];
#pragma unroll
    for (int j = 0; j < 6; ++j) {
      low[j] = smaller(key[pair + 1][j], key[pair + 2][j]);
      high[j] = larger(key[pair + 1][j], key[pair + 2][j]);
    }
#pragma unroll
    for (int row = pair; row < pair + 2; ++row) {
      int32_t l[6], m[6], h[6];
#pragma unroll
      for (int j = 0; j < 6; ++j) {
        const int32_t x = key[row == pair ? pair : pair + 3][j];
        l[j] = smaller(low[j], x);
        m[j] = middle_of_sorted(low[j], high[j], x);
        h[j] = larger(high[j], x);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int a = 2 * half + 1, b = a + 1;  // the columns of both windows
        const int32_t ab_low = larger(l[a], l[b]), ab_high = smaller(h[a], h[b]);
        const int32_t ab = smaller(m[a], m[b]), ba = larger(m[a], m[b]);
#pragma unroll
        for (int window = 0; window < 2; ++window) {
          const int c = window == 0 ? a - 1 : b + 1;
          out[row][2 * half + window] =
              middle(larger(ab_low, l[c]), middle_of_sorted(ab, ba, m[c]), smaller(ab_high, h[c]));
        }
      }
    }
  }
}

// 5 x 5: four of the six rows are sorted once for both rows of the result; then a tile of common/median_network.h.
MAGNET_DEVICE void medians(const int32_t (&key)[6][8], int32_t (&out)[2][4]) {
  using Plan = median::Plan<5>;
  constexpr median::Step half = Plan::half();
  constexpr int core_first = Plan::core(1).first, core_count = Plan::core(1).kept.count;
  int32_t common[8][4];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int32_t rows[4] = {key[1][j], key[2][j], key[3][j], key[4][j]};
    sort_keys(rows, common[j]);
  }
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    int32_t column[8][5];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int32_t one[1] = {key[5 * row][j]};
      merge_keys<0>(common[j], one, column[j]);
    }
    // Window p covers columns p .. p + 4.
    int32_t core[core_count], pair[10], list[6];
    merge_keys<core_first>(column[3], column[4], core);
    merge_keys<0>(column[1], column[2], pair);
    merge_keys<half.first>(core, pair, list);
    out[row][0] = middle_key(list, column[0]);
    out[row][1] = middle_key(list, column[5]);
    merge_keys<0>(column[5], column[6], pair);
    merge_keys<half.first>(core, pair, list);
    out[row][2] = middle_key(list, column[2]);
    out[row][3] = middle_key(list, column[7]);
  }
}

MAGNET_DEVICE void medians(const int32_t (&key)[4][4], int32_t (&out)[4][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) out[i][j] = key[i][j];
  }
}

template <int k, class Sink>
MAGNET_DEVICE void median_in_registers(const MedianSource& source, uint32_t blocks_of_plane, uint32_t tiles,
                                       uint32_t tiles_of_row, const Sink& sink) {
  constexpr int rows = kMedianRows<k>, radius = k / 2;
  const MedianBlock mine(source, blocks_of_plane);
  if constexpr (Sink::kFollows) let_next_kernel_begin();  // others are an operator's last kernel
  typename Sink::Block block(sink, mine.plane, blocks_of_plane);
  wait_for_earlier_kernels();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (uint32_t tile = mine.index; tile < tiles; tile += blocks_of_plane) {
    const uint32_t down = tile / tiles_of_row;
    const int y = down * kMedianTileHeight<k> + warp * rows;
    const int x = (tile - down * tiles_of_row) * kMedianTileWidth + 4 * lane;
    int32_t key[rows + 2 * radius][4 + 2 * radius], out[rows][4];
    load_windows<radius>(source, mine.base, y - radius, x, key);
    medians(key, out);
#pragma unroll
    for (int i = 0; i < rows; ++i) block.put(y + i, x, out[i], pixels_inside(source, y + i, x));
  }
  block.end();
}

// k: 1 or 3.
template <int k, class Sink>
MAGNET_KERNEL(kMedianThreads, 64, 4)
void median_of_few(MedianSource source, uint32_t blocks_of_plane, uint32_t tiles, uint32_t tiles_of_row, Sink sink) {
  median_in_registers<k>(source, blocks_of_plane, tiles, tiles_of_row, sink);
}

template <class Sink>
MAGNET_KERNEL(kMedianThreads, 128)
void median_of_25(MedianSource source, uint32_t blocks_of_plane, uint32_t tiles, uint32_t tiles_of_row, Sink sink) {
  median_in_registers<5>(source, blocks_of_plane, tiles, tiles_of_row, sink);
}

}  // namespace magnet::cuda
