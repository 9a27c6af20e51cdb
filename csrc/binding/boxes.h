// Reading a tensor of boxes, for every device.
#pragma once

#include <torch/csrc/stable/device.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "binding/tensors.h"
#include "common/boxes.h"

namespace magnet {

using Box = std::array<double, 5>;  // image index, x0, y0, x1, y1

// (P, 5) of any floating-point type, on any device (from another one than the CPU, a copy is waited for). Throws where
// an index does not lie in the batch or a coordinate is out of reach.
inline std::vector<Box> read_boxes(const Tensor& boxes, int64_t batch_size) {
  check(boxes.dim() == 2 && boxes.size(1) == 5, "boxes: expected (P, 5): image index, x0, y0, x1, y1 in pixels");
  element_of(boxes, "boxes");
  const Tensor near = boxes.is_cpu() ? boxes : torch::stable::to(boxes, torch::stable::Device("cpu"));
  const Tensor wide = torch::stable::contiguous(torch::stable::to(near, ScalarType::Double));
  const double* values = static_cast<const double*>(wide.data_ptr());
  constexpr double kLimit = 16777216.0;  // 2^24: float32's whole numbers
  std::vector<Box> result(static_cast<size_t>(boxes.size(0)));
  for (Box& box : result) {
    for (double& value : box) value = *values++;
    check(box[0] >= 0 && box[0] < static_cast<double>(batch_size) && box[0] == std::floor(box[0]),
          "boxes: expected image indices from 0 to ", batch_size - 1, " in column 0, got ", box[0],
          "; a box is (image index, x0, y0, x1, y1)");
    for (int k = 1; k < 5; ++k) {
      check(std::fabs(box[k]) < kLimit, "boxes: expected finite coordinates below 2**24 pixels, got ", box[k],
            "; a box is (image index, x0, y0, x1, y1) in pixels");
    }
  }
  return result;
}

// The same, one for each of so many patches.
inline std::vector<Box> read_boxes(const Tensor& boxes, int64_t batch_size, int64_t patches) {
  std::vector<Box> result = read_boxes(boxes, batch_size);
  check(static_cast<int64_t>(result.size()) == patches, "boxes: expected one for each of the ", patches,
        " patches, got ", result.size());
  return result;
}

inline PixelBox rounded(const Box& box) {
  return {static_cast<int64_t>(box[0]), round_half_even(box[1]), round_half_even(box[2]), round_half_even(box[3]),
          round_half_even(box[4])};
}

}  // namespace magnet
