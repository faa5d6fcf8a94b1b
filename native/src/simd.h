/* One vector type for every instruction set: W lanes of float or double, with the handful of operations that the
 * kernels use. Compiled once per set, with that set's flags; GCC and Clang give the arithmetic, a few intrinsics the
 * rest. */
#ifndef HOWFAR_SIMD_H
#define HOWFAR_SIMD_H

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define HOWFAR_INLINE inline __attribute__((always_inline))

namespace howfar {
namespace HOWFAR_SET {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float V __attribute__((vector_size(kBytes)));
  typedef int32_t I __attribute__((vector_size(kBytes)));
  static constexpr int n = kBytes / 4;
};
template <>
struct Lanes<double> {
  typedef double V __attribute__((vector_size(kBytes)));
  typedef int64_t I __attribute__((vector_size(kBytes)));
  static constexpr int n = kBytes / 8;
};
typedef Lanes<float>::V Vf;
typedef Lanes<double>::V Vd;

template <class T>
HOWFAR_INLINE typename Lanes<T>::V load(const T *p) {
  typename Lanes<T>::V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
HOWFAR_INLINE void store(T *p, typename Lanes<T>::V v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
HOWFAR_INLINE typename Lanes<T>::V splat(T x) {
  return x - typename Lanes<T>::V{};
}

#if defined(__AVX512F__)
HOWFAR_INLINE Vf max(Vf a, Vf b) { return (Vf)_mm512_max_ps((__m512)a, (__m512)b); }
HOWFAR_INLINE Vd max(Vd a, Vd b) { return (Vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
HOWFAR_INLINE Vf min(Vf a, Vf b) { return (Vf)_mm512_min_ps((__m512)a, (__m512)b); }
HOWFAR_INLINE Vd min(Vd a, Vd b) { return (Vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
HOWFAR_INLINE Vf sqrt(Vf a) { return (Vf)_mm512_sqrt_ps((__m512)a); }
HOWFAR_INLINE Vd sqrt(Vd a) { return (Vd)_mm512_sqrt_pd((__m512d)a); }
HOWFAR_INLINE bool any_greater(Vf a, Vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ) != 0; }
HOWFAR_INLINE bool any_greater(Vd a, Vd b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ) != 0; }
HOWFAR_INLINE uint32_t less_bits(Vf a, Vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
HOWFAR_INLINE uint32_t less_bits(Vd a, Vd b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ); }
#elif defined(__AVX2__)
HOWFAR_INLINE Vf max(Vf a, Vf b) { return (Vf)_mm256_max_ps((__m256)a, (__m256)b); }
HOWFAR_INLINE Vd max(Vd a, Vd b) { return (Vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
HOWFAR_INLINE Vf min(Vf a, Vf b) { return (Vf)_mm256_min_ps((__m256)a, (__m256)b); }
HOWFAR_INLINE Vd min(Vd a, Vd b) { return (Vd)_mm256_min_pd((__m256d)a, (__m256d)b); }
HOWFAR_INLINE Vf sqrt(Vf a) { return (Vf)_mm256_sqrt_ps((__m256)a); }
HOWFAR_INLINE Vd sqrt(Vd a) { return (Vd)_mm256_sqrt_pd((__m256d)a); }
HOWFAR_INLINE uint32_t less_bits(Vf a, Vf b) { return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ)); }
HOWFAR_INLINE uint32_t less_bits(Vd a, Vd b) { return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_LT_OQ)); }
HOWFAR_INLINE bool any_greater(Vf a, Vf b) { return less_bits(b, a) != 0; }
HOWFAR_INLINE bool any_greater(Vd a, Vd b) { return less_bits(b, a) != 0; }
#else
template <class V>
HOWFAR_INLINE V max(V a, V b) { return a > b ? a : b; }
template <class V>
HOWFAR_INLINE V min(V a, V b) { return a < b ? a : b; }
template <class V>
HOWFAR_INLINE V sqrt(V a) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) a[i] = sizeof(a[0]) == 4 ? __builtin_sqrtf(a[i]) : __builtin_sqrt(a[i]);
  return a;
}
template <class V>
HOWFAR_INLINE bool any_greater(V a, V b) {
  auto mask = a > b;
  int64_t words[sizeof(V) / 8], any = 0;
  std::memcpy(words, &mask, sizeof words);
  for (int64_t w : words) any |= w;
  return any != 0;
}
template <class V>
HOWFAR_INLINE uint32_t less_bits(V a, V b) {
  uint32_t bits = 0;
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) bits |= (uint32_t)(a[i] < b[i]) << i;
  return bits;
}
#endif

/* 2^t for t <= 127 (1023); exactly 0 below the normal numbers. The polynomial is minimax on [-1/2, 1/2]: relative
 * error 1.0e-7 in float, 6e-16 in double. */
HOWFAR_INLINE Vf exp2_of(Vf t) {
#if defined(__AVX512F__)
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)t, (__m512)splat(-126.0f), _CMP_GT_OQ);
  const Vf n = (Vf)_mm512_roundscale_ps((__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  t = max(t, splat(-200.0f));
  const Vf magic = splat(12582912.0f);
  const Vf z = t + magic;
  const Vf n = z - magic;
#endif
  const Vf r = t - n;
  Vf p = splat(1.3390863364691516e-3f);
  p = p * r + splat(9.67603191836241e-3f);
  p = p * r + splat(5.5503571142193515e-2f);
  p = p * r + splat(2.4022107485307492e-1f);
  p = p * r + splat(6.9314718802622830e-1f);
  p = p * r + splat(1.0000000754548977f);
#if defined(__AVX512F__)
  return (Vf)_mm512_maskz_scalef_ps(normal, (__m512)p, (__m512)n);
#else
  typedef Lanes<float>::I I;
  const I bits = (I)p + (((I)z - (I)magic) << 23);
  return (Vf)(bits & (I)(t > splat(-126.0f)));
#endif
}
HOWFAR_INLINE Vd exp2_of(Vd t) {
#if defined(__AVX512F__)
  const __mmask8 normal = _mm512_cmp_pd_mask((__m512d)t, (__m512d)splat(-1022.0), _CMP_GT_OQ);
  const Vd n = (Vd)_mm512_roundscale_pd((__m512d)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  t = max(t, splat(-2000.0));
  const Vd magic = splat(6755399441055744.0);
  const Vd z = t + magic;
  const Vd n = z - magic;
#endif
  const Vd r = t - n;
  Vd p = splat(4.4558179083360645e-10);
  p = p * r + splat(7.074194297288521e-09);
  p = p * r + splat(1.0178057087733941e-07);
  p = p * r + splat(1.3215432535912375e-06);
  p = p * r + splat(1.5252733841556773e-05);
  p = p * r + splat(0.00015403530463724353);
  p = p * r + splat(0.001333355814640647);
  p = p * r + splat(0.009618129107587256);
  p = p * r + splat(0.055504108664821625);
  p = p * r + splat(0.24022650695910158);
  p = p * r + splat(0.6931471805599453);
  p = p * r + splat(1.0);
#if defined(__AVX512F__)
  return (Vd)_mm512_maskz_scalef_pd(normal, (__m512d)p, (__m512d)n);
#else
  typedef Lanes<double>::I I;
  const I bits = (I)p + (((I)z - (I)magic) << 52);
  return (Vd)(bits & (I)(t > splat(-1022.0)));
#endif
}

/* log2 of a positive normal number: mantissa in [sqrt(1/2), sqrt(2)), then the series of atanh. */
template <class T>
HOWFAR_INLINE typename Lanes<T>::V log2_of(typename Lanes<T>::V x) {
  typedef typename Lanes<T>::V V;
  typedef typename Lanes<T>::I I;
  constexpr bool single = sizeof(T) == 4;
  constexpr int shift = single ? 23 : 52;
  const T root = T(0.70710678118654752);
  I root_bits, one_bits;
  const V root_v = splat<T>(root), one_v = splat<T>(T(1));
  std::memcpy(&root_bits, &root_v, sizeof root_bits);
  std::memcpy(&one_bits, &one_v, sizeof one_bits);
  I bits;
  std::memcpy(&bits, &x, sizeof bits);
  const I exponent = (bits - root_bits) >> shift;
  const I mantissa_bits = bits - (exponent << shift);
  V mantissa, e;
  std::memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
  e = __builtin_convertvector(exponent, V);
  const V f = (mantissa - one_v) / (mantissa + one_v), g = f * f;
  V p;
  if constexpr (single) {
    p = splat<T>(T(1.0 / 9));
    p = p * g + splat<T>(T(1.0 / 7));
  } else {
    p = splat<T>(T(1.0 / 21));
    for (int k = 19; k >= 7; k -= 2) p = p * g + splat<T>(T(1.0 / k));
  }
  p = p * g + splat<T>(T(1.0 / 5));
  p = p * g + splat<T>(T(1.0 / 3));
  p = p * g + one_v;
  return e + f * p * splat<T>(T(2.8853900817779268));
}

/* x^a for x >= 0; 0 at 0 for a > 0. */
template <class T>
HOWFAR_INLINE typename Lanes<T>::V power(typename Lanes<T>::V x, T a) {
  typedef typename Lanes<T>::V V;
  const T least = sizeof(T) == 4 ? T(1.1754944e-38) : T(2.2250738585072014e-308);
  const V y = exp2_of(log2_of<T>(max(x, splat<T>(least))) * splat<T>(a));
  typedef typename Lanes<T>::I I;
  return (V)((I)y & (I)(x >= splat<T>(least)));
}

template <class V>
HOWFAR_INLINE V absolute(V a) { return max(a, -a); }

template <class T>
HOWFAR_INLINE T sum_lanes(typename Lanes<T>::V v) {
  T total = 0;
  for (int i = 0; i < Lanes<T>::n; ++i) total += v[i];
  return total;
}
template <class T>
HOWFAR_INLINE T max_lanes(typename Lanes<T>::V v) {
  T top = v[0];
  for (int i = 1; i < Lanes<T>::n; ++i) top = v[i] > top ? v[i] : top;
  return top;
}

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
