// Which instruction set the CPU kernels use: the best one of this machine, capped by the environment variable
// MAGNET_CPU_ISA (baseline, avx2 or avx512). Needs no torch; shared by the kernel library and the host module.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define MAGNET_X86 1
#else
#define MAGNET_X86 0
#endif

namespace magnet {

enum class Isa { baseline = 0, avx2 = 1, avx512 = 2 };

inline const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

// The best instruction set of this machine that kernels are compiled for.
inline Isa detect_isa() {
#if MAGNET_X86
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("popcnt");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return Isa::avx512;
  if (avx2) return Isa::avx2;  // every CPU with AVX2 has F16C, which older compilers cannot ask for
#endif
  return Isa::baseline;
}

// `cap` as MAGNET_CPU_ISA gives it; null or empty caps nothing.
inline Isa capped_isa(const char* cap) {
  Isa best = detect_isa();
  if (cap == nullptr || *cap == '\0') return best;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::string(cap) == isa_name(isa)) return isa < best ? isa : best;
  }
  throw std::invalid_argument("MAGNET_CPU_ISA: expected baseline, avx2 or avx512, got '" + std::string(cap) +
                              "'; unset it to use the best of this machine");
}

inline Isa isa() {
  static const Isa chosen = capped_isa(std::getenv("MAGNET_CPU_ISA"));
  return chosen;
}

}  // namespace magnet
