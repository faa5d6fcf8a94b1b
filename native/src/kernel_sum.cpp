#include "tiles.h"
#include "values.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

/* u of a tile into memory: <x, y'> + bias, what is left of PRODUCT being |x|^2; or the sum over features. */
template <class T>
HOWFAR_INLINE void base_tile(const howfar_pairs *a, const General<T> &general, const T *x, const T *norms, const T *y,
                             T *out) {
  constexpr int L = Lanes<T>::n;
  if (a->form != HOWFAR_FORM_PRODUCT && a->form != HOWFAR_FORM_INNER) return general.tile(x, norms, y, out, nullptr);
  Tile<T> u;
  for (int v = 0; v < kVectors; ++v) {
    const Vec<T> own = load(y + a->d * kPanel<T> + v * L);
    for (int r = 0; r < kRows; ++r) u[r][v] = own;
  }
  accumulate_any<T, false>(x, y, a->d, u);
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) {
      if (a->form == HOWFAR_FORM_PRODUCT) u[r][v] = max(u[r][v] + splat(norms[r]), Vec<T>{});
      store(out + r * kPanel<T> + v * L, u[r][v]);
    }
}

template <class T>
int kernel_sum(const howfar_pairs *a) try {
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, false, a->q <= kFewValues, [a](int64_t b) {
    Packing<T> how;
    how.outside = T(0);
    if (a->form == HOWFAR_FORM_PRODUCT) how.feature = -2, how.bias = -1, how.norm_in_bias = true;
    if (a->form == HOWFAR_FORM_INNER) how.feature = (T)a->scale[b], how.offset = (T)a->p;
    return how;
  });
  /* Minkowski's root belongs to the profile. */
  const General<T> general{a->form, a->d, (T)a->p, T(1), T(1)};
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = padded_rows(rows);
    Buffer<T> x(padded * d), norms(padded);
    ValueSums<T> values(a->q, padded);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    for (int64_t start = 0; start < columns.panels; start += columns.chunk) {
      const int64_t stop = least(start + columns.chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows) {
        for (int64_t panel = start; panel < stop; ++panel) {
          const T *y = columns.panel(b, panel);
          alignas(64) T memory[kRows * kPanel<T>];
          base_tile(a, general, x.data + row * d, norms.data + row, y, memory);
          apply_profile(a, b, memory);
          Tile<T> t;
          Scores<T, kGeneral>::fetch(memory, t);
          const T *v = (const T *)a->v + b * a->v_step + panel * kPanel<T> * a->q;
          values.add(row, t, columns.values(y), v, columns.columns(panel));
        }
        values.flush(row);
      }
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < a->q; ++c) ((T *)a->out)[(b * a->n + first + i) * a->q + c] = values.total(i, c);
  });
} catch (const std::bad_alloc &) {
  return HOWFAR_NO_MEMORY;
}

/* exp(-s |x - y|^2) is a Gibbs kernel without potentials, and that one stays in registers. */
bool is_gibbs(const howfar_pairs *a) {
  return a->profile == HOWFAR_PROFILE_EXP && a->exponent == 1.0 && a->form <= HOWFAR_FORM_DIFFERENCE;
}

}  // namespace

int kernel_sum_f32(const howfar_pairs *a) { return is_gibbs(a) ? gibbs_f32(a) : kernel_sum<float>(a); }
int kernel_sum_f64(const howfar_pairs *a) { return is_gibbs(a) ? gibbs_f64(a) : kernel_sum<double>(a); }

}  // namespace HOWFAR_SET
}  // namespace howfar
