/* Kernels as functions of the base quantity u of a tile. */
#ifndef HOWFAR_PROFILES_H
#define HOWFAR_PROFILES_H

#include "tiles.h"

namespace howfar {
namespace HOWFAR_SET {

template <class T>
HOWFAR_INLINE void put(const Tile<T> &t, T *out) {
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(out + r * kPanel<T> + v * Lanes<T>::n, t[r][v]);
}

template <class T, class Each>
HOWFAR_INLINE void for_each(Tile<T> &t, const Each &each) {
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) t[r][v] = each(t[r][v]);
}

template <class T>
HOWFAR_INLINE Vec<T> where_positive(Vec<T> u, Vec<T> value) {
  typedef typename Lanes<T>::I I;
  return (Vec<T>)((I)value & (I)(u > Vec<T>{}));
}

/* u^e for u >= 0; 0 where u is 0, whatever e. Halves are exact to a rounding or two; the logarithm loses as many bits
 * as its size has, which callers keep small by scaling. */
template <class T>
HOWFAR_INLINE void raise(Tile<T> &u, T e) {
  if (e == T(1)) return;
  if (e == T(0.5)) return for_each<T>(u, [](Vec<T> a) { return sqrt(a); });
  if (e == T(1.5)) return for_each<T>(u, [](Vec<T> a) { return a * sqrt(a); });
  if (e == T(2)) return for_each<T>(u, [](Vec<T> a) { return a * a; });
  if (e == T(-0.5)) return for_each<T>(u, [](Vec<T> a) { return where_positive<T>(a, splat(T(1)) / sqrt(a)); });
  if (e == T(0)) return for_each<T>(u, [](Vec<T> a) { return where_positive<T>(a, splat(T(1))); });
  for_each<T>(u, [e](Vec<T> a) { return power<T>(a, e); });
}

/* A summand of a kernel for one problem of the batch. */
template <class T>
struct Part {
  int32_t profile;
  T e, s, rate, factor; /* exp(-s u) = 2^(rate u) */

  Part() = default;
  Part(const howfar_pairs *a, int64_t b, int32_t p)
      : profile(a->part[p].profile),
        e((T)a->part[p].exponent),
        s((T)a->scale[b * a->parts + p]),
        rate((T)(-kLog2E * a->scale[b * a->parts + p])),
        factor((T)a->factor[b * a->parts + p]) {}
};

/* profile(u), in place. */
template <class T>
HOWFAR_INLINE void apply(const Part<T> &part, Tile<T> &t) {
  const T s = part.s, e = part.e, rate = part.rate;
  switch (part.profile) {
    case HOWFAR_PROFILE_EXP:
      raise<T>(t, e);
      for_each<T>(t, [rate](Vec<T> u) { return exp2_of(u * splat(rate)); });
      break;
    case HOWFAR_PROFILE_EXP_SLOPE: {
      Tile<T> slope;
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) slope[r][v] = t[r][v];
      raise<T>(slope, e - T(1));
      raise<T>(t, e);
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) t[r][v] = slope[r][v] * exp2_of(t[r][v] * splat(rate));
      break;
    }
    case HOWFAR_PROFILE_RATIONAL:
      for_each<T>(t, [s](Vec<T> u) { return splat(T(1)) + splat(s) * u; });
      if (e == T(0.5))
        for_each<T>(t, [](Vec<T> base) { return splat(T(1)) / sqrt(base); });
      else if (e == T(1))
        for_each<T>(t, [](Vec<T> base) { return splat(T(1)) / base; });
      else if (e == T(1.5))
        for_each<T>(t, [](Vec<T> base) { return splat(T(1)) / (base * sqrt(base)); });
      else if (e == T(2))
        for_each<T>(t, [](Vec<T> base) { return splat(T(1)) / (base * base); });
      else
        for_each<T>(t, [e](Vec<T> base) { return exp2_of(log2_of<T>(base) * splat(-e)); });
      break;
    case HOWFAR_PROFILE_POWER:
      raise<T>(t, e);
      break;
    default:
      for_each<T>(t, [e](Vec<T> base) {
        Vec<T> out = base;
        for (int i = 1; i < (int)e; ++i) out *= base;
        return out;
      });
  }
}

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
