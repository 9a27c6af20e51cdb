// Boxes (image index, x0, y0, x1, y1) in whole pixels.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace magnet {

struct PixelBox {
  int64_t image;
  int64_t x0, y0, x1, y1;  // rounded
};

// A range of pixels of one axis.
struct PixelRange {
  int64_t begin, end;
};

// To the nearest whole number, halves to even, whatever the rounding mode. |x| must be below 2^51.
MAGNET_HOST_DEVICE int64_t round_half_even(double x) {
  int64_t below = static_cast<int64_t>(x);
  if (static_cast<double>(below) > x) --below;  // the conversion rounds towards zero
  const double rest = x - static_cast<double>(below);
  if (rest > 0.5 || (rest == 0.5 && below % 2 != 0)) ++below;
  return below;
}

// The part of [begin, end) that lies in [0, size); empty ranges have begin = end.
MAGNET_HOST_DEVICE PixelRange clip(int64_t begin, int64_t end, int64_t size) {
  begin = begin < 0 ? 0 : begin > size ? size : begin;
  end = end < begin ? begin : end > size ? size : end;
  return {begin, end};
}

}  // namespace magnet
