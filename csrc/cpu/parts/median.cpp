#include "cpu/parts/median.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/median_network.h"
#include "common/order_key.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC's own _mm512_undefined_epi32
#endif
#define MAGNET_KERNEL_FILE "cpu/simd/median_blur_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {

void median_blur_rows(Element type, const MedianPlane& plane, int kernel_size, int64_t y0, int64_t y1) {
  if (kernel_size > 11) return median_blur_rows_from_13(type, plane, kernel_size, y0, y1);
  switch (type) {
    case Element::f32:
      return MAGNET_BEST(median_rows_to_11<Float32Format>)(plane, kernel_size, y0, y1);
    case Element::f16:
      return MAGNET_BEST(median_rows_to_11<Float16Format>)(plane, kernel_size, y0, y1);
    case Element::bf16:
      return MAGNET_BEST(median_rows_to_11<BFloat16Format>)(plane, kernel_size, y0, y1);
    case Element::f64:
      return MAGNET_BEST(median_rows_to_11<Float64Format>)(plane, kernel_size, y0, y1);
  }
}

}  // namespace magnet
