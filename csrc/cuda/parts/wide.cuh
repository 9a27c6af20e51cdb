// The type that elements are computed in, and the way there and back.
#pragma once

#include <type_traits>

#include "cuda/parts/device.cuh"

namespace magnet::cuda {

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
MAGNET_DEVICE Wide<T> widen(T x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return to_float<T>(x);
  }
}
template <class T>
MAGNET_DEVICE T narrow(Wide<T> x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return from_float<T>(x);
  }
}

}  // namespace magnet::cuda
