// The pixels of one map at given points, copied to another. Needs neither CUDA nor torch.
#pragma once

#include <cstdint>

#include "cuda/parts/launch.h"

namespace magnet::cuda {

// Points (N, K) of any strides, in elements, in any order, repeated or not; those outside the map replace nothing.
struct PointList {
  const int64_t* data;
  int64_t k, sn, sk;
};

// `from` and `to` have the same shape and type. follows: a kernel of the same operator.
void replace_pixels(const Map& from, const Map& to, const PointList& points, bool follows, const Stream& stream);

}  // namespace magnet::cuda
