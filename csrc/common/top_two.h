// The two highest values of a stream, and their difference as confidence wants it.
#pragma once

#include "common/portable.h"

namespace magnet {

struct TopTwo {
  float first = -__builtin_inff();
  float second = -__builtin_inff();
};

// A NaN sticks: from then on both are +inf, whose difference is not a number.
MAGNET_HOST_DEVICE void update(TopTwo& top, float x) {
  if (x != x) {
    top.first = top.second = __builtin_inff();
  } else if (x > top.first) {
    top.second = top.first;
    top.first = x;
  } else if (x > top.second) {
    top.second = x;
  }
}

// Highest minus second highest; 0, never -0, where they are equal and where the difference is not a number.
MAGNET_HOST_DEVICE float margin(const TopTwo& top) {
  const float difference = top.first - top.second;
  return difference > 0.0f ? difference : 0.0f;
}

// (1 - confidence of coarse) * confidence of fine; 0, never -0, where that is 0 and where it is not a number.
MAGNET_HOST_DEVICE float uncertainty(float coarse_confidence, float fine_confidence) {
  const float score = (1.0f - coarse_confidence) * fine_confidence + 0.0f;  // -0 + 0 is 0
  return score != score ? 0.0f : score;
}

}  // namespace magnet
