#include "cpu/parts/classes.h"

#define MAGNET_KERNEL_FILE "cpu/simd/class_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {

void argmax_planes(Element type, const void* planes, int64_t stride, int64_t channels, int64_t n, uint8_t* labels) {
  visit_element(type, [&](auto zero) {
    using T = decltype(zero);
    MAGNET_BEST(argmax_block<T>)(planes, stride, channels, n, labels);
  });
}

void softmax_planes(Element type, void* planes, int64_t stride, int64_t channels, int64_t n) {
  visit_element(type, [&](auto zero) {
    using T = decltype(zero);
    MAGNET_BEST(softmax_block<T>)(planes, stride, channels, n);
  });
}

}  // namespace magnet
