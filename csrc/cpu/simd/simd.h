// Vectors of the widest kind of the instruction set at hand: F32, I32, U32 of kLanes elements, loads that widen every
// element type to fp32, stores that narrow back. Included by foreach_isa.h inside a namespace per instruction set, so
// no guard and no includes. Operators (+ - * & | ^ << >> comparisons) come from the compiler's vector extension.

constexpr int kVectorBytes = MAGNET_AVX512 ? 64 : MAGNET_AVX2 ? 32 : 16;
constexpr int kLanes = kVectorBytes / 4;

typedef float F32 __attribute__((vector_size(kVectorBytes)));
typedef int32_t I32 __attribute__((vector_size(kVectorBytes)));
typedef uint32_t U32 __attribute__((vector_size(kVectorBytes)));
typedef uint16_t U16 __attribute__((vector_size(kVectorBytes / 2)));
typedef double F64 __attribute__((vector_size(kVectorBytes)));  // half as many lanes

#if MAGNET_AVX512
typedef __mmask16 Mask;  // one bit a lane
#else
typedef I32 Mask;  // all ones or zero a lane
#endif

MAGNET_INLINE F32 splat(float x) { return x - F32{}; }
MAGNET_INLINE I32 splat(int32_t x) { return x - I32{}; }
MAGNET_INLINE U32 splat(uint32_t x) { return x - U32{}; }

template <class To, class From>
MAGNET_INLINE To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  __builtin_memcpy(&result, &x, sizeof(To));
  return result;
}

// x86 order of operands: where either is NaN the result is b.
MAGNET_INLINE F32 min(F32 a, F32 b) {
#if MAGNET_AVX512
  return (F32)_mm512_min_ps((__m512)a, (__m512)b);
#elif MAGNET_AVX2
  return (F32)_mm256_min_ps((__m256)a, (__m256)b);
#elif MAGNET_X86
  return (F32)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

MAGNET_INLINE F32 max(F32 a, F32 b) {
#if MAGNET_AVX512
  return (F32)_mm512_max_ps((__m512)a, (__m512)b);
#elif MAGNET_AVX2
  return (F32)_mm256_max_ps((__m256)a, (__m256)b);
#elif MAGNET_X86
  return (F32)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

MAGNET_INLINE I32 min(I32 a, I32 b) {
#if MAGNET_AVX512
  return (I32)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif MAGNET_AVX2
  return (I32)_mm256_min_epi32((__m256i)a, (__m256i)b);
#else
  return a < b ? a : b;
#endif
}

MAGNET_INLINE I32 max(I32 a, I32 b) {
#if MAGNET_AVX512
  return (I32)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif MAGNET_AVX2
  return (I32)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
  return a > b ? a : b;
#endif
}

// a * b + c, rounded once where the instruction set can.
MAGNET_INLINE F32 multiply_add(F32 a, F32 b, F32 c) {
#if MAGNET_AVX512
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif MAGNET_AVX2
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// Masks: from comparisons, combined by | & ~, used by select(mask, where true, where false).
MAGNET_INLINE Mask no_lanes() { return Mask{}; }

// True where a or b is NaN.
MAGNET_INLINE Mask unordered(F32 a, F32 b) {
#if MAGNET_AVX512
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q);
#elif MAGNET_AVX2
  return (I32)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q);
#elif MAGNET_X86
  return (I32)_mm_cmpunord_ps((__m128)a, (__m128)b);
#else
  return (a != a) | (b != b);
#endif
}

MAGNET_INLINE Mask greater(I32 a, I32 b) {
#if MAGNET_AVX512
  return _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b);
#else
  return a > b;
#endif
}

MAGNET_INLINE Mask equal(I32 a, I32 b) {
#if MAGNET_AVX512
  return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
#else
  return a == b;
#endif
}

// Bit i is lane i.
MAGNET_INLINE uint32_t mask_bits(Mask m) {
#if MAGNET_AVX512
  return m;
#elif MAGNET_AVX2
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)m));
#elif MAGNET_X86
  return static_cast<uint32_t>(_mm_movemask_ps((__m128)m));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= (m[i] & 1u) << i;
  return bits;
#endif
}

MAGNET_INLINE F32 select(Mask m, F32 a, F32 b) {
#if MAGNET_AVX512
  return (F32)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a);
#elif MAGNET_AVX2  // of a mask that is not a comparison itself the operator makes another one, with zero
  return (F32)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
#else
  return m ? a : b;
#endif
}

MAGNET_INLINE I32 select(Mask m, I32 a, I32 b) {
#if MAGNET_AVX512
  return (I32)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a);
#elif MAGNET_AVX2
  return (I32)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
#else
  return m ? a : b;
#endif
}

// --- loads: kLanes elements from any address ---

MAGNET_INLINE I32 load(const int32_t* p) {
  I32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

MAGNET_INLINE F32 load(const float* p) {
  F32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

MAGNET_INLINE U32 widen(const uint16_t* p) {
  U16 v;
  __builtin_memcpy(&v, p, sizeof v);
#if MAGNET_AVX512
  return (U32)_mm512_cvtepu16_epi32((__m256i)v);
#elif MAGNET_AVX2
  return (U32)_mm256_cvtepu16_epi32((__m128i)v);
#else
  return __builtin_convertvector(v, U32);
#endif
}

MAGNET_INLINE F32 load(const BFloat16* p) { return bits_as<F32>(widen(&p->bits) << 16); }

MAGNET_INLINE F32 load(const Half* p) {
#if MAGNET_AVX512
  return (F32)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif MAGNET_AVX2
  return (F32)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  U32 h = widen(&p->bits), magnitude = (h & 0x7fffu) << 13;
  const U32 exponent = magnitude & (0x1fu << 23);
  // Rebias; infinities and NaN take the top exponent; subnormals are made normal, then their implicit one is removed.
  U32 normal = magnitude + (112u << 23);
  normal += (U32)(exponent == (0x1fu << 23)) & (112u << 23);
  const F32 subnormal = bits_as<F32>(magnitude + (113u << 23)) - bits_as<F32>(splat(113u << 23));
  const U32 zero_exponent = (U32)(exponent == 0u);
  const U32 value = (bits_as<U32>(subnormal) & zero_exponent) | (normal & ~zero_exponent);
  return bits_as<F32>(value | ((h & 0x8000u) << 16));
#endif
}

MAGNET_INLINE F32 load(const double* p) {
#if MAGNET_AVX512
  return (F32)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(p))),
                                 _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8)), 1);
#elif MAGNET_AVX2
  return (F32)_mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), _mm256_cvtpd_ps(_mm256_loadu_pd(p)));
#else
  F32 v;
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(p[i]);
  return v;
#endif
}

// The first n (0 < n < kLanes) elements at p, zeros after them; reads nothing beyond.
template <class T>
MAGNET_INLINE F32 load_first(const T* p, int n) {
#if MAGNET_AVX512  // a buffer filled piece by piece would have to be complete before it can be read as one
  const uint32_t lanes = (1u << n) - 1;
  if constexpr (sizeof(T) == 4) {
    return (F32)_mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), p);
  } else if constexpr (sizeof(T) == 2) {
    T buffer[kLanes];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(buffer), _mm256_maskz_loadu_epi16(static_cast<__mmask16>(lanes), p));
    return load(buffer);
  }
#elif MAGNET_AVX2
  if constexpr (sizeof(T) == 4) {
    const I32 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return (F32)_mm256_maskload_ps(reinterpret_cast<const float*>(p), (__m256i)greater(splat(n), lane));
  }
#endif
  T buffer[kLanes] = {};
  __builtin_memcpy(static_cast<void*>(buffer), p, n * sizeof(T));
  return load(buffer);
}

// --- stores ---

MAGNET_INLINE void store(int32_t* p, I32 v) { __builtin_memcpy(p, &v, sizeof v); }
MAGNET_INLINE void store(float* p, F32 v) { __builtin_memcpy(p, &v, sizeof v); }

MAGNET_INLINE void store(double* p, F32 v) {
  for (int i = 0; i < kLanes; ++i) p[i] = v[i];
}

MAGNET_INLINE void narrow(uint16_t* p, U32 v) {
  U16 n = __builtin_convertvector(v, U16);
  __builtin_memcpy(p, &n, sizeof n);
}

// To the nearest, ties to even, as torch rounds.
MAGNET_INLINE void store(BFloat16* p, F32 v) {
  const U32 x = bits_as<U32>(v);
  const U32 rounded = (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
  const U32 nan = (U32)(v != v);
  narrow(&p->bits, (rounded & ~nan) | (nan & 0x7fc0u));
}

MAGNET_INLINE void store(Half* p, F32 v) {
#if MAGNET_AVX512
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif MAGNET_AVX2
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  const U32 x = bits_as<U32>(v), sign = (x >> 16) & 0x8000u, magnitude = x & 0x7fffffffu;
  const U32 normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14 adding 0.5 leaves the subnormal's bits, rounded, at the end of the mantissa.
  const U32 subnormal = bits_as<U32>(bits_as<F32>(magnitude) + 0.5f) - (126u << 23);
  const U32 small = (U32)(magnitude < (113u << 23)), large = (U32)(magnitude >= (143u << 23));
  const U32 nan = (U32)(magnitude > (255u << 23));
  U32 half = (subnormal & small) | (normal & ~small);
  half = (half & ~large) | (large & ((nan & 0x7e00u) | (~nan & 0x7c00u)));
  narrow(&p->bits, half | sign);
#endif
}

// The first n (0 < n < kLanes) lanes to p; writes nothing beyond.
template <class T>
MAGNET_INLINE void store_first(T* p, F32 v, int n) {
#if MAGNET_AVX512
  if constexpr (sizeof(T) == 4) {
    return _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
  }
#endif
  T buffer[kLanes];
  store(buffer, v);
  __builtin_memcpy(static_cast<void*>(p), buffer, n * sizeof(T));
}

MAGNET_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
