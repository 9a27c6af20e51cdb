// Stores past the caches, for results too large to be of use there: their lines need not be read before they are
// written.

#if MAGNET_X86
// `to` is aligned to a vector.
MAGNET_INLINE void stream_vector(const char* from, char* to) {
#if MAGNET_AVX512
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif MAGNET_AVX2
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
}

#if MAGNET_AVX512
MAGNET_INLINE void stream_vector(F32 v, float* to) { _mm512_stream_ps(to, (__m512)v); }
#endif
#endif

// end_of_stream() must follow before other threads may read.
MAGNET_INLINE void stream_bytes(const char* from, char* to, int64_t bytes) {
#if MAGNET_X86
  constexpr int kAtOnce = 4;  // vectors: fewer instructions for the loop
  int64_t i = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) % kVectorBytes);  // to the first whole vector
  if (i > bytes) i = bytes;
  if (i > 0) __builtin_memcpy(to, from, i);
  for (; i + kAtOnce * kVectorBytes <= bytes; i += kAtOnce * kVectorBytes) {
    for (int k = 0; k < kAtOnce; ++k) stream_vector(from + i + k * kVectorBytes, to + i + k * kVectorBytes);
  }
  for (; i + kVectorBytes <= bytes; i += kVectorBytes) stream_vector(from + i, to + i);
  if (i < bytes) __builtin_memcpy(to + i, from + i, bytes - i);
#else
  __builtin_memcpy(to, from, bytes);
#endif
}

MAGNET_INLINE void end_of_stream() {
#if MAGNET_X86
  _mm_sfence();
#endif
}
