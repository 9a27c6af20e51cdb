// confidence: top-1 minus top-2 class probability.
#pragma once

#include "cuda/parts/margin.cuh"

namespace magnet::cuda {

constexpr int kConfidenceThreads = 256;

template <bool kLogits, int kClasses, int kMost, int kN, class T>
MAGNET_DEVICE void confidence_unit(const View<const T>& x, Global<float> out, int64_t image, int64_t y, int64_t begin) {
  Pack<float, kN> margin;
  Planes<T, kN> source(x, image, y, begin);
  NoCopy none;
  margins<kLogits, kClasses, kMost>(source, static_cast<int>(x.c), none, margin.value);
  constexpr int kStore = kN < 4 ? kN : 4;
#pragma unroll
  for (int i = 0; i < kN; i += kStore) {
    Pack<float, kStore> part;
#pragma unroll
    for (int k = 0; k < kStore; ++k) part.value[k] = margin.value[i + k];
    store<kStore>(out + (image * x.h + y) * x.w + begin + i, part);
  }
}

// kN consecutive pixels a thread; kN = 1: any strides. x.h, x.w: as the grid sees them.
template <class T, bool kLogits, int kN, int kClasses>
MAGNET_KERNEL(kConfidenceThreads, 64, 4)
void confidence_planes(View<const T> x, Global<float> out, PixelGrid grid) {
  const PixelPlace<kN> place(grid, kConfidenceThreads);
  if (!place.exists) return;
  if (kN > 1 && place.single) {
    confidence_unit<kLogits, 0, kPlanesOfTheRest, 1>(x, out, place.image, place.y, place.x);
  } else {
    confidence_unit<kLogits, kClasses, kPlanesInFlight<kLogits, kClasses, sizeof(T) * kN>, kN>(x, out, place.image,
                                                                                               place.y, place.x);
  }
}

// Rows of pixels of consecutive classes: a block takes a tile of consecutive pixels.
template <class T, bool kLogits>
MAGNET_KERNEL(PixelTiles::kThreads, 64, 8)
void confidence_pixels(View<const T> x, Global<float> out, PixelTiles tiles) {
  MAGNET_SHARED(T, tile, PixelTiles::kBytes / sizeof(T));
  const TilePlace place(tiles);
  const int classes = static_cast<int>(x.c);
  TileLoads<T>(x.data + x.offset(place.image, place.y, place.x), place.count * classes).put(tile, nullptr);
  __syncthreads();
  const float margin = tile_margin<kLogits, T>(tile, classes, tiles.lanes, place.count);
  const int pixel = threadIdx.x / tiles.lanes;
  if (pixel < place.count && threadIdx.x % tiles.lanes == 0) {
    out[(place.image * x.h + place.y) * x.w + place.x + pixel] = margin;
  }
}

}  // namespace magnet::cuda
