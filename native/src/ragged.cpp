/* Problems of different sizes, one on each thread, by the kernels of equal sizes. */
#include "howfar.h"

namespace {

typedef int32_t (*reduction)(const howfar_pairs *);

template <class T>
const void *after(const void *start, int64_t elements) {
  return start ? (const T *)start + elements : nullptr;
}

template <class T>
int32_t problem(reduction run, const howfar_pairs &all, int64_t width, int64_t b, const int64_t *x_offsets,
                const int64_t *y_offsets) {
  howfar_pairs a = all;
  const int64_t i = x_offsets[b], j = y_offsets[b];
  a.batch = 1, a.threads = 1;
  a.n = x_offsets[b + 1] - i, a.m = y_offsets[b + 1] - j;
  a.row_begin = 0, a.row_end = a.n;
  a.x_step = a.y_step = a.h_step = a.f_step = a.v_step = a.left_step = a.right_step = 0;
  a.x = after<T>(all.x, i * a.d), a.f = after<T>(all.f, i), a.left = after<T>(all.left, i * a.r);
  a.y = after<T>(all.y, j * a.d), a.h = after<T>(all.h, j), a.v = after<T>(all.v, j * a.q);
  a.right = after<T>(all.right, j * a.r);
  a.out = (T *)all.out + i * width;
  a.averages = all.averages ? (T *)all.averages + i * ((a.pull ? a.d : a.q) + a.rest) : nullptr;
  a.indices = all.indices ? all.indices + i * a.k : nullptr;
  const int64_t parts = a.parts > 0 ? a.parts : 1;
  a.scale = all.scale + b * parts;
  a.factor = all.factor ? all.factor + b * parts : nullptr;
  return run(&a);
}

template <class T>
int32_t ragged(reduction run, int32_t which, const howfar_pairs *a, const int64_t *x_offsets, const int64_t *y_offsets) {
  const int64_t widths[] = {1, a->q + (a->pull ? a->d : 0), a->results * a->q, a->k}; /* by howfar_reduction */
  const int64_t width = widths[which];
  int32_t failed = 0;
  if (a->threads <= 1) { /* No parallel region: a forked child has no pool. */
    for (int64_t b = 0; b < a->batch && !failed; ++b) failed = problem<T>(run, *a, width, b, x_offsets, y_offsets);
    return failed;
  }
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
#endif
  for (int64_t b = 0; b < a->batch; ++b)
    if (const int32_t status = problem<T>(run, *a, width, b, x_offsets, y_offsets)) {
#if defined(_OPENMP)
#pragma omp atomic write
#endif
      failed = status;
    }
  return failed;
}

}  // namespace

extern "C" int32_t howfar_ragged_f32(int32_t which, const howfar_pairs *a, const int64_t *x_offsets,
                                     const int64_t *y_offsets) {
  const reduction of[] = {howfar_softmin_f32, howfar_gibbs_f32, howfar_kernel_sum_f32, howfar_nearest_f32};
  return ragged<float>(of[which], which, a, x_offsets, y_offsets);
}
extern "C" int32_t howfar_ragged_f64(int32_t which, const howfar_pairs *a, const int64_t *x_offsets,
                                     const int64_t *y_offsets) {
  const reduction of[] = {howfar_softmin_f64, howfar_gibbs_f64, howfar_kernel_sum_f64, howfar_nearest_f64};
  return ragged<double>(of[which], which, a, x_offsets, y_offsets);
}
