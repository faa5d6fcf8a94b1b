#include "tiles.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

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

template <class T, class Term>
HOWFAR_INLINE void over_features(const T *x, const T *panel, int64_t d, Tile<T> &t, const Term &term) {
  for (int64_t k = 0; k < d; ++k)
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> y = load(panel + k * kPanel<T> + v * Lanes<T>::n);
      for (int r = 0; r < kRows; ++r) t[r][v] += term(absolute(splat(x[r * d + k]) - y));
    }
}

template <class T>
HOWFAR_INLINE void put(const Tile<T> &t, T *out) {
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(out + r * kPanel<T> + v * Lanes<T>::n, t[r][v]);
}

}  // namespace

template <class T>
void General<T>::tile(const T *x, const T *norms, const T *panel, T *out, T *slope) const {
  constexpr int L = Lanes<T>::n;
  Tile<T> u = {};
  switch (form) {
    case HOWFAR_FORM_PRODUCT:
      accumulate<T, false, 0>(x, panel, d, u);
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> own = load(panel + (d + 1) * kPanel<T> + v * L);
        for (int r = 0; r < kRows; ++r) u[r][v] = max(own + splat(norms[r]) - (u[r][v] + u[r][v]), Vec<T>{});
      }
      break;
    case HOWFAR_FORM_DIFFERENCE: accumulate_any<T, true>(x, panel, d, u); break;
    case HOWFAR_FORM_CITYBLOCK: over_features<T>(x, panel, d, u, [](Vec<T> a) { return a; }); break;
    default: {
      const T order = p;
      over_features<T>(x, panel, d, u, [order](Vec<T> a) { return power<T>(a, order); });
    }
  }
  if (slope) {
    Tile<T> w;
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) w[r][v] = u[r][v];
    raise<T>(w, exponent - T(1));
    for_each<T>(w, [this](Vec<T> a) { return a * splat(exponent); });
    put<T>(w, slope);
  }
  raise<T>(u, exponent);
  for (int v = 0; v < kVectors; ++v) {
    const Vec<T> bias = load(panel + d * kPanel<T> + v * L);
    for (int r = 0; r < kRows; ++r) u[r][v] = bias + splat(coefficient) * u[r][v];
  }
  put<T>(u, out);
}

template <class T>
void apply_profile(const howfar_pairs *a, int64_t b, T *tile) {
  const T s = (T)a->scale[b], e = (T)a->exponent;
  Tile<T> t;
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) t[r][v] = load(tile + r * kPanel<T> + v * Lanes<T>::n);
  switch (a->profile) {
    case HOWFAR_PROFILE_EXP:
      raise<T>(t, e);
      for_each<T>(t, [s](Vec<T> u) { return exp2_of(u * splat(T(-kLog2E) * s)); });
      break;
    case HOWFAR_PROFILE_EXP_SLOPE: {
      Tile<T> slope;
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) slope[r][v] = t[r][v];
      raise<T>(slope, e - T(1));
      raise<T>(t, e);
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) t[r][v] = slope[r][v] * exp2_of(t[r][v] * splat(T(-kLog2E) * s));
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
  put<T>(t, tile);
}

template struct General<float>;
template struct General<double>;
template void apply_profile<float>(const howfar_pairs *, int64_t, float *);
template void apply_profile<double>(const howfar_pairs *, int64_t, double *);

}  // namespace HOWFAR_SET
}  // namespace howfar
