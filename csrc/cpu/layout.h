// The two layouts that the operators on patches work in, and results of the same layout.
#pragma once

#include "binding/layout.h"
#include "cpu/tensors.h"

namespace magnet {

// A map whose rows are without gaps: planes (sw = 1, inner = 1) or pixels (sw = C, inner = C); else a copy that is.
inline Tensor with_dense_rows(const Tensor& x) {
  return is_channels_last(x) || x.size(3) <= 1 || x.stride(3) == 1 ? x : torch::stable::contiguous(x);
}

inline Tensor new_map(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  const auto format =
      channels_last ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous;
  Tensor result =
      torch::stable::empty({n, c, h, w}, like.scalar_type(), std::nullopt, std::nullopt, std::nullopt, format);
  prefer_large_pages(result, n * c * h * w * element_size(element_of(like, "map")));
  return result;
}

}  // namespace magnet
