#include "cpu/parts/resample.h"

#include <cstring>

#define MAGNET_KERNEL_FILE "cpu/simd/resample_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {
namespace {

constexpr int64_t kGroup = 16;  // the widest vector

template <class A>
ColumnPlan<A> empty_plan(int64_t n, int taps) {
  ColumnPlan<A> plan;
  plan.n = n;
  plan.taps = taps;
  plan.stride = (n + kGroup - 1) / kGroup * kGroup;
  plan.index.resize(plan.stride * taps);
  plan.weight.resize(plan.stride * taps);
  return plan;
}

// Where the weights and the distances of the inputs come again every 8 outputs.
template <class A>
void find_steady(ColumnPlan<A>& plan) {
  constexpr int64_t begin = ColumnPlan<A>::kSteadyBegin;
  if (plan.taps != 2 || plan.n < begin + 2 * kGroup) return;
  plan.step = plan.index[begin + 8] - plan.index[begin];
  for (int64_t i = begin; i < plan.n; ++i) {
    for (int k = 0; k < 2; ++k) {
      const int32_t* index = plan.index.data() + k * plan.stride + i;
      const A* weight = plan.weight.data() + k * plan.stride + i;
      if (*weight == A(0)) return;
      if (i >= begin + 8 && (index[0] != index[-8] + plan.step || weight[0] != weight[-8])) return;
    }
    plan.steady_end = i + 1;
  }
}

// Fills what lies beyond n, and finds out what the kernels may assume.
template <class A>
void finish(ColumnPlan<A>& plan) {
  if (plan.n == 0) return;
  plan.shift = plan.taps == 1;
  for (int64_t i = 0; i < plan.n && plan.shift; ++i) {
    plan.shift = plan.index[i] == plan.index[0] + i && plan.weight[i] == A(1);
  }
  for (int k = 0; k < plan.taps; ++k) {
    for (int64_t i = plan.n; i < plan.stride; ++i) plan.index[k * plan.stride + i] = plan.index[plan.n - 1];
  }
  for (int64_t group = 0; group < plan.stride; group += 8) {
    int64_t last = 0;
    for (int k = 0; k < plan.taps; ++k) {
      const int32_t* index = plan.index.data() + k * plan.stride;
      last = std::max<int64_t>(last, *std::max_element(index + group, index + group + 8));
    }
    plan.span8 = std::max(plan.span8, last - plan.index[group] + 1);
    const int64_t even = group / kGroup * kGroup;
    plan.span16 = std::max(plan.span16, last - plan.index[even] + 1);
  }
  find_steady(plan);
}

}  // namespace

template <class A>
ColumnPlan<A> column_plan(const AxisTaps<A>& taps, int64_t begin, int64_t n, int64_t origin) {
  int64_t most = 1;
  for (int64_t i = begin; i < begin + n; ++i) most = std::max(most, taps.count(i));
  ColumnPlan<A> plan = empty_plan<A>(n, static_cast<int>(most));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t count = taps.count(begin + i);
    for (int64_t k = 0; k < most; ++k) {  // what an output does not need repeats its first input with no weight
      plan.index[k * plan.stride + i] = static_cast<int32_t>(taps.first[begin + i] - origin + (k < count ? k : 0));
      plan.weight[k * plan.stride + i] = k < count ? taps.weight[taps.offset[begin + i] + k] : A(0);
    }
  }
  finish(plan);
  return plan;
}

template <class A>
ColumnPlan<A> bilinear_plan(int64_t begin, int64_t n, int64_t in_size, int64_t out_size) {
  const bool same = in_size == out_size;
  ColumnPlan<A> plan = empty_plan<A>(n, same ? 1 : 2);
  for (int64_t i = 0; i < n; ++i) {
    const BilinearTap<A> tap = bilinear_tap<A>(begin + i, in_size, out_size);
    plan.index[i] = static_cast<int32_t>(tap.low);
    plan.weight[i] = A(1) - tap.weight;
    if (!same) {
      plan.index[plan.stride + i] = static_cast<int32_t>(tap.high);
      plan.weight[plan.stride + i] = tap.weight;
    }
  }
  finish(plan);
  return plan;
}

template <class T>
Resampler<T> resampler() {
  return {MAGNET_BEST(combine_rows<T>), MAGNET_BEST(resample_columns<Wide<T>>), MAGNET_BEST(narrow_row<T>),
          MAGNET_BEST(stream_row<T>),   MAGNET_BEST(add_row<Wide<T>>),          MAGNET_BEST(divide_row<T>)};
}

template ColumnPlan<float> column_plan(const AxisTaps<float>&, int64_t, int64_t, int64_t);
template ColumnPlan<double> column_plan(const AxisTaps<double>&, int64_t, int64_t, int64_t);
template ColumnPlan<float> bilinear_plan(int64_t, int64_t, int64_t, int64_t);
template ColumnPlan<double> bilinear_plan(int64_t, int64_t, int64_t, int64_t);
template Resampler<float> resampler();
template Resampler<Half> resampler();
template Resampler<BFloat16> resampler();
template Resampler<double> resampler();

}  // namespace magnet
