/* What the arithmetic of a reduction costs by itself: multiply-adds and exponentials in registers, no memory. */
#include "panels.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

/* As many independent vectors as hide the latency of a multiply-add and leave registers for the polynomial. */
constexpr int kChains = kBytes == 64 ? 16 : 8;
constexpr int kSums = 4;

/* Makes a value unknown to the compiler at no cost, so that nothing computed from it is folded or moved. */
template <class V>
HOWFAR_INLINE void unknown(V &v) {
#if defined(__AVX512F__)
  asm volatile("" : "+v"(v));
#elif defined(__x86_64__) || defined(__i386__)
  asm volatile("" : "+x"(v));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(v));
#else
  asm volatile("" : "+m"(v));
#endif
}

template <class T, bool EXPONENTIAL>
T rounds_of(int64_t features, int64_t rounds) {
  Vec<T> x = splat(T(0.5)), y = splat(T(-0.001)), bias = splat(T(-1)), sums[kSums] = {};
  for (int64_t round = 0; round < rounds; ++round) {
    Vec<T> t[kChains];
    unknown(bias);
    for (int c = 0; c < kChains; ++c) t[c] = bias, unknown(t[c]);
    for (int64_t k = 0; k < features; ++k) {
      unknown(y);
      for (int c = 0; c < kChains; ++c) t[c] += x * y;
    }
    for (int c = 0; c < kChains; ++c) {
      unknown(t[c]);
      if constexpr (EXPONENTIAL)
        sums[c % kSums] += exp2_of(t[c]);
      else
        sums[c % kSums] = max(sums[c % kSums], t[c]);
    }
  }
  return sum_lanes<T>(sums[0] + sums[1] + sums[2] + sums[3]);
}

template <class T>
int64_t ceiling(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums) {
  const int failed = in_parallel(threads, threads, [&](int64_t thread) {
    sums[thread] = exponential ? rounds_of<T, true>(features, rounds) : rounds_of<T, false>(features, rounds);
  });
  return failed ? failed : (int64_t)kChains * Lanes<T>::n * rounds * threads;
}

}  // namespace

int64_t ceiling_f32(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums) {
  return ceiling<float>(features, rounds, exponential, threads, sums);
}
int64_t ceiling_f64(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums) {
  return ceiling<double>(features, rounds, exponential, threads, sums);
}

/* Rows, and columns of float and of double. */
void tile_shape(int32_t *shape) { shape[0] = kRows, shape[1] = kPanel<float>, shape[2] = kPanel<double>; }

}  // namespace HOWFAR_SET
}  // namespace howfar
