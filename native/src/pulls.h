/* Sums of weights times du / dx for one block of rows: lane by lane within a chunk, or for the many points of a product by
 * small matrix products.
 *
 * Each term is a difference x - y, so that a sum keeps its digits however near the points are to each other. Where u is a
 * product the terms are points, and the sum of the weights goes with them: displacements are then rounded like points,
 * as u itself is. */
#ifndef HOWFAR_PULLS_H
#define HOWFAR_PULLS_H

#include "tiles.h"
#include "values.h"

namespace howfar {
namespace HOWFAR_SET {

constexpr int64_t kFewFeatures = 64; /* whose sums by lanes stay in the first-level cache */

/* The columns of products of many features as rows, as they were centred, and a one after each. */
template <class T>
struct Points {
  bool used;
  int64_t wide, panels, problems;
  Buffer<T> rows; /* (problems, panels, kPanel, wide) */

  Points(const howfar_pairs *a, const Packed<T> &columns)
      : used(a->pull && a->form == HOWFAR_FORM_PRODUCT && a->d > kFewFeatures),
        wide(used ? (a->d + Lanes<T>::n) / Lanes<T>::n * Lanes<T>::n : 0),
        panels(columns.panels),
        problems(columns.problems),
        rows(problems * panels * kPanel<T> * wide) {
    if (!used) return;
    const int failed = in_parallel(problems * panels, a->threads, [&](int64_t task) {
      const T *from = columns.panel(task / panels, task % panels);
      T *to = rows.data + task * kPanel<T> * wide;
      for (int64_t c = 0; c < kPanel<T>; ++c)
        for (int64_t k = 0; k < wide; ++k) to[c * wide + k] = k < a->d ? from[k * kPanel<T> + c] : T(k == a->d);
    });
    if (failed) throw std::bad_alloc();
  }

  const T *panel(int64_t b, int64_t p) const {
    return used ? rows.data + ((problems == 1 ? 0 : b) * panels + p) * kPanel<T> * wide : nullptr;
  }
};

template <class T>
struct Pulls {
  int32_t form;
  T p;
  int64_t d, width;
  Buffer<Vec<T>> chunk; /* (kRows, width) */
  Buffer<T> sums;       /* (rows, width) */
  ValueSums<T> many;

  Pulls(const howfar_pairs *a, int64_t rows, const Points<T> &points)
      : form(a->form),
        p((T)a->p),
        d(a->d),
        width(!a->pull || points.used ? 0 : form == HOWFAR_FORM_PRODUCT ? d + 1 : d),
        chunk(kRows * width),
        sums(rows * width),
        many(points.wide, rows) {
    for (int64_t i = 0; i < kRows * width; ++i) chunk.data[i] = Vec<T>{};
    for (int64_t i = 0; i < rows * width; ++i) sums.data[i] = T(0);
  }

  /* Adds the weights w of a tile of the rows x, from `row` on, and the panel y; `points` are its columns as rows. */
  template <int KIND>
  HOWFAR_INLINE void add(int64_t row, const T *x, const Tile<T> &w, const T *y, const T *points) {
    if (KIND != kDifference && points) return many.add(row, w, nullptr, points, kPanel<T>);
    if constexpr (KIND == kFolded)
      add_points(w, y);
    else if (KIND == kDifference || form == HOWFAR_FORM_DIFFERENCE)
      add_differences(x, w, y);
    else
      add_any(x, w, y);
  }

  /* Ends a chunk for the kRows rows that it was summed for. */
  void flush(int64_t row) {
    for (int64_t i = 0; i < kRows * width; ++i) {
      sums.data[row * width + i] += sum_lanes<T>(chunk.data[i]);
      chunk.data[i] = Vec<T>{};
    }
  }

  /* Multiplies all that row `row` + r holds. */
  void scale(int64_t row, int r, T factor) {
    for (int64_t k = 0; k < width; ++k) {
      sums.data[(row + r) * width + k] *= factor;
      chunk.data[r * width + k] *= splat(factor);
    }
    many.scale(row, r, factor);
  }

  /* The sum of feature k of row i, which is x[i * d]. */
  T total(const T *x, int64_t i, int64_t k) const {
    const T *own = many.q ? many.dense.data + i * many.q : sums.data + i * width;
    switch (form) {
      case HOWFAR_FORM_PRODUCT: return 2 * (x[i * d + k] * own[d] - own[k]);
      case HOWFAR_FORM_DIFFERENCE: return 2 * own[k];
      case HOWFAR_FORM_CITYBLOCK: return own[k];
      default: return p * own[k];
    }
  }

 private:
  HOWFAR_INLINE void add_differences(const T *x, const Tile<T> &w, const T *y) {
    const auto gap = [](Vec<T> weight, Vec<T> own, Vec<T> other) { return weight * (own - other); };
    switch (d) {
      case 1: over_features<1>(x, w, y, gap); break;
      case 2: over_features<2>(x, w, y, gap); break;
      case 3: over_features<3>(x, w, y, gap); break;
      default: over_features<0>(x, w, y, gap);
    }
  }

  HOWFAR_INLINE void add_points(const Tile<T> &w, const T *y) {
    over_features<0>(nullptr, w, y, [](Vec<T> weight, Vec<T>, Vec<T> other) { return weight * other; });
    for (int r = 0; r < kRows; ++r) {
      Vec<T> sum = w[r][0];
      for (int v = 1; v < kVectors; ++v) sum += w[r][v];
      chunk.data[r * width + d] += sum;
    }
  }

  __attribute__((noinline)) void add_any(const T *x, const Tile<T> &w, const T *y) {
    const T order = p;
    switch (form) {
      case HOWFAR_FORM_PRODUCT: add_points(w, y); break;
      case HOWFAR_FORM_CITYBLOCK:
        over_features<0>(x, w, y, [](Vec<T> weight, Vec<T> own, Vec<T> other) { return signed_as(own - other, weight); });
        break;
      default:
        over_features<0>(x, w, y, [order](Vec<T> weight, Vec<T> own, Vec<T> other) {
          const Vec<T> gap = own - other;
          return signed_as(gap, weight * power<T>(absolute(gap), order - T(1)));
        });
    }
  }

  /* The number times the sign of `of`; 0 where that is 0. */
  static HOWFAR_INLINE Vec<T> signed_as(Vec<T> of, Vec<T> number) {
    typedef typename Lanes<T>::I I;
    const I minus = (I)(-Vec<T>{});
    return (Vec<T>)(((I)number ^ ((I)of & minus)) & (I)(of != Vec<T>{}));
  }

  template <int D, class Term>
  HOWFAR_INLINE void over_features(const T *x, const Tile<T> &w, const T *y, const Term &term) {
    const int64_t features = D ? D : d, stride = D ? D : width;
    for (int64_t k = 0; k < features; ++k) {
      Vec<T> column[kVectors];
      for (int v = 0; v < kVectors; ++v) column[v] = load(y + k * kPanel<T> + v * Lanes<T>::n);
      for (int r = 0; r < kRows; ++r) {
        const Vec<T> own = x ? splat(x[r * features + k]) : Vec<T>{};
        Vec<T> sum = chunk.data[r * stride + k];
        for (int v = 0; v < kVectors; ++v) sum += term(w[r][v], own, column[v]);
        chunk.data[r * stride + k] = sum;
      }
    }
  }
};

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
