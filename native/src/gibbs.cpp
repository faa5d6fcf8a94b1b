#include "pulls.h"
#include "truncation.h"
#include "values.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

/* The factors of pairs, as columns and rows of their own. */
howfar_pairs factors_of(const howfar_pairs *a) {
  howfar_pairs of = *a;
  of.x = a->left, of.y = a->right, of.x_step = a->left_step, of.y_step = a->right_step;
  of.h = nullptr, of.v = nullptr, of.d = a->r, of.q = 0;
  if (!a->r) of.m = 0;
  return of;
}

template <class T, int KIND>
int gibbs_as(const howfar_pairs *a) {
  const bool norm_row = KIND == kGeneral && a->form == HOWFAR_FORM_PRODUCT;
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, norm_row, a->q <= kFewValues, [a](int64_t b) {
    Packing<T> how;
    how.bias = (T)(a->scale[b] * kLog2E);
    how.norm_in_bias = KIND == kFolded;
    return how;
  }, true);
  const Points<T> points(a, columns);
  const Spans<T> spans(a, columns, KIND == kDifference && !a->r && !a->tilt && can_truncate<T, KIND>(a));
  const howfar_pairs pairs = factors_of(a);
  const Packed<T> factors(&pairs, false, false, false, [](int64_t) {
    Packing<T> how;
    how.outside = T(0);
    return how;
  });
  const int64_t width = a->q + (a->pull ? a->d : 0), all = a->row_end - a->row_begin;
  const Parts parts(columns.panels, columns.chunk, kPanel<T>, spans.used);
  Buffer<T> partial(parts.count > 1 ? a->batch * all * parts.count * width : 0);
  const int failed = over_parts(a, parts, [&](int64_t b, int64_t first, int64_t rows, int64_t begin, int64_t end,
                                              int64_t part) {
    const int64_t d = a->d, padded = padded_rows(rows);
    const T k = (T)(a->scale[b] * kLog2E);
    const Scores<T, KIND> scores(a, KIND == kFolded ? 2 * k : -k);
    Buffer<T> x(padded * d), norms(padded), shift(padded), left(padded * a->r);
    ValueSums<T> values(a->q, padded);
    Pulls<T> pulls(a, padded, points);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    const Kept<T, KIND> kept(spans, columns, scores, b, rows, x.data, norms.data);
    if (a->r) factors.pack_rows(&pairs, b, first, rows, left.data, shift.data);
    for (int64_t i = 0; i < padded; ++i) {
      T own = i < rows && a->f ? ((const T *)a->f)[b * a->f_step + first + i] : T(0);
      if (KIND == kFolded) own -= norms.data[i];
      shift.data[i] = own > -std::numeric_limits<T>::infinity() ? k * own : kEmpty<T>;
    }
    const Vec<T> highest = splat(sizeof(T) == 4 ? T(127) : T(1023));
    for (int64_t start = begin; start < end; start += columns.chunk) {
      const int64_t stop = least(start + columns.chunk, end);
      for (int64_t row = 0; row < padded; row += kRows) {
        const uint8_t *wanted = kept.of(row);
        for (int64_t panel = start; panel < stop; ++panel) {
          if (wanted && !wanted[panel / Spans<T>::kPanels]) continue;
          const T *y = columns.panel(b, panel);
          Tile<T> t, factor = {};
          alignas(64) T slope[KIND == kGeneral ? kRows * kPanel<T> : 1];
          scores.turned(x.data + row * d, norms.data + row, y, shift.data + row, t, a->slope ? slope : nullptr);
          if (a->r) accumulate<T, false, 0>(left.data + row * a->r, factors.panel(b, panel), a->r, factor);
          if (a->tilt)
            for (int r = 0; r < kRows; ++r)
              for (int v = 0; v < kVectors; ++v)
                factor[r][v] += (t[r][v] - splat(shift.data[row + r])) * splat(T(1 / kLog2E));
          for (int v = 0; v < kVectors; ++v) {
            const Vec<T> own = load(y + d * kPanel<T> + v * Lanes<T>::n);
            for (int r = 0; r < kRows; ++r) t[r][v] = exp2_of(min(t[r][v] + own, highest));
          }
          if (a->r || a->tilt)
            for (int r = 0; r < kRows; ++r)
              for (int v = 0; v < kVectors; ++v) t[r][v] *= factor[r][v];
          const T *v = (const T *)a->v + b * a->v_step + panel * kPanel<T> * a->q;
          if (a->pull) values.add(row, t, columns.values(y), v, columns.columns(panel));
          if constexpr (KIND == kGeneral) {
            if (a->slope)
              for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kVectors; ++v) t[r][v] *= load(slope + r * kPanel<T> + v * Lanes<T>::n);
          }
          if (!a->pull) {
            values.add(row, t, columns.values(y), v, columns.columns(panel));
            continue;
          }
          for (int v = 0; v < kVectors; ++v) {
            const Vec<T> value = load(columns.values(y) + v * Lanes<T>::n);
            for (int r = 0; r < kRows; ++r) t[r][v] *= value;
          }
          pulls.template add<KIND>(row, x.data + row * d, t, y, points.panel(b, panel));
        }
        values.flush(row);
        pulls.flush(row);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      T *out = parts.count > 1 ? partial.data + ((b * all + first + i - a->row_begin) * parts.count + part) * width
                               : (T *)a->out + (b * a->n + first + i) * width;
      for (int64_t c = 0; c < width; ++c) out[c] = c < a->q ? values.total(i, c) : pulls.total(x.data, i, c - a->q);
    }
  }, spans.granule());
  for (int64_t i = 0; !failed && parts.count > 1 && i < a->batch * all; ++i)
    for (int64_t c = 0; c < width; ++c) {
      const T *term = partial.data + i * parts.count * width + c;
      double total = 0;
      for (int64_t part = 0; part < parts.count; ++part) total += (double)term[part * width];
      ((T *)a->out)[(i / all * a->n + a->row_begin + i % all) * width + c] = (T)total;
    }
  return failed;
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
