// The mean of 1 - confidence over boxes: sums of bands of rows by a block each, then of the bands of a box. All sums
// are made in double and in an order that only the box decides.
#pragma once

#include "cuda/parts/boxes.cuh"
#include "cuda/parts/margin.cuh"
#include "cuda/patch_uncertainty.h"

namespace magnet::cuda {

constexpr int kBandThreads = 256;

// Confidence as it was made before: (N, 1, H, W) without gaps. kAtOnce: how many pixels a thread asks for before it
// needs the first.
struct ConfidenceMap {
  static constexpr int kAtOnce = 16;
  Global<const float> data;
  int64_t h, w;

  MAGNET_DEVICE float at(int64_t image, int64_t y, int64_t x) const { return data[(image * h + y) * w + x]; }
};

// Confidence made where it is asked for.
template <class T, bool kLogits>
struct ConfidenceOf {
  static constexpr int kAtOnce = 1;
  View<const T> map;
  int64_t h, w;

  MAGNET_DEVICE float at(int64_t image, int64_t y, int64_t x) const {
    float margin[1];
    Planes<T, 1> pixel(map, image, y, x);
    NoCopy nowhere;
    margins<kLogits, 0, 8>(pixel, map.c, nowhere, margin);
    return margin[0];
  }
};

// The sum over the warp, in all lanes.
MAGNET_DEVICE double warp_sum(double x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

// Block b * bands + k: sums[b * bands + k] = sum over the k-th of the bands of box b. A warp goes along a row.
template <class Confidence>
MAGNET_KERNEL(kBandThreads, 64, 4)
void sum_bands(Confidence confidence, Rects boxes, int bands, Global<double> sums) {
  constexpr int kWarps = kBandThreads / 32, kAtOnce = Confidence::kAtOnce;
  MAGNET_SHARED(double, of_warps, kWarps);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Rect box = boxes.at(static_cast<int>(blockIdx.x / static_cast<uint32_t>(bands)));
  const uint32_t band = blockIdx.x % static_cast<uint32_t>(bands);
  const PixelRange rows = clip(box.y0, box.y1, confidence.h), columns = clip(box.x0, box.x1, confidence.w);
  const int64_t height = rows.end - rows.begin;
  const int64_t begin = rows.begin + height * band / bands, end = rows.begin + height * (band + 1) / bands;
  double sum = 0.0;
  for (int64_t y = begin + warp; y < end; y += kWarps) {
    for (int64_t x = columns.begin + lane; x < columns.end; x += 32 * kAtOnce) {
      float values[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        values[k] = 1.0f;  // adds 0
        if (k == 0 || x + 32 * k < columns.end) values[k] = confidence.at(box.image, y, x + 32 * k);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) sum += static_cast<double>(1.0f - values[k]);
    }
  }
  sum = warp_sum(sum);
  if (lane == 0) of_warps[warp] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < kWarps; ++k) sum += of_warps[k];
    sums[blockIdx.x] = sum;
  }
}

// A warp for each box.
template <int kThreads>
MAGNET_KERNEL(kThreads, 40)
void mean_of_boxes(Global<const double> sums, Rects boxes, int bands, int64_t h, int64_t w, Global<float> out) {
  const int64_t b = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int lane = threadIdx.x % 32;
  if (b >= boxes.count) return;
  double sum = 0.0;
  for (int k = lane; k < bands; k += 32) sum += sums[b * bands + k];
  sum = warp_sum(sum);
  if (lane != 0) return;
  const Rect box = boxes.at(static_cast<int>(b));
  const PixelRange rows = clip(box.y0, box.y1, h), columns = clip(box.x0, box.x1, w);
  const int64_t pixels = (rows.end - rows.begin) * (columns.end - columns.begin);
  out[b] = pixels > 0 ? static_cast<float>(sum / static_cast<double>(pixels)) : 0.0f;
}

}  // namespace magnet::cuda
