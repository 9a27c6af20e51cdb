// Where RoIAlign with adaptive sampling looks, one axis at a time.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace magnet {

struct RoiAxis {
  double start;     // of the box, in the coordinates where pixel i lies at i
  double bin_size;  // pixels of the map to one output pixel
  int64_t samples;  // that each output pixel averages
};

struct RoiSample {
  int64_t low, high;  // the pixels it lies between; high is low at the last one
  double weight;      // of high; low has 1 - weight
  bool inside;        // false: more than one pixel outside the map, counts as 0
};

// A box from `start` to `end` pixels. Real is float, or double for fp64 maps: the number of samples comes from a size
// in that type, where one that is whole but for rounding is whole; where they lie is computed in double.
template <class Real>
MAGNET_HOST_DEVICE RoiAxis roi_axis(Real start, Real end, int64_t output_size, bool aligned) {
  const Real offset = aligned ? Real(0.5) : Real(0);
  start -= offset;
  Real extent = (end - offset) - start;
  if (!aligned && extent < Real(1)) extent = Real(1);
  const Real bin = extent / static_cast<Real>(output_size);
  int64_t samples = static_cast<int64_t>(bin);
  if (static_cast<Real>(samples) < bin) ++samples;
  return {static_cast<double>(start), static_cast<double>(extent) / static_cast<double>(output_size),
          samples > 0 ? samples : 0};
}

MAGNET_HOST_DEVICE RoiSample roi_sample(const RoiAxis& axis, int64_t output, int64_t sample, int64_t size) {
  double position = axis.start + static_cast<double>(output) * axis.bin_size +
                    (static_cast<double>(sample) + 0.5) * axis.bin_size / static_cast<double>(axis.samples);
  if (!(position >= -1.0 && position <= static_cast<double>(size))) return {0, 0, 0.0, false};
  if (position < 0.0) position = 0.0;
  if (position > static_cast<double>(size - 1)) position = static_cast<double>(size - 1);
  const int64_t low = static_cast<int64_t>(position);
  return {low, low + (low < size - 1 ? 1 : 0), position - static_cast<double>(low), true};
}

}  // namespace magnet
