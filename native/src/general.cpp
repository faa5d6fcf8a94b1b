#include "profiles.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

template <class T, class Term>
HOWFAR_INLINE void over_features(const T *x, const T *panel, int64_t d, Tile<T> &t, const Term &term) {
  for (int64_t k = 0; k < d; ++k)
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> y = load(panel + k * kPanel<T> + v * Lanes<T>::n);
      for (int r = 0; r < kRows; ++r) t[r][v] += term(absolute(splat(x[r * d + k]) - y));
    }
}

}  // namespace

template <class T>
void General<T>::tile(const T *x, const T *norms, const T *panel, T *out, T *slope, const T *of_rows) const {
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
    for (int r = 0; r < kRows; ++r) u[r][v] = (of_rows ? splat(of_rows[r]) : bias) + splat(coefficient) * u[r][v];
  }
  put<T>(u, out);
}

template struct General<float>;
template struct General<double>;

}  // namespace HOWFAR_SET
}  // namespace howfar
