/* What the pairwise kernels of every instruction set are called with. */
#ifndef HOWFAR_PAIRS_H
#define HOWFAR_PAIRS_H

#include "howfar.h"

namespace howfar {

typedef int (*pairs_kernel)(const howfar_pairs *);

struct Kernels {
  pairs_kernel softmin_f32, softmin_f64;
  pairs_kernel gibbs_f32, gibbs_f64;
  pairs_kernel kernel_sum_f32, kernel_sum_f64;
  pairs_kernel nearest_f32, nearest_f64;
};

namespace portable {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

}  // namespace howfar
#endif
