// The largest windows, in a file of their own: they are compiled beside the others.
#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/median_network.h"
#include "common/order_key.h"
#include "cpu/parts/median.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC's own _mm512_undefined_epi32
#endif
#define MAGNET_KERNEL_FILE "cpu/simd/median_blur_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {

void median_blur_rows_from_13(Element type, const MedianPlane& plane, int kernel_size, int64_t y0, int64_t y1) {
  switch (type) {
    case Element::f32:
      return MAGNET_BEST(median_rows_from_13<Float32Format>)(plane, kernel_size, y0, y1);
    case Element::f16:
      return MAGNET_BEST(median_rows_from_13<Float16Format>)(plane, kernel_size, y0, y1);
    case Element::bf16:
      return MAGNET_BEST(median_rows_from_13<BFloat16Format>)(plane, kernel_size, y0, y1);
    case Element::f64:
      return MAGNET_BEST(median_rows_from_13<Float64Format>)(plane, kernel_size, y0, y1);
  }
}

}  // namespace magnet
