// The K highest scores of an image: entry points for other operators.
#pragma once

#include <cstdint>

namespace magnet {

// How many valid pixels have each leading digit of the selection key (common/order_key.h). Four tables, to be added up:
// neighbours often share a digit, and would wait for each other's count. All zero at first.
struct SelectHistogram {
  static constexpr int kDigitBits = 12;
  uint32_t count[4][1 << kDigitBits];
};

// Adds `count` consecutive scores to a histogram, those where mask[i * mask_stride] (null: all).
// Single threaded; give each thread a histogram of its own.
void add_to_histogram(const float* score, const bool* mask, int64_t mask_stride, int64_t count,
                      SelectHistogram& histogram);

// Flat indices of the k highest of the dense h x w scores into out[0..k), ascending, ties to the lowest index, then -1
// where valid pixels run out; 0 <= k <= h * w. mask: null, or where pixels are valid, with its strides in bytes.
// histograms: that together hold every score once, under this mask, where the caller made them on the way; null makes
// one here. Parallel inside, serial where called from inside a parallel region.
void select_points_plane(const float* score, int64_t h, int64_t w, const bool* mask, int64_t mask_sy, int64_t mask_sx,
                         int64_t k, int64_t* out, const SelectHistogram* histograms = nullptr,
                         int64_t histogram_count = 0);

}  // namespace magnet
