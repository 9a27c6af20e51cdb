// Layouts of maps, and results in the layout of an argument.
#pragma once

#include "binding/tensors.h"

namespace magnet {

// Pixels of consecutive classes without gaps, and not at the same time planes without gaps.
inline bool is_channels_last(const Tensor& x) {
  if (x.is_contiguous()) return false;
  int64_t expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (x.size(d) != 1 && x.stride(d) != expected) return false;
    expected *= x.size(d);
  }
  return true;
}

// Of the type and on the device of `like`.
inline Tensor new_map(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  const auto format =
      channels_last ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous;
  return torch::stable::empty({n, c, h, w}, like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
}

// In the size of fine and the layout of coarse.
inline Tensor new_refined(const Tensor& coarse, const Tensor& fine) {
  const Map small = view(coarse, "coarse"), large = view(fine, "fine");
  if (small.h == large.h && small.w == large.w) return torch::stable::empty_like(coarse);
  if (!is_channels_last(coarse)) return torch::stable::new_empty(coarse, {small.n, small.c, large.h, large.w});
  Tensor pixels = torch::stable::new_empty(coarse, {small.n, large.h, large.w, small.c});
  return torch::stable::transpose(torch::stable::transpose(pixels, 2, 3), 1, 2);
}

}  // namespace magnet
