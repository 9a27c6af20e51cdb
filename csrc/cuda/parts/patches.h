// What the torch glue of the operators on patches shares.
#pragma once

#include "binding/boxes.h"
#include "binding/layout.h"
#include "cuda/parts/binding.h"
#include "cuda/parts/boxes.h"

namespace magnet::cuda {

// Kernels count rows and columns in 32 bits.
inline void check_sides(const char* name, int64_t height, int64_t width) {
  check(height < (int64_t{1} << 30) && width < (int64_t{1} << 30), name,
        ": expected fewer than 2**30 rows and columns");
}

inline Tensor new_workspace(const Tensor& like, int64_t bytes) {
  return torch::stable::new_empty(like, {bytes}, ScalarType::Byte);
}

inline std::vector<Rect> rounded(const std::vector<Box>& boxes) {
  std::vector<Rect> rects;
  rects.reserve(boxes.size());
  for (const Box& box : boxes) rects.push_back(rect(magnet::rounded(box)));
  return rects;
}

}  // namespace magnet::cuda
