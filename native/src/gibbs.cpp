#include "truncation.h"
#include "values.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

template <class T, int KIND>
int gibbs_as(const howfar_pairs *a) {
  const bool norm_row = KIND == kGeneral && a->form == HOWFAR_FORM_PRODUCT;
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, norm_row, a->q <= kFewValues, [a](int64_t b) {
    Packing<T> how;
    how.bias = (T)(a->scale[b] * kLog2E);
    if (KIND == kFolded) how.feature = 2 * how.bias, how.norm_in_bias = true;
    return how;
  });
  const Spans<T> spans(a, columns, KIND == kDifference && can_truncate<T, KIND>(a));
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = padded_rows(rows);
    const T k = (T)(a->scale[b] * kLog2E);
    const Scores<T, KIND> scores(a, -k);
    Buffer<T> x(padded * d), norms(padded), shift(padded);
    ValueSums<T> values(a->q, padded);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    const Kept<T, KIND> kept(spans, columns, scores, b, rows, x.data, norms.data);
    for (int64_t i = 0; i < padded; ++i) {
      T own = i < rows && a->f ? ((const T *)a->f)[b * a->f_step + first + i] : T(0);
      if (KIND == kFolded) own -= norms.data[i];
      shift.data[i] = own > -std::numeric_limits<T>::infinity() ? k * own : kEmpty<T>;
    }
    const Vec<T> highest = splat(sizeof(T) == 4 ? T(127) : T(1023));
    for (int64_t start = 0; start < columns.panels; start += columns.chunk) {
      const int64_t stop = least(start + columns.chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows) {
        const uint8_t *wanted = kept.of(row);
        for (int64_t panel = start; panel < stop; ++panel) {
          if (wanted && !wanted[panel / Spans<T>::kPanels]) continue;
          const T *y = columns.panel(b, panel);
          Tile<T> t;
          alignas(64) T slope[KIND == kGeneral ? kRows * kPanel<T> : 1];
          if constexpr (KIND == kGeneral) {
            alignas(64) T memory[kRows * kPanel<T>];
            scores.general.tile(x.data + row * d, norms.data + row, y, memory, a->slope ? slope : nullptr);
            scores.fetch(memory, t);
          } else {
            scores.tile(x.data + row * d, norms.data + row, y, t);
          }
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) t[r][v] = exp2_of(min(t[r][v] + splat(shift.data[row + r]), highest));
          if constexpr (KIND == kGeneral) {
            if (a->slope)
              for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kVectors; ++v) t[r][v] *= load(slope + r * kPanel<T> + v * Lanes<T>::n);
          }
          const T *v = (const T *)a->v + b * a->v_step + panel * kPanel<T> * a->q;
          values.add(row, t, columns.values(y), v, columns.columns(panel));
        }
        values.flush(row);
      }
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < a->q; ++c) ((T *)a->out)[(b * a->n + first + i) * a->q + c] = values.total(i, c);
  }, spans.granule());
}

template <class T>
int gibbs(const howfar_pairs *a) {
  try {
    switch (kind_of(a)) {
      case kFolded: return gibbs_as<T, kFolded>(a);
      case kDifference: return gibbs_as<T, kDifference>(a);
      default: return gibbs_as<T, kGeneral>(a);
    }
  } catch (const std::bad_alloc &) {
    return HOWFAR_NO_MEMORY;
  }
}

}  // namespace

int gibbs_f32(const howfar_pairs *a) { return gibbs<float>(a); }
int gibbs_f64(const howfar_pairs *a) { return gibbs<double>(a); }

}  // namespace HOWFAR_SET
}  // namespace howfar
