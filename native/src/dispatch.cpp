#include <atomic>

#include "pairs.h"

namespace {

const howfar::Kernels *kernels_of(uint32_t bit) {
  if (!(howfar_isa() & bit)) return nullptr;
  switch (bit) {
#if defined(HOWFAR_HAS_X86_KERNELS)
    case HOWFAR_ISA_AVX512: return &howfar::avx512::kernels;
    case HOWFAR_ISA_AVX2: return &howfar::avx2::kernels;
#endif
    /* Every 64-bit ARM has NEON, so there the portable kernels are compiled to it. */
    case HOWFAR_ISA_NEON:
    case HOWFAR_ISA_PORTABLE: return &howfar::portable::kernels;
    default: return nullptr;
  }
}

std::atomic<const howfar::Kernels *> chosen{nullptr};

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

namespace {
const howfar::Kernels &current() {
  if (!chosen.load()) howfar_use(0);
  return *chosen.load();
}
}  // namespace

extern "C" int32_t howfar_softmin_f32(const howfar_pairs *a) { return current().softmin_f32(a); }
extern "C" int32_t howfar_softmin_f64(const howfar_pairs *a) { return current().softmin_f64(a); }
extern "C" int32_t howfar_gibbs_f32(const howfar_pairs *a) { return current().gibbs_f32(a); }
extern "C" int32_t howfar_gibbs_f64(const howfar_pairs *a) { return current().gibbs_f64(a); }
extern "C" int32_t howfar_kernel_sum_f32(const howfar_pairs *a) { return current().kernel_sum_f32(a); }
extern "C" int32_t howfar_kernel_sum_f64(const howfar_pairs *a) { return current().kernel_sum_f64(a); }
extern "C" int32_t howfar_nearest_f32(const howfar_pairs *a) { return current().nearest_f32(a); }
extern "C" int32_t howfar_nearest_f64(const howfar_pairs *a) { return current().nearest_f64(a); }
