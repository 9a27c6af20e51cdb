// Bilinear resizing, align_corners=False: which two elements an output element lies between, and how far.
//
// An element without weight is not read, so that an infinity or a NaN there does not spread and -0 stays -0.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace magnet {

// What a sum begins with: adding to it changes nothing, not even the sign of a zero.
template <class Real>
constexpr Real kNothing = Real(-0.0);

template <class Real>
struct BilinearTap {
  int64_t low, high;  // high is low at the last element, and where it has no weight
  Real weight;        // of high, 0 <= weight < 1; low has 1 - weight
};

// Between the values of low and high.
template <class Real>
MAGNET_HOST_DEVICE Real blend(Real low, Real high, Real weight) {
  return weight == Real(0) ? low : low * (Real(1) - weight) + high * weight;
}

// Output element `index` of `out_size` over `in_size` elements. Real: float, or double for fp64 maps.
template <class Real>
MAGNET_HOST_DEVICE BilinearTap<Real> bilinear_tap(int64_t index, int64_t in_size, int64_t out_size) {
  if (in_size == out_size) return {index, index, Real(0)};
  Real scale = static_cast<Real>(in_size) / static_cast<Real>(out_size);
  Real source = scale * (static_cast<Real>(index) + Real(0.5)) - Real(0.5);
  if (source < Real(0)) source = Real(0);
  int64_t low = static_cast<int64_t>(source);
  if (low > in_size - 1) low = in_size - 1;
  Real weight = source - static_cast<Real>(low);
  if (!(weight < Real(1))) weight = Real(0);  // by rounding, beyond the last element
  return {low, low + (low < in_size - 1 && weight != Real(0) ? 1 : 0), weight};
}

}  // namespace magnet
