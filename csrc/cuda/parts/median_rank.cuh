// The median of any window of fp64, which is there to be right: by bisection of the key, counting the values of the
// window that are not below the candidate. A thread takes four neighbours and starts between the lowest and the highest
// value of their windows. 2 k^2 instructions a pixel and step (times two for 64 bits), at most 64 steps.
#pragma once

#include "cuda/parts/median_source.cuh"

namespace magnet::cuda {

constexpr int kRankThreads = 256;
constexpr int kRankTileWidth = 128, kRankTileHeight = kRankThreads / 32;
constexpr int kRankHalo = 14;  // of the largest window

// (N, C, H, W) of fp64 with any strides.
using RankSource = View<const uint64_t>;

template <class Sink>
MAGNET_KERNEL(kRankThreads, 80)
void median_by_rank(RankSource source, int k, uint32_t blocks_of_plane, uint32_t tiles, uint32_t tiles_of_row,
                    Sink sink) {
  constexpr int pitch = kRankTileWidth + kRankHalo;
  MAGNET_SHARED(int64_t, shared_keys, pitch*(kRankTileHeight + kRankHalo));
  const Shared<int64_t> keys = shared_keys;
  using Keys = OrderKey<Float64Format>;
  const int radius = k / 2, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int width = kRankTileWidth + 2 * radius, height = kRankTileHeight + 2 * radius;
  const MedianBlock mine(source, blocks_of_plane);
  typename Sink::Block block(sink, mine.plane, blocks_of_plane);
  for (uint32_t tile = mine.index; tile < tiles; tile += blocks_of_plane) {
    const uint32_t down = tile / tiles_of_row;
    const int y0 = down * kRankTileHeight, x0 = (tile - down * tiles_of_row) * kRankTileWidth;
    __syncthreads();  // the last tile's keys are read
    for (int row = warp; row < height; row += kRankThreads / 32) {
      for (int column = lane; column < width; column += 32) {
        const int y = y0 - radius + row, x = x0 - radius + column;
        uint64_t bits = 0;
        if (is_inside(y, source.h) && is_inside(x, source.w))
          bits = source.data[mine.base + y * source.sh + x * source.sw];
        keys[row * pitch + column] = Keys::median_key(bits);
      }
    }
    __syncthreads();
    const Shared<int64_t> window = keys + (warp * pitch + 4 * lane);
    int64_t lowest = INT64_MAX, highest = INT64_MIN;
    for (int i = 0; i < k; ++i) {
      for (int j = 0; j < k + 3; ++j) {
        lowest = smaller(lowest, static_cast<int64_t>(window[i * pitch + j]));
        highest = larger(highest, static_cast<int64_t>(window[i * pitch + j]));
      }
    }
    // The median is in low .. high, a candidate above low: raised while more than half of the values reach it.
    int64_t low[4], high[4];
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      low[p] = lowest;
      high[p] = highest;
    }
    while (low[0] < high[0] || low[1] < high[1] || low[2] < high[2] || low[3] < high[3]) {
      int64_t candidate[4];
      int count[4];
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        // Half of the distance, which may be more than an int64_t holds, rounded up.
        const uint64_t distance = static_cast<uint64_t>(high[p]) - static_cast<uint64_t>(low[p]);
        candidate[p] = static_cast<int64_t>(static_cast<uint64_t>(low[p]) + distance / 2 + distance % 2);
        count[p] = 0;
      }
      for (int i = 0; i < k; ++i) {
        for (int j = 0; j < k; ++j) {
#pragma unroll
          for (int p = 0; p < 4; ++p) count[p] += window[i * pitch + j + p] >= candidate[p];
        }
      }
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const bool reached = 2 * count[p] > k * k;
        low[p] = reached ? candidate[p] : low[p];
        high[p] = reached ? high[p] : (low[p] < high[p] ? candidate[p] - 1 : high[p]);
      }
    }
    const int y = y0 + warp, x = x0 + 4 * lane;
    block.put(y, x, low, pixels_inside(source, y, x));
  }
  block.end();
}

}  // namespace magnet::cuda
