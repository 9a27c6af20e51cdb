// The K highest scores of an image: entry points for other operators.
#pragma once

#include <cstdint>

namespace magnet {

// How many valid pixels have each leading digit of the selection key (common/order_key.h).
constexpr int kSelectBins = 4096;
struct SelectHistogram {
  int64_t count[kSelectBins] = {};
};

// Adds `count` consecutive scores to a histogram, those where mask[i * mask_stride] (null: all).
// Single threaded; give each thread a histogram of its own and add them up.
void add_to_histogram(const float* score, const bool* mask, int64_t mask_stride, int64_t count,
                      SelectHistogram& histogram);

// Flat indices of the k highest of the dense h x w scores into out[0..k), ascending, ties to the lowest index, then -1
// where valid pixels run out; 0 <= k <= h * w. mask: null, or where pixels are valid, with its strides in bytes.
// histogram: of all these scores under this mask, where the caller made one on the way; null makes it here.
// Parallel inside, serial where called from inside a parallel region.
void select_points_plane(const float* score, int64_t h, int64_t w, const bool* mask, int64_t mask_sy, int64_t mask_sx,
                         int64_t k, int64_t* out, const SelectHistogram* histogram = nullptr);

}  // namespace magnet
