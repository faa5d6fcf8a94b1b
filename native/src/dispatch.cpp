#include <atomic>

#include "pairs.h"

namespace {

#define HOWFAR_TABLE(set)                                                                                             \
  {                                                                                                                   \
    howfar::set::softmin_f32, howfar::set::softmin_f64, howfar::set::gibbs_f32, howfar::set::gibbs_f64,               \
        howfar::set::kernel_sum_f32, howfar::set::kernel_sum_f64, howfar::set::nearest_f32, howfar::set::nearest_f64, \
        howfar::set::ceiling_f32, howfar::set::ceiling_f64, howfar::set::tile_shape,                                  \
        howfar::set::matrix_softmin_f32, howfar::set::matrix_softmin_f64, howfar::set::matrix_nearest_f32,            \
        howfar::set::matrix_nearest_f64, howfar::set::matrix_gibbs_f32, howfar::set::matrix_gibbs_f64,                \
        howfar::set::alternate_f32, howfar::set::alternate_f64, howfar::set::sweep_f32, howfar::set::sweep_f64,       \
  }

#if defined(HOWFAR_HAS_KERNELS)
const howfar::Kernels portable_kernels = HOWFAR_TABLE(portable);
#endif
#if defined(HOWFAR_HAS_X86_KERNELS)
const howfar::Kernels avx2_kernels = HOWFAR_TABLE(avx2), avx512_kernels = HOWFAR_TABLE(avx512);
#endif

const howfar::Kernels *kernels_of(uint32_t bit) {
  if (!(howfar_isa() & bit)) return nullptr;
  switch (bit) {
#if defined(HOWFAR_HAS_X86_KERNELS)
    case HOWFAR_ISA_AVX512: return &avx512_kernels;
    case HOWFAR_ISA_AVX2: return &avx2_kernels;
#endif
#if defined(HOWFAR_HAS_KERNELS)
    /* Every 64-bit ARM has NEON, so there the portable kernels are compiled to it. */
    case HOWFAR_ISA_NEON:
    case HOWFAR_ISA_PORTABLE: return &portable_kernels;
#endif
    default: return nullptr;
  }
}

std::atomic<const howfar::Kernels *> chosen{nullptr};

const howfar::Kernels *in_use() {
  const howfar::Kernels *kernels = chosen.load();
  if (!kernels && howfar_use(0)) kernels = chosen.load();
  return kernels;
}

template <class Kernel, class Args>
int run(Kernel howfar::Kernels::*which, const Args *a) {
  const howfar::Kernels *kernels = in_use();
  return kernels ? (kernels->*which)(a) : HOWFAR_NO_KERNELS;
}

}  // namespace

extern "C" uint32_t howfar_use(uint32_t isa_bit) {
  const uint32_t order[] = {HOWFAR_ISA_AVX512, HOWFAR_ISA_AVX2, HOWFAR_ISA_NEON, HOWFAR_ISA_PORTABLE};
  for (const uint32_t bit : order) {
    if (isa_bit && bit != isa_bit) continue;
    if (const howfar::Kernels *found = kernels_of(bit)) {
      chosen.store(found);
      return bit;
    }
  }
  return 0;
}

extern "C" int32_t howfar_softmin_f32(const howfar_pairs *a) { return run(&howfar::Kernels::softmin_f32, a); }
extern "C" int32_t howfar_softmin_f64(const howfar_pairs *a) { return run(&howfar::Kernels::softmin_f64, a); }
extern "C" int32_t howfar_gibbs_f32(const howfar_pairs *a) { return run(&howfar::Kernels::gibbs_f32, a); }
extern "C" int32_t howfar_gibbs_f64(const howfar_pairs *a) { return run(&howfar::Kernels::gibbs_f64, a); }
extern "C" int32_t howfar_kernel_sum_f32(const howfar_pairs *a) { return run(&howfar::Kernels::kernel_sum_f32, a); }
extern "C" int32_t howfar_kernel_sum_f64(const howfar_pairs *a) { return run(&howfar::Kernels::kernel_sum_f64, a); }
extern "C" int32_t howfar_nearest_f32(const howfar_pairs *a) { return run(&howfar::Kernels::nearest_f32, a); }
extern "C" int32_t howfar_nearest_f64(const howfar_pairs *a) { return run(&howfar::Kernels::nearest_f64, a); }

extern "C" int64_t howfar_ceiling_f32(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums) {
  const howfar::Kernels *kernels = in_use();
  return kernels ? kernels->ceiling_f32(features, rounds, exponential, threads, sums) : HOWFAR_NO_KERNELS;
}
extern "C" int64_t howfar_ceiling_f64(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums) {
  const howfar::Kernels *kernels = in_use();
  return kernels ? kernels->ceiling_f64(features, rounds, exponential, threads, sums) : HOWFAR_NO_KERNELS;
}
extern "C" int32_t howfar_tile(int32_t shape[3]) {
  const howfar::Kernels *kernels = in_use();
  if (kernels) kernels->tile_shape(shape);
  return kernels ? 0 : HOWFAR_NO_KERNELS;
}

extern "C" int32_t howfar_matrix_softmin_f32(const howfar_matrix *a) {
  return run(&howfar::Kernels::matrix_softmin_f32, a);
}
extern "C" int32_t howfar_matrix_softmin_f64(const howfar_matrix *a) {
  return run(&howfar::Kernels::matrix_softmin_f64, a);
}
extern "C" int32_t howfar_matrix_nearest_f32(const howfar_matrix *a) {
  return run(&howfar::Kernels::matrix_nearest_f32, a);
}
extern "C" int32_t howfar_matrix_nearest_f64(const howfar_matrix *a) {
  return run(&howfar::Kernels::matrix_nearest_f64, a);
}
extern "C" int32_t howfar_matrix_gibbs_f32(const howfar_matrix *a) {
  return run(&howfar::Kernels::matrix_gibbs_f32, a);
}
extern "C" int32_t howfar_matrix_gibbs_f64(const howfar_matrix *a) {
  return run(&howfar::Kernels::matrix_gibbs_f64, a);
}

extern "C" int32_t howfar_alternate_f32(const howfar_alternation *a) { return run(&howfar::Kernels::alternate_f32, a); }
extern "C" int32_t howfar_alternate_f64(const howfar_alternation *a) { return run(&howfar::Kernels::alternate_f64, a); }

extern "C" int32_t howfar_sweep_f32(const howfar_sweep *a) { return run(&howfar::Kernels::sweep_f32, a); }
extern "C" int32_t howfar_sweep_f64(const howfar_sweep *a) { return run(&howfar::Kernels::sweep_f64, a); }
