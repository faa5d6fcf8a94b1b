#include "combine.h"
#include "pulls.h"
#include "truncation.h"
#include "values.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

/* Room that a row's sum has above its reference before it is rescaled: far below overflow, far above any tile. */
template <class T>
constexpr T kHeadroom = sizeof(T) == 4 ? T(60) : T(500);

/* What is averaged beside the value. */
enum Averages { kNothing, kValues, kPulls };

/* Sums of 2^(t - m) over the columns seen so far, for a few rows; m follows the largest t at a distance. */
template <class T, int KIND>
struct Softmax {
  const Scores<T, KIND> &scores;
  const T *x, *norms;

  /* Moves the references of the rows that outgrew them, and takes their scores afresh: next to an empty reference
   * the digits of t are gone. */
  __attribute__((noinline)) void rescale(const T *panel, Tile<T> &t, Vec<T> *m, Vec<T> *s, Vec<T> *sums,
                                         ValueSums<T> &values, Pulls<T> &pulls, int64_t row) const {
    Tile<T> again;
    scores.tile(x, norms, panel, again);
    for (int r = 0; r < kRows; ++r) {
      Vec<T> highest = t[r][0], best = again[r][0];
      for (int v = 1; v < kVectors; ++v) highest = max(highest, t[r][v]), best = max(best, again[r][v]);
      if (!(max_lanes<T>(highest) > kHeadroom<T>)) continue;
      const T old = m[r][0], reference = max_lanes<T>(best);
      const T factor = old <= kEmpty<T> ? T(0) : (T)std::exp2(old - reference);
      m[r] = splat(reference);
      s[r] *= splat(factor);
      sums[r] *= splat(factor);
      values.scale(row, r, factor);
      pulls.scale(row, r, factor);
      for (int v = 0; v < kVectors; ++v) t[r][v] = again[r][v] - m[r];
    }
  }
};

template <class T, int KIND, int OF>
int softmin_as(const howfar_pairs *a) {
  const bool norm_row = KIND == kGeneral && a->form == HOWFAR_FORM_PRODUCT;
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, norm_row, OF == kValues && a->q <= kFewValues, [a](int64_t b) {
    Packing<T> how;
    how.bias = (T)(a->scale[b] * kLog2E);
    how.norm_in_bias = KIND == kFolded;
    return how;
  });
  const Points<T> points(a, columns);
  const Spans<T> spans(a, columns, can_truncate<T, KIND>(a));
  const int64_t all = a->row_end - a->row_begin, width = 2 + beside(a);
  const Parts parts(columns.panels, columns.chunk, kPanel<T>, spans.used);
  Buffer<T> partial(parts.count > 1 ? a->batch * all * parts.count * width : 0);
  Buffer<T> left_out(parts.count > 1 && KIND == kFolded ? a->batch * all : 0);
  const int failed = over_parts(a, parts, [&](int64_t b, int64_t first, int64_t rows, int64_t begin, int64_t end,
                                              int64_t part) {
    const int64_t d = a->d, padded = padded_rows(rows);
    const T k = (T)(a->scale[b] * kLog2E);
    const Scores<T, KIND> scores(a, KIND == kFolded ? 2 * k : -k);
    Buffer<T> x(padded * d), norms(padded), top(padded);
    Buffer<Vec<T>> sums(padded);
    ValueSums<T> values(OF == kValues ? a->q : 0, padded);
    Pulls<T> pulls(a, padded, points);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    const Kept<T, KIND> kept(spans, columns, scores, b, rows, x.data, norms.data);
    for (int64_t i = 0; i < padded; ++i) top.data[i] = kEmpty<T>, sums.data[i] = Vec<T>{};
    for (int64_t start = begin; start < end; start += columns.chunk) {
      const int64_t stop = least(start + columns.chunk, end);
      for (int64_t row = 0; row < padded; row += kRows) {
        const Softmax<T, KIND> softmax{scores, x.data + row * d, norms.data + row};
        Vec<T> m[kRows], s[kRows];
        for (int r = 0; r < kRows; ++r) m[r] = splat(top.data[row + r]), s[r] = Vec<T>{};
        const uint8_t *wanted = kept.of(row);
        for (int64_t panel = start; panel < stop; ++panel) {
          if (wanted && !wanted[panel / Spans<T>::kPanels]) continue;
          const T *y = columns.panel(b, panel);
          Tile<T> t;
          alignas(64) T slope[KIND == kGeneral && OF == kPulls ? kRows * kPanel<T> : 1];
          if constexpr (KIND == kGeneral && OF == kPulls) {
            alignas(64) T memory[kRows * kPanel<T>];
            scores.general.tile(softmax.x, softmax.norms, y, memory, a->slope ? slope : nullptr);
            scores.fetch(memory, t);
          } else {
            scores.tile(softmax.x, softmax.norms, y, t);
          }
          Vec<T> excess = t[0][0] - m[0];
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) t[r][v] -= m[r], excess = max(excess, t[r][v]);
          if (__builtin_expect(any_greater(excess, splat(kHeadroom<T>)), 0))
            softmax.rescale(y, t, m, s, sums.data + row, values, pulls, row);
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) {
              t[r][v] = exp2_of(t[r][v]);
              s[r] += t[r][v];
            }
          if constexpr (OF == kValues) {
            const T *v = (const T *)a->v + b * a->v_step + panel * kPanel<T> * a->q;
            values.add(row, t, columns.values(y), v, columns.columns(panel));
          }
          if constexpr (OF == kPulls) {
            if constexpr (KIND == kGeneral) {
              if (a->slope)
                for (int r = 0; r < kRows; ++r)
                  for (int v = 0; v < kVectors; ++v) t[r][v] *= load(slope + r * kPanel<T> + v * Lanes<T>::n);
            }
            pulls.template add<KIND>(row, softmax.x, t, y, points.panel(b, panel));
          }
        }
        for (int r = 0; r < kRows; ++r) top.data[row + r] = m[r][0], sums.data[row + r] += s[r];
        if constexpr (OF == kValues) values.flush(row);
        if constexpr (OF == kPulls) pulls.flush(row);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      /* The norm that folding left out moves the value of the row, whatever the part. */
      const T norm = KIND == kFolded ? norms.data[i] : T(0);
      const T total = sum_lanes<T>(sums.data[i]);
      const auto sum = [&](int64_t c) { return OF == kPulls ? pulls.total(x.data, i, c) : values.total(i, c); };
      if (parts.count == 1) {
        write<T>(a, b, first + i, (double)top.data[i], (double)total, norm, sum);
        continue;
      }
      T *own = partial.data + ((b * all + first + i - a->row_begin) * parts.count + part) * width;
      own[0] = top.data[i] > kEmpty<T> / 2 ? top.data[i] : kEmpty<T>, own[1] = total;
      for (int64_t c = 0; c + 2 < width; ++c) own[2 + c] = sum(c);
      if (KIND == kFolded && part == 0) left_out.data[b * all + first + i - a->row_begin] = norms.data[i];
    }
  }, spans.granule());
  for (int64_t i = 0; !failed && parts.count > 1 && i < a->batch * all; ++i)
    combine(a, i / all, a->row_begin + i % all, partial.data + i * parts.count * width, parts.count,
            KIND == kFolded ? left_out.data[i] : T(0));
  return failed;
}

template <class T, int KIND>
int with_averages(const howfar_pairs *a) {
  if (a->pull) return softmin_as<T, KIND, kPulls>(a);
  return a->q ? softmin_as<T, KIND, kValues>(a) : softmin_as<T, KIND, kNothing>(a);
}

template <class T>
int softmin(const howfar_pairs *a) {
  try {
    switch (kind_of(a)) {
      case kFolded: return with_averages<T, kFolded>(a);
      case kDifference: return with_averages<T, kDifference>(a);
      default: return with_averages<T, kGeneral>(a);
    }
  } catch (const std::bad_alloc &) {
    return HOWFAR_NO_MEMORY;
  }
}

}  // namespace

int softmin_f32(const howfar_pairs *a) { return softmin<float>(a); }
int softmin_f64(const howfar_pairs *a) { return softmin<double>(a); }

}  // namespace HOWFAR_SET
}  // namespace howfar
