// Resampling of rows: weighted sums of rows, then of the elements of a row. Sums are made in float (double for fp64),
// in a fixed order and without fused steps, so that every instruction set gives the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "common/bilinear.h"
#include "common/element.h"

namespace magnet {

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

constexpr int64_t kRowPadding = 32;  // elements that may be read, never used, after a row that is resampled

// Weighted inputs of each output of an axis: first[i] and what follows it, weight[offset[i]] to weight[offset[i + 1]].
template <class A>
struct AxisTaps {
  std::vector<int64_t> first, offset;
  std::vector<A> weight;

  int64_t count(int64_t i) const { return offset[i + 1] - offset[i]; }
};

// What makes a row from another one: output i of n is the sum of weight[k * stride + i] * row[index[k * stride + i]],
// of those that have weight; the first always has.
template <class A>
struct ColumnPlan {
  int64_t n = 0;
  int64_t stride = 0;  // n rounded up to whole vectors
  int taps = 0;
  bool shift = false;          // output i is input index[0] + i
  std::vector<int32_t> index;  // grows with i, and from the first tap on with k
  std::vector<A> weight;
  int64_t span8 = 0, span16 = 0;  // the most inputs that a group of 8 or 16 outputs reaches over
  // Outputs [kSteadyBegin, steady_end) have the weights, none zero, of those 8 before, and inputs `step` further, as
  // where a map is made 2, 4 or 8 times larger. What lies before reaches over the edge of the map.
  static constexpr int64_t kSteadyBegin = 16;
  int64_t steady_end = 0, step = 0;

  int64_t input_begin(int64_t output) const { return index[output]; }
  int64_t input_end(int64_t output) const {
    int64_t end = 0;
    for (int k = 0; k < taps; ++k) end = std::max<int64_t>(end, index[k * stride + output] + 1);
    return end;
  }
};

// Outputs [begin, begin + n) of `taps`, which must have inputs each, of a row that begins at input `origin`.
template <class A>
ColumnPlan<A> column_plan(const AxisTaps<A>& taps, int64_t begin, int64_t n, int64_t origin);

// Bilinear (align_corners=False): outputs [begin, begin + n) of `out_size` over `in_size` inputs.
template <class A>
ColumnPlan<A> bilinear_plan(int64_t begin, int64_t n, int64_t in_size, int64_t out_size);

// The functions for one element type on this machine.
template <class T>
struct Resampler {
  using A = Wide<T>;
  // out[i] = sum of weights[k] * rows[k][i]
  void (*combine)(const T* const* rows, const A* weights, int64_t taps, int64_t n, A* out);
  // Outputs [begin, begin + n) of the plan, of pixels of `inner` elements; row[0] is input `origin`.
  void (*columns)(const A* row, int64_t origin, const ColumnPlan<A>& plan, int64_t begin, int64_t n, int64_t inner,
                  A* out);
  void (*narrow)(const A* row, int64_t n, T* out);
  // out[i] = row[i], past the caches
  void (*stream)(const T* row, int64_t n, T* out);
  // total[i] += row[i]
  void (*add)(const A* row, int64_t n, A* total);
  // out[i] = total[i] / count of the pixel; 0 where that is 0
  void (*divide)(const A* total, const A* count, int64_t pixels, int64_t inner, T* out);
};

template <class T>
Resampler<T> resampler();

// A row of bilinear resampling: one or two rows of T and their weights.
template <class T>
struct RowPair {
  const T* rows[2];
  Wide<T> weights[2];
  int taps;

  RowPair(const T* base, int64_t stride, BilinearTap<Wide<T>> tap)
      : rows{base + tap.low * stride, base + tap.high * stride},
        weights{Wide<T>(1) - tap.weight, tap.weight},
        taps(tap.weight == 0 ? 1 : 2) {}
};

// How many of the two rows of output row `y` the row before it has already read, from the first on: they are in cache
// where a thread makes consecutive rows.
template <class A>
int rows_seen(int64_t y, int64_t in_size, int64_t out_size) {
  if (y == 0) return 0;
  const BilinearTap<A> before = bilinear_tap<A>(y - 1, in_size, out_size), tap = bilinear_tap<A>(y, in_size, out_size);
  return (tap.low <= before.high) + (tap.high <= before.high);
}

}  // namespace magnet
