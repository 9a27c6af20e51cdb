// Weighted sums of rows and of the elements of a row. See resample.h.

#include "cpu/simd/stream_kernel.h"

// out[i] = sum of weights[k] * rows[k][i], taps in order.
template <int kTaps, class T>
MAGNET_INLINE void combine_some(const T* const* rows, const float* weights, int64_t n, float* out, bool more) {
  F32 w[kTaps];
  for (int k = 0; k < kTaps; ++k) w[k] = splat(weights[k]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F32 sum = load(rows[0] + i) * w[0];
    if (more) sum += load(out + i);
    for (int k = 1; k < kTaps; ++k) sum += load(rows[k] + i) * w[k];
    store(out + i, sum);
  }
  if (i < n && i > 0 && !more) {  // the last whole vector, some of it once more
    i = n - kLanes;
    F32 sum = load(rows[0] + i) * w[0];
    for (int k = 1; k < kTaps; ++k) sum += load(rows[k] + i) * w[k];
    store(out + i, sum);
  } else if (i < n) {
    const int rest = static_cast<int>(n - i);
    F32 sum = load_first(rows[0] + i, rest) * w[0];
    if (more) sum += load_first(out + i, rest);
    for (int k = 1; k < kTaps; ++k) sum += load_first(rows[k] + i, rest) * w[k];
    store_first(out + i, sum, rest);
  }
}

template <class T>
MAGNET_INLINE void widen_row(const T* row, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(row + i));
  if (i < n) store_first(out + i, load_first(row + i, static_cast<int>(n - i)), static_cast<int>(n - i));
}

template <class T>
static void combine_rows(const T* const* rows, const Wide<T>* weights, int64_t taps, int64_t n, Wide<T>* out) {
  if constexpr (sizeof(T) == 8) {
    for (int64_t i = 0; i < n; ++i) out[i] = weights[0] == 1.0 ? rows[0][i] : weights[0] * rows[0][i];
    for (int64_t k = 1; k < taps; ++k) {
      const T* row = rows[k];
      const T weight = weights[k];
      for (int64_t i = 0; i < n; ++i) out[i] += weight * row[i];
    }
  } else if (taps == 1 && weights[0] == 1.0f) {
    widen_row(rows[0], n, out);
  } else if (taps == 2) {
    combine_some<2>(rows, weights, n, out, false);
  } else {
    combine_some<1>(rows, weights, n, out, false);
    int64_t k = 1;
    for (; k + 2 <= taps; k += 2) combine_some<2>(rows + k, weights + k, n, out, true);
    if (k < taps) combine_some<1>(rows + k, weights + k, n, out, true);
  }
}

// Lane i is base[rel[i]]. kReach: 1 where all rel are below kLanes, 2 where below 2 * kLanes, 0 where anything goes.
template <int kReach>
MAGNET_INLINE F32 lookup(const float* base, I32 rel) {
#if MAGNET_AVX512
  if constexpr (kReach == 1) return (F32)_mm512_permutexvar_ps((__m512i)rel, (__m512)load(base));
  if constexpr (kReach == 2) {
    return (F32)_mm512_permutex2var_ps((__m512)load(base), (__m512i)rel, (__m512)load(base + kLanes));
  }
  return (F32)_mm512_i32gather_ps((__m512i)rel, base, 4);
#elif MAGNET_AVX2
  if constexpr (kReach == 1) return (F32)_mm256_permutevar8x32_ps((__m256)load(base), (__m256i)rel);
  if constexpr (kReach == 2) {
    const F32 low = (F32)_mm256_permutevar8x32_ps((__m256)load(base), (__m256i)rel);
    const F32 high = (F32)_mm256_permutevar8x32_ps((__m256)load(base + kLanes), (__m256i)rel);
    return select(greater(rel, splat(kLanes - 1)), high, low);
  }
  return (F32)_mm256_i32gather_ps(base, (__m256i)rel, 4);
#else
  F32 v;
  for (int i = 0; i < kLanes; ++i) v[i] = base[rel[i]];
  return v;
#endif
}

template <int kReach>
MAGNET_INLINE F32 resampled(const float* row, const int32_t* index, const float* weight, int64_t stride, int taps,
                            int64_t i) {
  const int32_t first = index[i];
  const float* base = row + first;
  F32 sum = lookup<kReach>(base, load(index + i) - first) * load(weight + i);
  for (int k = 1; k < taps; ++k) {
    const F32 w = load(weight + k * stride + i);
    const F32 next = sum + lookup<kReach>(base, load(index + k * stride + i) - first) * w;
    sum = select(equal(bits_as<I32>(w), I32{}), sum, next);  // weights are never -0
  }
  return sum;
}

// Whole vectors of outputs from `i` on that are alike but for where their inputs lie; returns where they end.
template <int kReach>
MAGNET_INLINE int64_t resample_steady(const float* row, const ColumnPlan<float>& plan, int64_t i, int64_t end,
                                      float* out) {
  const int32_t* index = plan.index.data() + plan.kSteadyBegin;
  const float* weight = plan.weight.data() + plan.kSteadyBegin;
  const I32 low = load(index) - index[0], high = load(index + plan.stride) - index[0];
  const F32 low_weight = load(weight), high_weight = load(weight + plan.stride);
  const int64_t step = plan.step * kLanes / 8;
  const float* base = row + plan.index[i];
  for (; i + kLanes <= end; i += kLanes, base += step, out += kLanes) {
    store(out, lookup<kReach>(base, low) * low_weight + lookup<kReach>(base, high) * high_weight);
  }
  return i;
}

template <int kReach>
MAGNET_INLINE void resample_floats(const float* row, const ColumnPlan<float>& plan, int64_t begin, int64_t n,
                                   float* out) {
  const int32_t* index = plan.index.data();
  const float* weight = plan.weight.data();
  const int64_t end = begin + n, steady_end = end < plan.steady_end ? end : plan.steady_end;
  int64_t i = begin;
  const auto one = [&]() __attribute__((always_inline)) {
    return resampled<kReach>(row, index, weight, plan.stride, plan.taps, i);
  };
  const auto up_to = [&](int64_t last) __attribute__((always_inline)) {
    for (; i + kLanes <= last; i += kLanes) store(out + i - begin, one());
  };
  if (kLanes >= 8 && steady_end > plan.kSteadyBegin) {
    up_to(plan.kSteadyBegin);
    i = resample_steady<kReach>(row, plan, i, steady_end, out + i - begin);
  }
  up_to(end);
  if (i < end) store_first(out + i - begin, one(), static_cast<int>(end - i));
}

template <class A>
MAGNET_INLINE void resample_pixels(const A* row, const int32_t* index, const A* weight, int64_t stride, int taps,
                                   int64_t begin, int64_t n, int64_t inner, A* out) {
  for (int64_t i = begin; i < begin + n; ++i, out += inner) {
    const A* pixel = row + index[i] * inner;
    A w = weight[i];
    for (int64_t c = 0; c < inner; ++c) out[c] = w * pixel[c];
    for (int k = 1; k < taps; ++k) {
      pixel = row + index[k * stride + i] * inner;
      w = weight[k * stride + i];
      if (w == A(0)) continue;
      for (int64_t c = 0; c < inner; ++c) out[c] += w * pixel[c];
    }
  }
}

// `begin` is a multiple of 16.
template <class A>
static void resample_columns(const A* row, int64_t origin, const ColumnPlan<A>& plan, int64_t begin, int64_t n,
                             int64_t inner, A* out) {
  const int32_t* index = plan.index.data();
  const A* weight = plan.weight.data();
  row -= origin * inner;
  if (plan.shift) {
    __builtin_memcpy(out, row + (index[0] + begin) * inner, n * inner * sizeof(A));
    return;
  }
  if constexpr (sizeof(A) == 4) {
    if (inner == 1) {
      const int64_t span = kLanes == 16 ? plan.span16 : plan.span8;
      if (span <= kLanes) return resample_floats<1>(row, plan, begin, n, out);
      if (span <= 2 * kLanes) return resample_floats<2>(row, plan, begin, n, out);
      return resample_floats<0>(row, plan, begin, n, out);
    }
  }
  resample_pixels(row, index, weight, plan.stride, plan.taps, begin, n, inner, out);
}

template <class T>
static void narrow_row(const Wide<T>* row, int64_t n, T* out) {
  if constexpr (sizeof(T) == sizeof(Wide<T>)) {
    __builtin_memcpy(out, row, n * sizeof(T));
  } else {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(out + i, load(row + i));
    if (i < n) store_first(out + i, load_first(row + i, static_cast<int>(n - i)), static_cast<int>(n - i));
  }
}

template <class T>
static void stream_row(const T* row, int64_t n, T* out) {
  stream_bytes(reinterpret_cast<const char*>(row), reinterpret_cast<char*>(out), n * sizeof(T));
  end_of_stream();
}

template <class A>
static void add_row(const A* row, int64_t n, A* total) {
  int64_t i = 0;
  if constexpr (sizeof(A) == 4) {
    for (; i + kLanes <= n; i += kLanes) store(total + i, load(total + i) + load(row + i));
  }
  for (; i < n; ++i) total[i] += row[i];
}

// The mean of `total` over `count`, which is a number of patches; 0 where there are none.
MAGNET_INLINE F32 mean_of(F32 total, F32 count) {
  return select(equal(bits_as<I32>(count), I32{}), F32{}, total / count);
}

// One count for all n elements, or (each) one for each of them.
template <bool each, class T>
MAGNET_INLINE void divide_some(const Wide<T>* total, const Wide<T>* count, int64_t n, T* out) {
  int64_t i = 0;
  if constexpr (sizeof(T) < 8) {
    const F32 all = splat(*count);
    for (; i + kLanes <= n; i += kLanes) {
      store(out + i, mean_of(load(total + i), each ? load(count + i) : all));
    }
    if (i < n) {
      const int rest = static_cast<int>(n - i);
      store_first(out + i, mean_of(load_first(total + i, rest), each ? load_first(count + i, rest) : all), rest);
    }
  } else {
    for (; i < n; ++i) {
      const T patches = count[each ? i : 0];
      out[i] = patches > T(0) ? total[i] / patches : T(0);
    }
  }
}

template <class T>
static void divide_row(const Wide<T>* total, const Wide<T>* count, int64_t pixels, int64_t inner, T* out) {
  if (inner == 1) return divide_some<true>(total, count, pixels, out);
  for (int64_t i = 0; i < pixels; ++i) divide_some<false>(total + i * inner, count + i, inner, out + i * inner);
}
