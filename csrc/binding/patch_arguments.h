// The arguments of the operators that cut patches out of maps and lay them into maps, checked; their boxes, read.
#pragma once

#include <vector>

#include "binding/boxes.h"
#include "binding/checks.h"

namespace magnet {

// height, width: of the patches.
inline std::vector<Box> read_crop_arguments(const Tensor& x, const Tensor& boxes, int64_t height, int64_t width) {
  check_dimensions(x, "x", "N, C, H, W");
  check_size(height, width, "output_size");
  return read_boxes(boxes, x.size(0));
}

// height, width: of the maps.
inline std::vector<Box> read_stitch_arguments(const Tensor& patches, const Tensor& boxes, int64_t height, int64_t width,
                                              int64_t batch_size) {
  check_dimensions(patches, "patches", "P, C, h, w");
  check_size(height, width, "size");
  check(batch_size >= 0, "batch_size: expected an int >= 0, got ", batch_size);
  return read_boxes(boxes, batch_size, patches.size(0));
}

}  // namespace magnet
