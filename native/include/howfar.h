/* The C interface of howfar's compiled library. It knows neither Python nor torch: pointers, sizes and numbers only,
 * so one build serves every Python and every torch. src/howfar/_native.py is its one caller. */
#ifndef HOWFAR_H
#define HOWFAR_H

#include <stdint.h>

/* Raise it with every change to a signature below; _native.py refuses a library of another number. */
#define HOWFAR_ABI_VERSION 1

#if defined(_WIN32)
#define HOWFAR_API __declspec(dllexport)
#else
#define HOWFAR_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Instruction sets that a kernel may be compiled for. A bit is set when this processor and this operating system run it. */
enum howfar_isa_bit {
  HOWFAR_ISA_PORTABLE = 1 << 0,
  HOWFAR_ISA_AVX2 = 1 << 1,   /* AVX2 with FMA */
  HOWFAR_ISA_AVX512 = 1 << 2, /* AVX-512 F, DQ, BW, VL */
  HOWFAR_ISA_NEON = 1 << 3
};

HOWFAR_API int32_t howfar_abi_version(void);

HOWFAR_API uint32_t howfar_isa(void);

/* The sum of n doubles with one rounding's error (Neumaier 1974); an infinity or NaN among them comes through. */
HOWFAR_API double howfar_sum_f64(const double *values, int64_t n);

#ifdef __cplusplus
}
#endif

#endif
