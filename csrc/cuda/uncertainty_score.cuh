// The score before the median. Y and R are read once, 16 bytes at a time, several planes in flight.
//
// Kernels with maps of their own kind put a source for coarse and one for fine (margin.cuh says what a source is;
// next() gives plane after plane) into scores():
//   float result[kPixels];
//   scores<kLogits, kClasses, kMost>(coarse_source, copy, fine_source, classes, result);
// where copy is NoCopy{} or takes what the coarse source gave, and kMost is how many planes are asked for before the
// first is used. Both sources have the same kPixels.
#pragma once

#include "cuda/parts/margin.cuh"
#include "cuda/parts/upsampled.cuh"

namespace magnet::cuda {

constexpr int kScoreThreads = 256;

// result = (1 - confidence(coarse)) * confidence(fine), 0 where not a number. See margins() for the parameters.
template <bool kLogits, int kClasses, int kMost, class Coarse, class Copy, class Fine>
MAGNET_DEVICE void scores(Coarse coarse, Copy copy, Fine fine, int classes, float (&result)[Fine::kPixels]) {
  float confidence[Fine::kPixels];
  margins<kLogits, kClasses, kMost>(coarse, classes, copy, confidence);
  NoCopy none;
  margins<kLogits, kClasses, kMost>(fine, classes, none, result);
#pragma unroll
  for (int i = 0; i < Fine::kPixels; ++i) result[i] = uncertainty(confidence[i], result[i]);
}

template <class T>
struct ScoreViews {
  View<const T> coarse, fine;  // fine: as the grid sees it
  ValidView valid;
  View<T> copy;
  Global<float> raw;
  Global<uint32_t> zero;
  int64_t zero_count;  // of 16 bytes each

  MAGNET_DEVICE void fill_zeros() const {
    const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < zero_count; i += threads) {
      store<4>(zero + 4 * i, Pack<uint32_t, 4>{});
    }
  }
};

// Where the scores of kN pixels go, and which of them are valid.
template <int kN>
struct ScorePlace {
  Global<float> to;
  uint32_t valid = ~0u;  // bit i: pixel i

  template <class T>
  MAGNET_DEVICE ScorePlace(const ScoreViews<T>& job, int64_t image, int64_t y, int64_t x)
      : to(opaque(job.raw + ((image * job.fine.h + y) * job.fine.w + x))) {
    if (job.valid.data == nullptr) return;
    valid = 0;
#pragma unroll
    for (int i = 0; i < kN; ++i) valid |= static_cast<uint32_t>(job.valid.at(image, y, x + i)) << i;
  }
  MAGNET_DEVICE void put(const float (&score)[kN]) const {
    constexpr int kStore = kN < 4 ? kN : 4;
#pragma unroll
    for (int i = 0; i < kN; i += kStore) {
      Pack<float, kStore> part;
#pragma unroll
      for (int k = 0; k < kStore; ++k) part.value[k] = valid >> (i + k) & 1 ? score[i + k] : 0.0f;
      store<kStore>(to + i, part);
    }
  }
};

template <bool kLogits, int kClasses, int kMost, int kN, class T>
MAGNET_DEVICE void score_unit(const ScoreViews<T>& job, int64_t image, int64_t y, int64_t x) {
  const ScorePlace<kN> place(job, image, y, x);
  float score[kN];
  scores<kLogits, kClasses, kMost>(Planes<T, kN>(job.coarse, image, y, x), CopyPlanes<T, kN>(job.copy, image, y, x),
                                   Planes<T, kN>(job.fine, image, y, x), static_cast<int>(job.fine.c), score);
  place.put(score);
}

// kN consecutive pixels a thread; kN = 1: any strides.
template <class T, bool kLogits, int kN, int kClasses>
MAGNET_KERNEL(kScoreThreads, 64, 4)
void score_planes(ScoreViews<T> job, PixelGrid grid) {
  let_next_kernel_begin();
  job.fill_zeros();
  const PixelPlace<kN> place(grid, kScoreThreads);
  if (!place.exists) return;
  if (kN > 1 && place.single) {
    score_unit<kLogits, 0, kPlanesOfTheRest, 1>(job, place.image, place.y, place.x);
  } else {
    score_unit<kLogits, kClasses, kPlanesInFlight<kLogits, kClasses, sizeof(T) * kN>, kN>(job, place.image, place.y,
                                                                                          place.x);
  }
}

// Coarse is smaller than fine; any strides.
template <class T, bool kLogits>
MAGNET_KERNEL(kScoreThreads, 64, 4)
void score_upsampled(ScoreViews<T> job, PixelGrid grid) {
  let_next_kernel_begin();
  job.fill_zeros();
  const PixelPlace<1> place(grid, kScoreThreads);
  if (!place.exists) return;
  const ScorePlace<1> to(job, place.image, place.y, place.x);
  float score[1];
  scores<kLogits, 0, 4>(Upsampled<T>(job.coarse, place.image, place.y, place.x, job.fine.h, job.fine.w),
                        CopyPlanes<T, 1>(job.copy, place.image, place.y, place.x),
                        Planes<T, 1>(job.fine, place.image, place.y, place.x), static_cast<int>(job.fine.c), score);
  to.put(score);
}

// Coarse is half the size of fine. kPairs: two neighbours of fine are loaded at once.
template <class T, bool kLogits, bool kPairs>
MAGNET_KERNEL(kScoreThreads, 64, 4)
void score_doubled(ScoreViews<T> job, PixelGrid grid, bool copy_pairs) {
  let_next_kernel_begin();
  job.fill_zeros();
  const Square at(grid, kScoreThreads);
  if (!at.exists) return;
  const SquareScores to(job.raw, job.fine.h, job.fine.w, at);
  uint32_t valid = ~0u;
  if (job.valid.data != nullptr) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool inside = i < 2 ? at.upper : at.lower;
      if (inside && !job.valid.at(at.image, 2 * at.y - (i < 2), 2 * at.x + i % 2)) valid ^= 1u << i;
    }
  }
  float score[4];
  scores<kLogits, 0, kSquaresInFlight>(UpsampledSquare<T>(job.coarse, at), CopySquare<T>(job.copy, at, copy_pairs),
                                       SquarePlanes<T, kPairs>(job.fine, at), static_cast<int>(job.fine.c), score);
#pragma unroll
  for (int i = 0; i < 4; ++i) score[i] = valid >> i & 1 ? score[i] : 0.0f;
  to.put(score);
}

// Rows of pixels of consecutive classes: coarse and then fine pass through the same tile. Fine is on its way in
// registers while coarse is looked at.
template <class T, bool kLogits>
MAGNET_KERNEL(PixelTiles::kThreads, 64, 8)
void score_pixels(ScoreViews<T> job, PixelTiles tiles) {
  MAGNET_SHARED(T, tile, PixelTiles::kBytes / sizeof(T));
  let_next_kernel_begin();
  job.fill_zeros();
  const TilePlace place(tiles);
  const int classes = static_cast<int>(job.fine.c), elements = place.count * classes;
  Global<T> copy = job.copy.data;
  if (copy != nullptr) copy = copy + job.copy.offset(place.image, place.y, place.x);
  TileLoads<T>(job.coarse.data + job.coarse.offset(place.image, place.y, place.x), elements).put(tile, copy);
  const TileLoads<T> next(job.fine.data + job.fine.offset(place.image, place.y, place.x), elements);
  __syncthreads();
  const float coarse = tile_margin<kLogits, T>(tile, classes, tiles.lanes, place.count);
  __syncthreads();
  next.put(tile, nullptr);
  __syncthreads();
  const float fine = tile_margin<kLogits, T>(tile, classes, tiles.lanes, place.count);
  const int pixel = threadIdx.x / tiles.lanes;
  if (pixel >= place.count || threadIdx.x % tiles.lanes != 0) return;
  const float score[1] = {uncertainty(coarse, fine)};
  ScorePlace<1>(job, place.image, place.y, place.x + pixel).put(score);
}

}  // namespace magnet::cuda
