/* What the pairwise kernels of every instruction set are called with. */
#ifndef HOWFAR_PAIRS_H
#define HOWFAR_PAIRS_H

#include "howfar.h"

namespace howfar {

typedef int (*pairs_kernel)(const howfar_pairs *);
typedef int64_t (*ceiling_loop)(int64_t, int64_t, int32_t, int32_t, double *);
typedef int (*matrix_kernel)(const howfar_matrix *);
typedef int (*alternation_kernel)(const howfar_alternation *);
typedef int (*sweep_kernel)(const howfar_sweep *);

struct Kernels {
  pairs_kernel softmin_f32, softmin_f64;
  pairs_kernel gibbs_f32, gibbs_f64;
  pairs_kernel kernel_sum_f32, kernel_sum_f64;
  pairs_kernel nearest_f32, nearest_f64;
  ceiling_loop ceiling_f32, ceiling_f64;
  void (*tile_shape)(int32_t *);
  matrix_kernel matrix_softmin_f32, matrix_softmin_f64;
  matrix_kernel matrix_nearest_f32, matrix_nearest_f64;
  matrix_kernel matrix_gibbs_f32, matrix_gibbs_f64;
  alternation_kernel alternate_f32, alternate_f64;
  sweep_kernel sweep_f32, sweep_f64;
};

/* What each instruction set defines, in the namespace of its name. */
#define HOWFAR_DECLARE_KERNELS \
  int softmin_f32(const howfar_pairs *a); \
  int softmin_f64(const howfar_pairs *a); \
  int gibbs_f32(const howfar_pairs *a); \
  int gibbs_f64(const howfar_pairs *a); \
  int kernel_sum_f32(const howfar_pairs *a); \
  int kernel_sum_f64(const howfar_pairs *a); \
  int nearest_f32(const howfar_pairs *a); \
  int nearest_f64(const howfar_pairs *a); \
  int64_t ceiling_f32(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums); \
  int64_t ceiling_f64(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums); \
  void tile_shape(int32_t *shape); \
  int matrix_softmin_f32(const howfar_matrix *a); \
  int matrix_softmin_f64(const howfar_matrix *a); \
  int matrix_nearest_f32(const howfar_matrix *a); \
  int matrix_nearest_f64(const howfar_matrix *a); \
  int matrix_gibbs_f32(const howfar_matrix *a); \
  int matrix_gibbs_f64(const howfar_matrix *a); \
  int alternate_f32(const howfar_alternation *a); \
  int alternate_f64(const howfar_alternation *a); \
  int sweep_f32(const howfar_sweep *a); \
  int sweep_f64(const howfar_sweep *a);

namespace portable {
HOWFAR_DECLARE_KERNELS
}
namespace avx2 {
HOWFAR_DECLARE_KERNELS
}
namespace avx512 {
HOWFAR_DECLARE_KERNELS
}

}  // namespace howfar
#endif
