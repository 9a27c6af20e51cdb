// The K highest scores of an image, for the operators that select.
#pragma once

#include <cstdint>

#include "common/map.h"

namespace magnet {

// One image's scores and which of them may be chosen, (H, W); strides in elements and bytes. mask null: all.
struct ScorePlane {
  const void* data;
  int64_t h, w, sy, sx;
  const uint8_t* mask;
  int64_t mask_sy, mask_sx;
};

// Of an image of a map of scores.
inline ScorePlane score_plane(const Map& scores, const ValidMap& valid, int64_t image) {
  return {scores.at(image, 0, 0),
          scores.h,
          scores.w,
          scores.sh,
          scores.sw,
          reinterpret_cast<const uint8_t*>(valid.image(image)),
          valid.sy,
          valid.sx};
}

// Of fp32 scores without gaps.
inline ScorePlane score_plane(const float* scores, int64_t h, int64_t w, const ValidMap& valid, int64_t image) {
  return {scores, h, w, w, 1, reinterpret_cast<const uint8_t*>(valid.image(image)), valid.sy, valid.sx};
}

// How many valid pixels have each leading digit of the selection key (common/order_key.h). Four tables, to be added up:
// neighbours often share a digit, and would wait for each other's count. All zero at first.
struct SelectHistogram {
  static constexpr int kDigitBits = 12;
  uint32_t count[4][1 << kDigitBits];
};

// Adds `count` consecutive fp32 scores to a histogram, those where mask[i * mask_stride] (null: all).
// Single threaded; give each thread a histogram of its own.
void add_to_histogram(const float* score, const bool* mask, int64_t mask_stride, int64_t count,
                      SelectHistogram& histogram);

// Pixels below which an image is not worth more than one thread.
constexpr int64_t kSelectAlone = 1 << 18;

// Flat indices of the k highest scores into out[0..k), ascending, ties to the lowest index, then -1 where valid pixels
// run out; 0 <= k <= h * w. histograms: that together hold every score once, where the caller made them on the way;
// null makes one here. Parallel inside, serial where called from inside a parallel region.
void select_highest(Element type, const ScorePlane& plane, int64_t k, int64_t* out,
                    const SelectHistogram* histograms = nullptr, int64_t histogram_count = 0);

}  // namespace magnet
