/* The values of a tile: kRows rows and one panel of columns. */
#ifndef HOWFAR_TILES_H
#define HOWFAR_TILES_H

#include "panels.h"

namespace howfar {
namespace HOWFAR_SET {

/* t += the inner products, or the squared distances, over D features (0: as many as `features` says). */
template <class T, bool SQUARES, int D>
HOWFAR_INLINE void accumulate(const T *x, const T *panel, int64_t features, Tile<T> &t) {
  const int64_t d = D ? D : features;
  for (int64_t k = 0; k < d; ++k) {
    Vec<T> y[kVectors];
    for (int v = 0; v < kVectors; ++v) y[v] = load(panel + k * kPanel<T> + v * Lanes<T>::n);
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> xr = splat(x[r * d + k]);
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (SQUARES) {
          const Vec<T> gap = xr - y[v];
          t[r][v] += gap * gap;
        } else {
          t[r][v] += xr * y[v];
        }
      }
    }
  }
}

template <class T, bool SQUARES>
HOWFAR_INLINE void accumulate_any(const T *x, const T *panel, int64_t d, Tile<T> &t) {
  switch (d) {
    case 1: accumulate<T, SQUARES, 1>(x, panel, 1, t); break;
    case 2: accumulate<T, SQUARES, 2>(x, panel, 2, t); break;
    case 3: accumulate<T, SQUARES, 3>(x, panel, 3, t); break;
    default: accumulate<T, SQUARES, 0>(x, panel, d, t);
  }
}

/* u of a tile into memory, for the forms and exponents that are not worth a copy of every reduction:
 * out = bias + coefficient u^exponent, the bias of the columns or, where it is given, of the rows; and where asked for
 * slope = exponent u^(exponent - 1), 0 where u is 0. */
template <class T>
struct General {
  int32_t form;
  int64_t d;
  T p, exponent, coefficient;
  void tile(const T *x, const T *norms, const T *panel, T *out, T *slope, const T *of_rows = nullptr) const;
};

extern template struct General<float>;
extern template struct General<double>;

/* FOLDED: norms of columns are in their bias, a score is bias + coefficient <x, y'>, and what depends on the row alone is
 * left to the end. DIFFERENCE: bias + coefficient |x - y|^2. GENERAL: by way of memory. */
enum Kind { kFolded, kDifference, kGeneral };

inline int kind_of(const howfar_pairs *a) {
  if (a->exponent != 1.0) return kGeneral;
  if (a->form == HOWFAR_FORM_PRODUCT) return kFolded;
  return a->form == HOWFAR_FORM_DIFFERENCE ? kDifference : kGeneral;
}

template <class T, int KIND>
struct Scores {
  int64_t d;
  T coefficient;
  General<T> general;

  Scores(const howfar_pairs *a, T coefficient_)
      : d(a->d), coefficient(coefficient_), general{a->form, a->d, (T)a->p, (T)a->exponent, coefficient_} {}

  HOWFAR_INLINE void tile(const T *x, const T *norms, const T *panel, Tile<T> &t) const {
    constexpr int L = Lanes<T>::n;
    if constexpr (KIND == kGeneral) {
      alignas(64) T memory[kRows * kPanel<T>];
      general.tile(x, norms, panel, memory, nullptr);
      fetch(memory, t);
    } else {
      base(x, panel, t);
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> bias = load(panel + d * kPanel<T> + v * L);
        for (int r = 0; r < kRows; ++r) t[r][v] = bias + splat(coefficient) * t[r][v];
      }
    }
  }

  /* The same bits where x and y change places: the bias is that of the rows. */
  HOWFAR_INLINE void turned(const T *x, const T *norms, const T *panel, const T *of_rows, Tile<T> &t, T *slope) const {
    if constexpr (KIND == kGeneral) {
      alignas(64) T memory[kRows * kPanel<T>];
      general.tile(x, norms, panel, memory, slope, of_rows);
      fetch(memory, t);
    } else {
      base(x, panel, t);
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) t[r][v] = splat(of_rows[r]) + splat(coefficient) * t[r][v];
    }
  }

  static HOWFAR_INLINE void fetch(const T *memory, Tile<T> &t) {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) t[r][v] = load(memory + r * kPanel<T> + v * Lanes<T>::n);
  }

 private:
  /* Symmetric in x and y, to the bit. The bias comes last: inner products are small beside norms, and a sum that started
   * with these would round each step to them. */
  HOWFAR_INLINE void base(const T *x, const T *panel, Tile<T> &t) const {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) t[r][v] = Vec<T>{};
    accumulate_any<T, KIND == kDifference>(x, panel, d, t);
  }
};

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
