/* The end of a soft minimum: sums of 2^(t - top) over parts of a row become its value and its averages. */
#ifndef HOWFAR_COMBINE_H
#define HOWFAR_COMBINE_H

#include "panels.h"

namespace howfar {
namespace HOWFAR_SET {

/* The result of row i from the sum total 2^top of its weights, and sums of values under them. */
template <class T, class Sum>
HOWFAR_INLINE void write(const howfar_pairs *a, int64_t b, int64_t i, double top, double total, double norm,
                         const Sum &sum) {
  const bool some = top > (double)kEmpty<T> / 2;
  const double value = norm - (top + std::log2(total)) / (a->scale[b] * kLog2E);
  ((T *)a->out)[b * a->n + i] = some ? (T)value : std::numeric_limits<T>::infinity();
  for (int64_t c = 0; c < a->q; ++c)
    ((T *)a->averages)[(b * a->n + i) * a->q + c] = some ? (T)(sum(c) / (T)total) : T(0);
}

/* The parts of a row, (top, total, sums of values) each, in their order. */
template <class T>
void combine(const howfar_pairs *a, int64_t b, int64_t i, T *partial, int64_t parts, double norm) {
  const int64_t width = 2 + a->q;
  double top = (double)partial[0], total = 0;
  for (int64_t part = 1; part < parts; ++part)
    if ((double)partial[part * width] > top) top = (double)partial[part * width];
  for (int64_t part = 0; part < parts; ++part) {
    T *own = partial + part * width;
    const double factor = std::exp2((double)own[0] - top);
    total += factor * (double)own[1];
    for (int64_t c = 0; c < a->q; ++c) {
      const T term = (T)(factor * (double)own[2 + c]);
      partial[2 + c] = part ? partial[2 + c] + term : term;
    }
  }
  write<T>(a, b, i, top, total, norm, [&](int64_t c) { return partial[2 + c]; });
}

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
