// Top-two margins of a block of pixels whose classes lie in planes, `stride` elements apart.
//
// Four planes at a time sweep the block, with the running state in L1: few enough streams for the hardware prefetcher,
// and planes that are a power of two apart do not evict each other from the cache.

#include "cpu/simd/exp_kernel.h"
#include "cpu/simd/stream_kernel.h"

constexpr int kBlock = 1024;  // pixels; the state of a block and four planes of it fit in L1

struct TopTwoVector {
  F32 first, second;
};

MAGNET_INLINE TopTwoVector merge(TopTwoVector a, TopTwoVector b) {
  return {max(a.first, b.first), max(min(a.first, b.first), max(a.second, b.second))};
}

template <int kPlanes>
MAGNET_INLINE TopTwoVector top_two_of(const F32* x) {
  if constexpr (kPlanes == 1) {
    return {x[0], splat(-__builtin_inff())};
  } else if constexpr (kPlanes == 2) {
    return {max(x[0], x[1]), min(x[0], x[1])};
  } else {
    return merge(top_two_of<kPlanes / 2>(x), top_two_of<kPlanes - kPlanes / 2>(x + kPlanes / 2));
  }
}

struct MarginState {
  alignas(64) float first[kBlock], second[kBlock], sum[kBlock];  // sum: of exp(x - first), where softmax is asked for
};

// Takes kPlanes planes into the state of one vector of pixels at `i`; kFirst: there is no state yet.
template <int kPlanes, bool kFirst, bool kSoftmax>
MAGNET_INLINE void take(const F32* x, MarginState& state, int i) {
  Mask nan = unordered(x[0], x[kPlanes - 1]);
  if constexpr (kPlanes > 2) nan |= unordered(x[1], x[kPlanes - 2]);
  TopTwoVector top = top_two_of<kPlanes>(x);
  F32 first{}, sum{};
  if constexpr (!kFirst) {
    first = load(state.first + i);
    top = merge({first, load(state.second + i)}, top);
  }
  // A NaN sticks as two infinities, whose difference is not a number.
  top.first = select(nan, splat(__builtin_inff()), top.first);
  top.second = select(nan, splat(__builtin_inff()), top.second);
  if constexpr (kSoftmax) {
    if constexpr (!kFirst) sum = load(state.sum + i) * exp_negative(first - top.first);
    for (int k = 0; k < kPlanes; ++k) sum += exp_negative(x[k] - top.first);
    store(state.sum + i, sum);
  }
  store(state.first + i, top.first);
  store(state.second + i, top.second);
}

// Where the planes of a block are copied to while they are in L1; `stream`: past the caches.
template <class T>
struct Copy {
  T* to;  // null: nowhere
  int64_t stride;
  bool stream;

  // Whether whole lines of every plane can be streamed out of the registers that they are looked at in: writing goes
  // on beside the arithmetic, where a copy of its own would wait for memory. Vectors of half a line would leave the
  // lines of four planes half written, which cost an AMD EPYC of Zen 3 a quarter of the time.
  MAGNET_INLINE bool from_registers() const {
    return to && stream && reinterpret_cast<uintptr_t>(to) % kVectorBytes == 0 && stride % kLanes == 0;
  }

  MAGNET_INLINE void planes(const T* from, int64_t from_stride, int64_t first, int count, int n) const {
    if (!to) return;
    for (int64_t c = first; c < first + count; ++c) {
      const char* source = reinterpret_cast<const char*>(from + c * from_stride);
      char* target = reinterpret_cast<char*>(to + c * stride);
      if (stream) {
        stream_bytes(source, target, n * sizeof(T));
      } else {
        __builtin_memcpy(target, source, n * sizeof(T));
      }
    }
  }
};

// `next`: the planes that come after these, which the prefetcher cannot guess; they are asked into L2. kStreams: they
// are copied to `to`.
template <int kPlanes, bool kFirst, bool kSoftmax, bool kStreams, class T>
MAGNET_INLINE void sweep(const T* p, int64_t stride, int n, MarginState& state, const T* next, T* to,
                         int64_t to_stride) {
  constexpr int kLine = 64 / sizeof(T);
  F32 x[kPlanes];
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kPlanes; ++k) x[k] = load(p + k * stride + i);
    if constexpr (kStreams) {
      for (int k = 0; k < kPlanes; ++k) stream_vector(x[k], to + k * to_stride + i);
    }
    if (kLanes >= kLine || i % kLine == 0) {
      for (int k = 0; k < 4; ++k) __builtin_prefetch(next + k * stride + i, 0, 2);
    }
    take<kPlanes, kFirst, kSoftmax>(x, state, i);
  }
  if (i < n) {
    for (int k = 0; k < kPlanes; ++k) x[k] = load_first(p + k * stride + i, n - i);
    if constexpr (kStreams) {
      for (int k = 0; k < kPlanes; ++k) store_first(to + k * to_stride + i, x[k], n - i);
    }
    take<kPlanes, kFirst, kSoftmax>(x, state, i);
  }
}

template <bool kSoftmax, bool kStreams, class T>
MAGNET_INLINE void sweep_all(const T* p, int64_t stride, int64_t channels, int n, MarginState& state, Copy<T> copy) {
  const int head = static_cast<int>((channels - 1) % 4 + 1);  // the rest is a multiple of four
  const T* next = head < channels ? p + head * stride : p + n;
  switch (head) {
    case 1:
      sweep<1, true, kSoftmax, kStreams>(p, stride, n, state, next, copy.to, copy.stride);
      break;
    case 2:
      sweep<2, true, kSoftmax, kStreams>(p, stride, n, state, next, copy.to, copy.stride);
      break;
    case 3:
      sweep<3, true, kSoftmax, kStreams>(p, stride, n, state, next, copy.to, copy.stride);
      break;
    default:
      sweep<4, true, kSoftmax, kStreams>(p, stride, n, state, next, copy.to, copy.stride);
  }
  if constexpr (!kStreams) copy.planes(p, stride, 0, head, n);
  for (int64_t c = head; c < channels; c += 4) {
    next = c + 4 < channels ? p + (c + 4) * stride : p + n;
    sweep<4, false, kSoftmax, kStreams>(p + c * stride, stride, n, state, next, copy.to + c * copy.stride, copy.stride);
    if constexpr (!kStreams) copy.planes(p, stride, c, 4, n);
  }
  if (copy.to && copy.stream) end_of_stream();
}

template <bool kSoftmax, class T>
MAGNET_INLINE void sweep_and_copy(const T* p, int64_t stride, int64_t channels, int n, MarginState& state,
                                  Copy<T> copy) {
#if MAGNET_AVX512
  if constexpr (sizeof(T) == 4) {
    if (copy.from_registers()) return sweep_all<kSoftmax, true>(p, stride, channels, n, state, copy);
  }
#endif
  sweep_all<kSoftmax, false>(p, stride, channels, n, state, copy);
}

// out[0..n) = top-1 minus top-2, n <= kBlock, 0 where not a number, never -0. copy_to: null, or where the planes are
// also copied to.
template <class T>
static void margin_block(const void* planes, int64_t stride, int64_t channels, int n, bool from_logits, float* out,
                         void* copy_to, int64_t copy_stride, bool stream) {
  MarginState state;
  const T* p = static_cast<const T*>(planes);
  const Copy<T> copy{static_cast<T*>(copy_to), copy_stride, stream};
  if (from_logits) {
    sweep_and_copy<true>(p, stride, channels, n, state, copy);
  } else {
    sweep_and_copy<false>(p, stride, channels, n, state, copy);
  }
  for (int i = 0; i < n; i += kLanes) {
    const F32 first = load(state.first + i), second = load(state.second + i);
    F32 margin = first - second;
    if (from_logits) {
      margin = (1.0f - exp_negative(second - first)) / load(state.sum + i);
      margin = select(unordered(first - first, first), F32{}, margin);  // an infinite logit has no softmax
    } else {
      margin = max(margin, F32{});  // of NaN and 0, and of -0 and 0, the second
    }
    if (i + kLanes <= n) {
      store(out + i, margin);
    } else {
      store_first(out + i, margin, n - i);
    }
  }
}

// scores[i] holds fine's margins on entry; (1 - coarse's) * fine's on return, 0 where not a number, never -0.
static void combine_margins(const float* coarse, float* scores, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 score = (1.0f - load(coarse + i)) * load(scores + i) + 0.0f;  // -0 + 0 is 0
    store(scores + i, select(unordered(score, score), F32{}, score));
  }
  for (; i < n; ++i) {
    const float score = (1.0f - coarse[i]) * scores[i] + 0.0f;
    scores[i] = score != score ? 0.0f : score;
  }
}
