// The two layouts that the operators on patches work in, and results of the same layout.
#pragma once

#include "binding/layout.h"
#include "cpu/parts/tensors.h"

namespace magnet {

// A map whose rows are without gaps: planes (sw = 1, inner = 1) or pixels (sw = C, inner = C); else a copy that is.
inline Tensor with_dense_rows(const Tensor& x) {
  return is_channels_last(x) || x.size(3) <= 1 || x.stride(3) == 1 ? x : torch::stable::contiguous(x);
}

// new_map in large pages: it is about to be written whole.
inline Tensor new_large_map(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  Tensor result = new_map(like, n, c, h, w, channels_last);
  prefer_large_pages(result, n * c * h * w * element_size(element_of(like, "map")));
  return result;
}

}  // namespace magnet
