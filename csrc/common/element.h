// The element types of maps, as plain bits: the CPU kernels convert to and from float where they load and store.
#pragma once

#include <cstdint>

namespace magnet {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

enum class Element { f32, f16, bf16, f64 };

inline int64_t element_size(Element type) { return type == Element::f32 ? 4 : type == Element::f64 ? 8 : 2; }

// Calls function(T{}) with the element type.
template <class Function>
void visit_element(Element type, Function&& function) {
  switch (type) {
    case Element::f32:
      return function(float{});
    case Element::f16:
      return function(Half{});
    case Element::bf16:
      return function(BFloat16{});
    case Element::f64:
      return function(double{});
  }
}

// Calls function(T{}) with an unsigned integer of the element's size, for kernels that only move elements.
template <class Function>
void visit_bits(Element type, Function&& function) {
  switch (element_size(type)) {
    case 2:
      return function(uint16_t{});
    case 4:
      return function(uint32_t{});
    default:
      return function(uint64_t{});
  }
}

}  // namespace magnet
