// Between torch's stable tensors and the plain structs that kernels take: views and checks, for every device.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

#include "common/map.h"

namespace magnet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Becomes ValueError.
template <class... Words>
void check(bool condition, const Words&... words) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << words);
  throw std::invalid_argument(message.str());
}

// As Python spells it.
inline const char* name_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Char:
      return "int8";
    case ScalarType::Short:
      return "int16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Bool:
      return "bool";
    default:
      return "another type";
  }
}

inline Element element_of(const Tensor& x, const char* name) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return Element::f32;
    case ScalarType::Half:
      return Element::f16;
    case ScalarType::BFloat16:
      return Element::bf16;
    case ScalarType::Double:
      return Element::f64;
    default:
      throw std::invalid_argument(std::string(name) + ": expected float32, float16, bfloat16 or float64, got " +
                                  name_of(x.scalar_type()));
  }
}

inline Map view(const Tensor& x, const char* name) {
  check(x.dim() == 4, name, ": expected 4 dimensions (N, C, H, W), got ", x.dim());
  auto size = x.sizes();
  auto stride = x.strides();
  return {static_cast<char*>(x.data_ptr()),
          element_of(x, name),
          size[0],
          size[1],
          size[2],
          size[3],
          stride[0],
          stride[1],
          stride[2],
          stride[3]};
}

// No mask, or bool (N, 1, H, W) of any strides.
inline ValidMap view_mask(const std::optional<Tensor>& mask, int64_t n, int64_t h, int64_t w) {
  if (!mask.has_value()) return {};
  check(mask->scalar_type() == ScalarType::Bool, "mask: expected a bool tensor");
  auto size = mask->sizes();
  check(mask->dim() == 4 && size[0] == n && size[1] == 1 && size[2] == h && size[3] == w, "mask: expected shape (", n,
        ", 1, ", h, ", ", w, ")");
  auto stride = mask->strides();
  return {static_cast<const bool*>(mask->data_ptr()), stride[0], stride[2], stride[3]};
}

inline Tensor new_scores(const Tensor& like, int64_t n, int64_t h, int64_t w) {
  return torch::stable::new_empty(like, {n, 1, h, w}, ScalarType::Float);
}

}  // namespace magnet
