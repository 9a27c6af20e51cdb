// Starts the median kernels on a map. Compiled where a sink is known: every sink has kernels of its own.
#pragma once

#include "cuda/parts/median_few.cuh"
#include "cuda/parts/median_lists.cuh"

namespace magnet::cuda {

// A grid of tiles of one size over every plane of a map.
struct MedianGrid {
  int64_t tiles_of_row, tiles, blocks_of_plane, blocks;

  MedianGrid(const Map& x, int width, int height, int64_t max_blocks_of_plane) {
    tiles_of_row = (x.w + width - 1) / width;
    tiles = tiles_of_row * ((x.h + height - 1) / height);
    // With room for what lies beyond the map's edges.
    if (tiles > INT32_MAX || x.h > INT32_MAX - 1024 || x.w > INT32_MAX - 1024)
      throw std::runtime_error("median: too large for one launch");
    blocks_of_plane = max_blocks_of_plane > 0 && max_blocks_of_plane < tiles ? max_blocks_of_plane : tiles;
    blocks = x.n * x.c * blocks_of_plane;
  }

  template <class Kernel, class Sink>
  void start(Kernel kernel, int threads, const Map& x, const Sink& sink, const Stream& stream) const {
    launch_after(Sink::kFollows, "median", kernel, blocks, threads, stream, median_source(x),
                 static_cast<uint32_t>(blocks_of_plane), static_cast<uint32_t>(tiles),
                 static_cast<uint32_t>(tiles_of_row), sink);
  }
};

template <int k, class Sink>
void launch_median_of_lists(const Map& x, int64_t max_blocks_of_plane, const Sink& sink, const Stream& stream) {
  MedianGrid(x, 4 * kListTiles<k, Sink>, kListRows, max_blocks_of_plane)
      .start(median_of_lists<k, Sink>, kListThreads<k, Sink>, x, sink, stream);
}

// The keys of every plane of x as they are: the median of 1 x 1.
template <class Sink>
void launch_keys(const Map& x, const Sink& sink, const Stream& stream) {
  MedianGrid(x, kMedianTileWidth, kMedianTileHeight<1>, 0)
      .start(median_of_few<1, Sink>, kMedianThreads, x, sink, stream);
}

// The median keys of every plane of x, fp32, fp16 or bf16 of any strides, to `sink` (see median_few.cuh). kernel_size:
// odd, 3 to 15. At most max_blocks_of_plane blocks work on a plane; 0: as many as it has tiles.
template <class Sink>
void launch_median(const Map& x, int kernel_size, int64_t max_blocks_of_plane, const Sink& sink, const Stream& stream) {
  if (x.n * x.c * x.h * x.w == 0) return;
  const auto grid = [&](int height) { return MedianGrid(x, kMedianTileWidth, height, max_blocks_of_plane); };
  switch (kernel_size) {
    case 3:
      return grid(kMedianTileHeight<3>).start(median_of_few<3, Sink>, kMedianThreads, x, sink, stream);
    case 5:
      return grid(kMedianTileHeight<5>).start(median_of_25<Sink>, kMedianThreads, x, sink, stream);
    case 7:
      return launch_median_of_lists<7>(x, max_blocks_of_plane, sink, stream);
    case 9:
      return launch_median_of_lists<9>(x, max_blocks_of_plane, sink, stream);
    case 11:
      return launch_median_of_lists<11>(x, max_blocks_of_plane, sink, stream);
    case 13:
      return launch_median_of_lists<13>(x, max_blocks_of_plane, sink, stream);
    case 15:
      return launch_median_of_lists<15>(x, max_blocks_of_plane, sink, stream);
  }
}

}  // namespace magnet::cuda
