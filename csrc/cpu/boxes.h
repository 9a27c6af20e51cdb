// Reading a tensor of boxes.
#pragma once

#include <array>
#include <vector>

#include "common/boxes.h"
#include "cpu/tensors.h"

namespace magnet {

using Box = std::array<double, 5>;  // image index, x0, y0, x1, y1

// (P, 5) of any floating-point type. Throws where an index does not lie in the batch or a coordinate is out of reach.
std::vector<Box> read_boxes(const Tensor& boxes, int64_t batch_size);

inline PixelBox rounded(const Box& box) {
  return {static_cast<int64_t>(box[0]), round_half_even(box[1]), round_half_even(box[2]), round_half_even(box[3]),
          round_half_even(box[4])};
}

}  // namespace magnet
