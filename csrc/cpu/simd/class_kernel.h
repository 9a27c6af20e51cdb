// What is done across the classes of pixels that lie in planes, `stride` elements apart: arg-max and softmax.

#include "cpu/simd/exp_kernel.h"

// The class of the highest value, ties to the lowest class; the first NaN counts as the highest.
template <class T>
MAGNET_INLINE I32 best_class(const T* planes, int64_t stride, int channels, int64_t i, int n) {
  const auto get = [&](int c) {
    const T* p = planes + c * stride + i;
    return n == kLanes ? load(p) : load_first(p, n);
  };
  F32 best = get(0);
  I32 index = splat(0);
  for (int c = 1; c < channels; ++c) {
    const F32 x = get(c);
    const I32 better = (I32)(x > best) | ((I32)(x != x) & (I32)(best == best));
    best = (F32)(((I32)x & better) | ((I32)best & ~better));
    index = (splat(c) & better) | (index & ~better);
  }
  return index;
}

template <class T>
static void argmax_block(const void* from, int64_t stride, int64_t channels, int64_t count, uint8_t* labels) {
  const T* planes = static_cast<const T*>(from);
  if constexpr (sizeof(T) == 8) {
    for (int64_t i = 0; i < count; ++i) {
      T best = planes[i];
      int64_t index = 0;
      for (int64_t c = 1; c < channels; ++c) {
        const T x = planes[c * stride + i];
        if (x > best || (x != x && best == best)) {
          best = x;
          index = c;
        }
      }
      labels[i] = static_cast<uint8_t>(index);
    }
  } else {
    const int classes = static_cast<int>(channels);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const I32 index = best_class(planes, stride, classes, i, kLanes);
      for (int k = 0; k < kLanes; ++k) labels[i + k] = static_cast<uint8_t>(index[k]);
    }
    if (i < count) {
      const int rest = static_cast<int>(count - i);
      const I32 index = best_class(planes, stride, classes, i, rest);
      for (int k = 0; k < rest; ++k) labels[i + k] = static_cast<uint8_t>(index[k]);
    }
  }
}

// NaN where a pixel has a NaN or an infinite highest value, as in torch.
template <class T>
MAGNET_INLINE void softmax_pixels(T* planes, int64_t stride, int64_t channels, int64_t i, int n) {
  const auto get = [&](int64_t c) {
    const T* p = planes + c * stride + i;
    return n == kLanes ? load(p) : load_first(p, n);
  };
  F32 top = get(0);
  Mask bad = unordered(top, top);
  for (int64_t c = 1; c < channels; ++c) {
    const F32 x = get(c);
    bad |= unordered(x, x);
    top = max(x, top);
  }
  bad |= unordered(top - top, top);
  constexpr int kKept = 32;  // classes whose exponentials are kept; those of later ones are made twice
  F32 kept[kKept];
  F32 sum{};
  for (int64_t c = 0; c < channels; ++c) {
    const F32 e = exp_negative(get(c) - top);
    if (c < kKept) kept[c] = e;
    sum += e;
  }
  for (int64_t c = 0; c < channels; ++c) {
    const F32 e = c < kKept ? kept[c] : exp_negative(get(c) - top);
    const F32 p = select(bad, splat(__builtin_nanf("")), e / sum);
    if (n == kLanes) {
      store(planes + c * stride + i, p);
    } else {
      store_first(planes + c * stride + i, p, n);
    }
  }
}

// In place.
template <class T>
static void softmax_block(void* from, int64_t stride, int64_t channels, int64_t count) {
  T* planes = static_cast<T*>(from);
  if constexpr (sizeof(T) == 8) {
    for (int64_t i = 0; i < count; ++i) {
      T top = planes[i], sum = 0;
      for (int64_t c = 1; c < channels; ++c) {
        const T x = planes[c * stride + i];
        top = x > top || x != x ? x : top;
      }
      for (int64_t c = 0; c < channels; ++c) sum += __builtin_exp(planes[c * stride + i] - top);
      for (int64_t c = 0; c < channels; ++c) {
        planes[c * stride + i] = __builtin_exp(planes[c * stride + i] - top) / sum;
      }
    }
  } else {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) softmax_pixels(planes, stride, channels, i, kLanes);
    if (i < count) softmax_pixels(planes, stride, channels, i, static_cast<int>(count - i));
  }
}
