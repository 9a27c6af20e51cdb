// upsample_confidence: a map made larger, and the confidence of the larger map while it is in registers.
#pragma once

#include "cuda/parts/margin.cuh"
#include "cuda/parts/upsampled.cuh"

namespace magnet::cuda {

constexpr int kUpsampleThreads = 256;

template <class T, bool kLogits>
MAGNET_KERNEL(kUpsampleThreads, 64, 4)
void upsample_confidence_pixels(View<const T> coarse, View<T> upsampled, Global<float> confidence, PixelGrid grid) {
  const PixelPlace<1> place(grid, kUpsampleThreads);
  if (!place.exists) return;
  Upsampled<T> source(coarse, place.image, place.y, place.x, upsampled.h, upsampled.w);
  CopyPlanes<T, 1> copy(upsampled, place.image, place.y, place.x);
  float margin[1];
  margins<kLogits, 0, 4>(source, static_cast<int>(coarse.c), copy, margin);
  confidence[(place.image * upsampled.h + place.y) * upsampled.w + place.x] = margin[0];
}

// To twice the size.
template <class T, bool kLogits>
MAGNET_KERNEL(kUpsampleThreads, 64, 4)
void upsample_confidence_squares(View<const T> coarse, View<T> upsampled, Global<float> confidence, PixelGrid grid,
                                 bool pairs) {
  const Square at(grid, kUpsampleThreads);
  if (!at.exists) return;
  const SquareScores to(confidence, upsampled.h, upsampled.w, at);
  UpsampledSquare<T> source(coarse, at);
  CopySquare<T> copy(upsampled, at, pairs);
  float margin[4];
  margins<kLogits, 0, kSquaresInFlight>(source, static_cast<int>(coarse.c), copy, margin);
  to.put(margin);
}

}  // namespace magnet::cuda
