/* The end of a soft minimum: sums of 2^(t - top) over parts of a row become its value and its averages. */
#ifndef HOWFAR_COMBINE_H
#define HOWFAR_COMBINE_H

#include "panels.h"

namespace howfar {
namespace HOWFAR_SET {

/* Numbers of a row beside its value. */
HOWFAR_INLINE int64_t beside(const howfar_pairs *a) { return a->pull ? a->d : a->q; }

/* The result of row i from the sum total 2^top of its weights, and sums of values under them. */
template <class T, class Sum>
HOWFAR_INLINE void write(const howfar_pairs *a, int64_t b, int64_t i, double top, double total, T norm, const Sum &sum) {
  const bool some = top > (double)kEmpty<T> / 2;
  /* Of the temperature whose scale the scores had: that of the call would be off by a rounding of the whole value. */
  const T k = (T)(a->scale[b] * kLog2E);
  const double bits = top + std::log2(total);
  const T value = some ? (T)((double)norm - bits / (double)k) : std::numeric_limits<T>::infinity();
  const int64_t columns = beside(a), width = columns + a->rest;
  ((T *)a->out)[b * a->n + i] = value;
  T *averages = (T *)a->averages + (b * a->n + i) * width;
  for (int64_t c = 0; c < columns; ++c) averages[c] = some ? (T)(sum(c) / (T)total) : T(0);
  if (!a->rest) return;
  /* Rounded as the Gibbs sum will round it: not by way of a fused multiply-add. */
  const volatile T bias = k * (value - norm);
  averages[columns] = some ? (T)(-bits - (double)bias) : T(0);
}

/* The parts of a row, (top, total, sums of values) each, in their order. */
template <class T>
void combine(const howfar_pairs *a, int64_t b, int64_t i, T *partial, int64_t parts, T norm) {
  const int64_t width = 2 + beside(a);
  double top = (double)partial[0], total = 0;
  for (int64_t part = 1; part < parts; ++part)
    if ((double)partial[part * width] > top) top = (double)partial[part * width];
  for (int64_t part = 0; part < parts; ++part) {
    T *own = partial + part * width;
    const double factor = std::exp2((double)own[0] - top);
    total += factor * (double)own[1];
    for (int64_t c = 0; c + 2 < width; ++c) {
      const T term = (T)(factor * (double)own[2 + c]);
      partial[2 + c] = part ? partial[2 + c] + term : term;
    }
  }
  write<T>(a, b, i, top, total, norm, [&](int64_t c) { return partial[2 + c]; });
}

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
