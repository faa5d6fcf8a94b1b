#include "howfar.h"

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__) || defined(_M_IX86)
#define HOWFAR_X86 1
#endif

#if defined(HOWFAR_X86) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace {

#if defined(HOWFAR_X86) && defined(_MSC_VER)

bool bit(int word, int position) { return (word >> position) & 1; }

uint32_t x86_bits() {
  int leaf[4];
  __cpuid(leaf, 0);
  const int last_leaf = leaf[0];
  __cpuid(leaf, 1);
  const bool fma = bit(leaf[2], 12), osxsave = bit(leaf[2], 27), avx = bit(leaf[2], 28);
  if (last_leaf < 7 || !osxsave || !avx) return 0;
  /* A processor may have registers that the operating system does not save across a task switch. */
  const unsigned long long saved = _xgetbv(0);
  const bool ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xe6) == 0xe6;
  __cpuidex(leaf, 7, 0);
  uint32_t bits = 0;
  if (ymm && fma && bit(leaf[1], 5)) bits |= HOWFAR_ISA_AVX2;
  if (zmm && bit(leaf[1], 16) && bit(leaf[1], 17) && bit(leaf[1], 30) && bit(leaf[1], 31)) bits |= HOWFAR_ISA_AVX512;
  return bits;
}

#elif defined(HOWFAR_X86)

uint32_t x86_bits() {
  __builtin_cpu_init();
  uint32_t bits = 0;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) bits |= HOWFAR_ISA_AVX2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    bits |= HOWFAR_ISA_AVX512;
  return bits;
}

#endif

}  // namespace

extern "C" uint32_t howfar_isa(void) {
  uint32_t bits = HOWFAR_ISA_PORTABLE;
#if defined(HOWFAR_X86)
  bits |= x86_bits();
#elif defined(__aarch64__) || defined(_M_ARM64) || defined(__ARM_NEON)
  bits |= HOWFAR_ISA_NEON;
#endif
  return bits;
}
