// A map (N, C, H, W) of any strides, as kernels see it. Needs no torch.
#pragma once

#include <cstdint>

#include "common/element.h"

namespace magnet {

struct Map {
  char* data;
  Element type;
  int64_t n, c, h, w;
  int64_t sn, sc, sh, sw;  // in elements

  int64_t item() const { return element_size(type); }
  char* at(int64_t image, int64_t y, int64_t x) const { return data + (image * sn + y * sh + x * sw) * item(); }
  // Planes of consecutive pixels.
  bool planar() const { return sw == 1; }
  // Pixels of consecutive classes.
  bool pixelwise() const { return sc == 1; }
  // All pixels of an image lie at one distance, so that it can be seen as one row.
  bool one_row() const { return h == 1 || w == 1 || sh == w * sw; }
};

// bool (N, 1, H, W) of any strides, True where pixels are valid; data is null where all are.
struct ValidMap {
  const bool* data = nullptr;
  int64_t sn = 0, sy = 0, sx = 0;

  const bool* image(int64_t n) const { return data ? data + n * sn : nullptr; }
};

inline Map as_one_row(Map map) {
  map.sw = map.w == 1 ? map.sh : map.sw;
  map.w = map.h * map.w;
  map.h = 1;
  return map;
}

}  // namespace magnet
