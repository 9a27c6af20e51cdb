// Top-two margins of a block of pixels whose classes lie in planes, `stride` elements apart.
//
// Four planes at a time sweep the block, with the running state in L1: few enough streams for the hardware prefetcher,
// and planes that are a power of two apart do not evict each other from the cache.

constexpr int kBlock = 512;  // pixels; the state of a block and four planes of it fit in L1

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

// e^x for x <= 0, within 2 ulp; at least e^-87, so that -inf and NaN harm nothing.
MAGNET_INLINE F32 exp_negative(F32 x) {
  x = max(x, splat(-87.0f));
  const F32 shifted = multiply_add(x, splat(1.44269504f), splat(12582912.0f));  // rounds: its last bits are n
  const F32 n = shifted - 12582912.0f;
  F32 r = multiply_add(n, splat(-0.693359375f), x);
  r = multiply_add(n, splat(2.12194440e-4f), r);
  F32 p = splat(1.9875691500e-4f);
  p = multiply_add(p, r, splat(1.3981999507e-3f));
  p = multiply_add(p, r, splat(8.3334519073e-3f));
  p = multiply_add(p, r, splat(4.1665795894e-2f));
  p = multiply_add(p, r, splat(1.6666665459e-1f));
  p = multiply_add(p, r, splat(5.0000001201e-1f));
  p = multiply_add(p, r * r, r + 1.0f);
  return bits_as<F32>(bits_as<I32>(p) + (bits_as<I32>(shifted) << 23));
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

template <int kPlanes, bool kFirst, bool kSoftmax, class T>
MAGNET_INLINE void sweep(const T* p, int64_t stride, int n, MarginState& state) {
  F32 x[kPlanes];
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kPlanes; ++k) x[k] = load(p + k * stride + i);
    take<kPlanes, kFirst, kSoftmax>(x, state, i);
  }
  if (i < n) {
    for (int k = 0; k < kPlanes; ++k) x[k] = load_first(p + k * stride + i, n - i);
    take<kPlanes, kFirst, kSoftmax>(x, state, i);
  }
}

// Copies `planes` planes of n elements each while they are still in L1.
template <class T>
MAGNET_INLINE void copy_planes(const T* from, int64_t from_stride, T* to, int64_t to_stride, int planes, int n) {
  for (int k = 0; k < planes; ++k) __builtin_memcpy(to + k * to_stride, from + k * from_stride, n * sizeof(T));
}

template <bool kSoftmax, class T>
MAGNET_INLINE void sweep_all(const T* p, int64_t stride, int64_t channels, int n, MarginState& state, T* copy,
                             int64_t copy_stride) {
  const int head = static_cast<int>((channels - 1) % 4 + 1);  // the rest is a multiple of four
  switch (head) {
    case 1:
      sweep<1, true, kSoftmax>(p, stride, n, state);
      break;
    case 2:
      sweep<2, true, kSoftmax>(p, stride, n, state);
      break;
    case 3:
      sweep<3, true, kSoftmax>(p, stride, n, state);
      break;
    default:
      sweep<4, true, kSoftmax>(p, stride, n, state);
  }
  if (copy) copy_planes(p, stride, copy, copy_stride, head, n);
  for (int64_t c = head; c < channels; c += 4) {
    sweep<4, false, kSoftmax>(p + c * stride, stride, n, state);
    if (copy) copy_planes(p + c * stride, stride, copy + c * copy_stride, copy_stride, 4, n);
  }
}

// out[0..n) = top-1 minus top-2, n <= kBlock, 0 where not a number. copy: null, or where the planes are also copied to.
template <class T>
static void margin_block(const void* planes, int64_t stride, int64_t channels, int n, bool from_logits, float* out,
                         void* copy, int64_t copy_stride) {
  MarginState state;
  const T* p = static_cast<const T*>(planes);
  if (from_logits) {
    sweep_all<true>(p, stride, channels, n, state, static_cast<T*>(copy), copy_stride);
  } else {
    sweep_all<false>(p, stride, channels, n, state, static_cast<T*>(copy), copy_stride);
  }
  for (int i = 0; i < n; i += kLanes) {
    const F32 first = load(state.first + i), second = load(state.second + i);
    F32 margin = first - second;
    if (from_logits) {
      margin = (1.0f - exp_negative(second - first)) / load(state.sum + i);
      margin = select(unordered(first - first, first), F32{}, margin);  // an infinite logit has no softmax
    } else {
      margin = select(unordered(margin, margin), F32{}, margin);
    }
    if (i + kLanes <= n) {
      store(out + i, margin);
    } else {
      store_first(out + i, margin, n - i);
    }
  }
}

// scores[i] holds fine's margins on entry; (1 - coarse's) * fine's on return, 0 where not a number.
static void combine_margins(const float* coarse, float* scores, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 score = (1.0f - load(coarse + i)) * load(scores + i);
    store(scores + i, select(unordered(score, score), F32{}, score));
  }
  for (; i < n; ++i) {
    const float score = (1.0f - coarse[i]) * scores[i];
    scores[i] = score != score ? 0.0f : score;
  }
}
