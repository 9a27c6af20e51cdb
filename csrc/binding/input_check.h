// What an exported program asks of its input, on every device.
#pragma once

#include <utility>
#include <vector>

#include "binding/tensors.h"

namespace magnet {

// A contiguous copy of a float32 tensor of `shape` on a device of this kind, or an error.
inline Tensor checked_input(const Tensor& x, std::vector<int64_t> shape, std::string device) {
  const auto listed = [](const auto& sizes) {
    std::ostringstream words;
    const char* between = "(";
    for (int64_t size : sizes) words << std::exchange(between, ", ") << size;
    return words.str() + ")";
  };
  const std::string own = x.is_cuda() ? "cuda" : x.is_cpu() ? "cpu" : "another device", got = listed(x.sizes());
  const bool is_float = x.scalar_type() == ScalarType::Float;
  check(is_float && own == device && got == listed(shape), "input: expected float32 of shape ", listed(shape), " on ",
        device, ", got ", name_of(x.scalar_type()), " of shape ", got, " on ", own,
        "; bring it to these, or export the model for images of that size");
  Tensor copy = torch::stable::new_empty(x, shape);
  return torch::stable::copy_(copy, x);
}

}  // namespace magnet
