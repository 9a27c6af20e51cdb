// Maps as kernels see them.
#pragma once

#include "common/map.h"
#include "cuda/parts/device.cuh"

namespace magnet::cuda {

// (N, C, H, W) of any strides, in elements.
template <class T>
struct View {
  Global<T> data;
  int64_t n, c, h, w;
  int64_t sn, sc, sh, sw;

  MAGNET_HOST_DEVICE int64_t offset(int64_t image, int64_t y, int64_t x) const { return image * sn + y * sh + x * sw; }
};

// How many elements of memory lie between the first and the last one of a map, both included.
inline int64_t extent(const Map& map) {
  if (map.n * map.c * map.h * map.w == 0) return 0;
  return (map.n - 1) * map.sn + (map.c - 1) * map.sc + (map.h - 1) * map.sh + (map.w - 1) * map.sw + 1;
}

// T: const for maps that are only read.
template <class T>
View<T> view_of(const Map& map) {
  return {global<T>(map.data, map.data ? extent(map) : 0), map.n, map.c, map.h, map.w, map.sn, map.sc, map.sh, map.sw};
}

// bool (N, 1, H, W); all valid where `data` is null.
struct ValidView {
  Global<const bool> data;
  int64_t sn, sy, sx;
  bool fours;  // four pixels from a multiple of four on are one word

  MAGNET_DEVICE bool at(int64_t image, int64_t y, int64_t x) const {
    return data == nullptr || data[image * sn + y * sy + x * sx];
  }
  // Of pixels x .. x + count - 1, count at most 4 and x a multiple of 4: a bit each, from the lowest on.
  MAGNET_DEVICE uint32_t four(int64_t image, int64_t y, int64_t x, int count) const {
    uint32_t bits = (1u << count) - 1;
    if (data == nullptr || count == 0) return bits;
    const Global<const bool> first = data + (image * sn + y * sy + x * sx);
    if (fours && count == 4) {
      uint32_t word = load<1>(reinterpret_cast<const uint32_t*>(first)).value[0];
#pragma unroll
      for (int shift = 4; shift > 0; shift /= 2) word |= word >> shift;  // any bit of a byte is true, as above
      return (word & 1) | (word >> 7 & 2) | (word >> 14 & 4) | (word >> 21 & 8);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count && !first[i * sx]) bits &= ~(1u << i);
    }
    return bits;
  }
};

inline ValidView view_of(const ValidMap& valid, int64_t n, int64_t h, int64_t w) {
  const int64_t elements = n * h * w == 0 ? 0 : (n - 1) * valid.sn + (h - 1) * valid.sy + (w - 1) * valid.sx + 1;
  const bool fours = (valid.sx == 1 || w == 1) && (h == 1 || valid.sy % 4 == 0) && (n == 1 || valid.sn % 4 == 0) &&
                     reinterpret_cast<uintptr_t>(valid.data) % 4 == 0;
  return {global<const bool>(valid.data, valid.data ? elements : 0), valid.sn, valid.sy, valid.sx, fours};
}

}  // namespace magnet::cuda
