// Stores past the caches, for results too large to be of use there: their lines need not be read before they are
// written.

// end_of_stream() must follow before other threads may read.
MAGNET_INLINE void stream_bytes(const char* from, char* to, int64_t bytes) {
#if MAGNET_X86
  int64_t i = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) % kVectorBytes);  // to the first whole vector
  if (i > bytes) i = bytes;
  __builtin_memcpy(to, from, i);
  for (; i + kVectorBytes <= bytes; i += kVectorBytes) {
#if MAGNET_AVX512
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
#elif MAGNET_AVX2
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
#else
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
#endif
  }
  __builtin_memcpy(to + i, from + i, bytes - i);
#else
  __builtin_memcpy(to, from, bytes);
#endif
}

MAGNET_INLINE void end_of_stream() {
#if MAGNET_X86
  _mm_sfence();
#endif
}
