/* Which columns a group of rows need not look at: those whose terms together are lost in the rounding of its sums.
 *
 * Columns are boxed in spans. For a group of rows, a span's terms sum to at most 2^bound, from its largest bias and the
 * distance of the two boxes; the spans of highest bound say what each row holds at least. The spans of lowest bound are
 * left out as long as their bounds together stay below kLost of that. What is left is summed as if nothing had been left
 * out, in the same order, and the groups depend on neither threads nor calls. */
#ifndef HOWFAR_TRUNCATION_H
#define HOWFAR_TRUNCATION_H

#include "tiles.h"
#include "values.h"

namespace howfar {
namespace HOWFAR_SET {

constexpr int kLogSpan = 6;
constexpr int64_t kSpan = 1 << kLogSpan; /* columns in a box */
constexpr int64_t kGroup = 16;         /* rows that leave out the same; a divisor of kBlock, a multiple of kRows */
constexpr int64_t kMostBoxed = 4;      /* features; beyond, boxes of points that are not on a line are all near */
constexpr int64_t kFewBoxed = 2048;    /* rows or columns below which there is nothing to gain */
constexpr int64_t kManyBoxed = 131072; /* columns above which a group is a block: boxes are small, and looks cost more */
constexpr int kWitnesses = 3;          /* spans that say what a row holds */

/* log2 of an eighth of the unit roundoff. */
template <class T>
constexpr int kLost = sizeof(T) == 4 ? -27 : -56;

template <class T, int KIND>
bool can_truncate(const howfar_pairs *a) {
  if (a->d > kMostBoxed || a->q > kFewValues || a->n < kFewBoxed || a->m < kFewBoxed || a->form != HOWFAR_FORM_DIFFERENCE) return false;
  return KIND == kDifference || (KIND == kGeneral && a->exponent == 0.5);
}

/* The boxes of the packed columns, and log2 of their number at the largest bias. */
template <class T>
struct Spans {
  static constexpr int64_t kPanels = kSpan / kPanel<T>; /* in a span */
  bool used, pulled;
  int64_t d, q, count, lanes, group, problems;
  Buffer<T> boxes, tops, units; /* (problems, 2, d, lanes), (problems, lanes), (problems, q): largest values */
  Buffer<T> extents;            /* (problems, 2, d): the box of all */

  Spans(const howfar_pairs *a, const Packed<T> &columns, bool used_)
      : used(used_),
        pulled(a->pull),
        d(a->d),
        q(a->q),
        count((a->m + kSpan - 1) / kSpan),
        lanes((count + Lanes<T>::n - 1) / Lanes<T>::n * Lanes<T>::n),
        group(a->m > kManyBoxed ? kBlock : kGroup),
        problems(columns.problems),
        boxes(used ? problems * 2 * d * lanes : 1),
        tops(used ? problems * lanes : 1),
        units(used ? problems * a->q : 1),
        extents(used ? problems * 2 * d : 1) {
    if (used && in_parallel(problems, a->threads, [&](int64_t b) { enclose(a, columns, b); })) throw std::bad_alloc();
  }

  int64_t granule() const { return used ? group : kRows; }
  const T *low(int64_t b, int64_t k) const { return boxes.data + ((problems == 1 ? 0 : b) * 2 * d + k) * lanes; }
  const T *high(int64_t b, int64_t k) const { return low(b, k) + d * lanes; }
  const T *unit(int64_t b) const { return units.data + (problems == 1 ? 0 : b) * q; }
  const T *extent(int64_t b) const { return extents.data + (problems == 1 ? 0 : b) * 2 * d; }
  const T *top(int64_t b) const { return tops.data + (problems == 1 ? 0 : b) * lanes; }

  /* For every span, log2 of a bound on the sum of its terms in any of the rows, rounded up. */
  template <int KIND>
  void bound(const Scores<T, KIND> &scores, int64_t b, int64_t rows, const T *x, T *bounds, T &highest,
             T &lowest) const {
    constexpr T slack = 16 * std::numeric_limits<T>::epsilon();
    T least_x[kMostBoxed], most_x[kMostBoxed];
    for (int64_t k = 0; k < d; ++k) {
      least_x[k] = most_x[k] = x[k];
      for (int64_t i = 1; i < rows; ++i) {
        const T at = x[i * d + k];
        least_x[k] = at < least_x[k] ? at : least_x[k];
        most_x[k] = at > most_x[k] ? at : most_x[k];
      }
    }
    Vec<T> top_bound = splat(kEmpty<T>), least_bound = splat(-kEmpty<T>);
    for (int64_t s = 0; s < lanes; s += Lanes<T>::n) {
      Vec<T> u = {};
      for (int64_t k = 0; k < d; ++k) {
        const Vec<T> above = load(low(b, k) + s) - splat(most_x[k]), below = splat(least_x[k]) - load(high(b, k) + s);
        const Vec<T> gap = max(max(above, below), Vec<T>{});
        u += gap * gap;
      }
      if constexpr (KIND == kGeneral) u = sqrt(u);
      const Vec<T> peak = load(top(b) + s), cost = splat(scores.coefficient * (1 - slack)) * u;
      const Vec<T> value = peak + absolute(peak) * splat(slack) + cost;
      store(bounds + s, value);
      top_bound = max(top_bound, value);
      least_bound = min(least_bound, value);
    }
    highest = max_lanes<T>(top_bound);
    lowest = -max_lanes<T>(-least_bound);
  }

 private:
  void enclose(const howfar_pairs *a, const Packed<T> &columns, int64_t b) {
    T *tops_of = tops.data + b * lanes, *boxes_of = boxes.data + b * 2 * d * lanes;
    const Vec<T> beyond = splat(-kEmpty<T>);
    for (int64_t s = 0; s < count; ++s) {
      Vec<T> low[kMostBoxed], high[kMostBoxed], top = -beyond;
      for (int64_t k = 0; k < d; ++k) low[k] = beyond, high[k] = -beyond;
      for (int64_t panel = s * kPanels; panel < least((s + 1) * kPanels, columns.panels); ++panel)
        for (int v = 0; v < kVectors; ++v) {
          const T *y = columns.panel(b, panel) + v * Lanes<T>::n;
          const Vec<T> bias = load(y + d * kPanel<T>);
          const auto massive = bias > -beyond / 2;
          top = max(top, bias);
          for (int64_t k = 0; k < d; ++k) {
            const Vec<T> at = load(y + k * kPanel<T>);
            low[k] = min(low[k], massive ? at : beyond);
            high[k] = max(high[k], massive ? at : -beyond);
          }
        }
      const T highest = max_lanes<T>(top);
      tops_of[s] = highest > kEmpty<T> / 2 ? highest + T(kLogSpan) : kEmpty<T>;
      for (int64_t k = 0; k < d; ++k) {
        boxes_of[k * lanes + s] = -max_lanes<T>(-low[k]);
        boxes_of[(d + k) * lanes + s] = max_lanes<T>(high[k]);
      }
    }
    for (int64_t k = 0; k < d; ++k) {
      T *low = extents.data + b * 2 * d + k, *high = low + d;
      *low = boxes_of[k * lanes], *high = boxes_of[(d + k) * lanes];
      for (int64_t s = 1; s < count; ++s) {
        const T below = boxes_of[k * lanes + s], above = boxes_of[(d + k) * lanes + s];
        *low = below < *low ? below : *low;
        *high = above > *high ? above : *high;
      }
    }
    for (int64_t j = 0; j < a->m; ++j)
      for (int64_t c = 0; c < a->q; ++c) {
        const T value = ((const T *)a->v)[b * a->v_step + j * a->q + c], size = value < 0 ? -value : value;
        T &largest = units.data[b * a->q + c];
        if (j == 0 || size > largest) largest = size;
      }
    /* Where vectors run past the end they see the first span again. */
    for (int64_t s = count; s < lanes; ++s) {
      tops_of[s] = tops_of[0];
      for (int64_t k = 0; k < 2 * d; ++k) boxes_of[k * lanes + s] = boxes_of[k * lanes];
    }
  }
};

/* What each group of a block of rows looks at. */
template <class T, int KIND>
struct Kept {
  const Spans<T> &spans;
  Buffer<uint8_t> flags; /* (groups, spans) */
  Buffer<uint8_t> all;   /* (groups): whether a group looks at everything */

  Kept(const Spans<T> &spans_, const Packed<T> &columns, const Scores<T, KIND> &scores, int64_t b, int64_t rows,
       const T *x, const T *norms)
      : spans(spans_), flags(spans.used ? groups(rows) * spans.count : 1), all(groups(rows)) {
    if (!spans.used) {
      all.data[0] = 1;
      return;
    }
    Buffer<T> bounds(spans.lanes);
    for (int64_t g = 0; g < groups(rows); ++g) {
      const int64_t first = g * spans.group, own = least(spans.group, rows - first);
      all.data[g] = !select(columns, scores, b, own, x + first * spans.d, norms + first, bounds.data,
                            flags.data + g * spans.count);
    }
  }

  /* One flag for each span, or null where none is left out. */
  const uint8_t *of(int64_t row) const {
    const int64_t g = spans.used ? row / spans.group : 0;
    return all.data[g] ? nullptr : flags.data + g * spans.count;
  }

 private:
  int64_t groups(int64_t rows) const { return spans.used ? (rows + spans.group - 1) / spans.group : 1; }

  bool select(const Packed<T> &columns, const Scores<T, KIND> &scores, int64_t b, int64_t rows, const T *x,
              const T *norms, T *bounds, uint8_t *keep) const {
    T highest, lowest, reach[kMostBoxed];
    spans.bound(scores, b, rows, x, bounds, highest, lowest);
    reaches(b, rows, x, reach);
    /* No row holds more than what the bounds add up to. */
    if (!(lowest < highest + T(kLost<T>))) return false;
    int64_t witnesses[kWitnesses];
    for (int64_t s = 0; s < spans.count; ++s) {
      int at = (int)least(s, kWitnesses);
      for (; at > 0 && bounds[s] > bounds[witnesses[at - 1]]; --at)
        if (at < kWitnesses) witnesses[at] = witnesses[at - 1];
      if (at < kWitnesses) witnesses[at] = s;
    }
    const double held = least_held(columns, scores, b, rows, x, norms, witnesses, reach);
    if (!(held > (double)kEmpty<T> / 2)) return false;

    /* bin k: bounds in (limit - k - 1, limit - k], so that its spans sum to at most 2^-k of what may be lost each. */
    constexpr int kBins = 64;
    const T limit = (T)(held + kLost<T> - std::fabs(held) * 4 * (double)std::numeric_limits<T>::epsilon());
    const auto depth = [limit](T value) { return limit - value < T(kBins) ? limit - value : T(kBins - 1); };
    int64_t bins[kBins] = {};
    for (int64_t s = 0; s < spans.count; ++s)
      if (bounds[s] < limit) ++bins[(int)depth(bounds[s])];
    double lost = 0;
    int bin = kBins;
    while (bin > 0 && (lost += std::ldexp((double)bins[bin - 1], 1 - bin)) <= 1.0) --bin;
    bool any = false;
    for (int64_t s = 0; s < spans.count; ++s) {
      keep[s] = !(bounds[s] < limit && depth(bounds[s]) >= T(bin));
      any = any || !keep[s];
    }
    return any;
  }

  /* A bound on what a pull multiplies a term by, feature by feature. */
  void reaches(int64_t b, int64_t rows, const T *x, T *reach) const {
    const T *extent = spans.extent(b);
    for (int64_t k = 0; k < spans.d; ++k) {
      reach[k] = T(KIND == kGeneral);
      for (int64_t i = 0; KIND != kGeneral && i < rows; ++i) {
        const T above = extent[spans.d + k] - x[i * spans.d + k], below = x[i * spans.d + k] - extent[k];
        reach[k] = most_of(reach[k], most_of(above, below));
      }
    }
  }
  static T most_of(T left, T right) { return left > right ? left : right; }

  /* log2 of the least that one of the rows sums to over the witnesses alone: of its terms, and of the sizes of its
   * weighted values and pulls in units of the largest, so that no average loses digits that it would have had. */
  double least_held(const Packed<T> &columns, const Scores<T, KIND> &scores, int64_t b, int64_t rows, const T *x,
                    const T *norms, const int64_t *witnesses, const T *reach) const {
    constexpr int L = Lanes<T>::n;
    const int64_t q = spans.q, d = spans.d, sized = q + (spans.pulled ? d : 0);
    double least_of_rows = std::numeric_limits<double>::infinity();
    for (int64_t row = 0; row < rows; row += kRows) {
      T reference[kRows];
      Vec<T> sums[1 + kFewValues + kMostBoxed][kRows];
      for (int r = 0; r < kRows; ++r) {
        reference[r] = kEmpty<T>;
        for (int64_t c = 0; c <= sized; ++c) sums[c][r] = Vec<T>{};
      }
      for (int i = 0; i < kWitnesses; ++i) {
        const int64_t first = witnesses[i] * Spans<T>::kPanels;
        for (int64_t panel = first; panel < least(first + Spans<T>::kPanels, columns.panels); ++panel) {
          const T *y = columns.panel(b, panel);
          Tile<T> t;
          scores.tile(x + row * d, norms + row, y, t);
          for (int r = 0; r < kRows; ++r) {
            Vec<T> best = t[r][0];
            for (int v = 1; v < kVectors; ++v) best = max(best, t[r][v]);
            const T highest = max_lanes<T>(best);
            if (highest > reference[r]) {
              const T factor = reference[r] > kEmpty<T> / 2 ? (T)std::exp2(reference[r] - highest) : T(0);
              for (int64_t c = 0; c <= sized; ++c) sums[c][r] *= splat(factor);
              reference[r] = highest;
            }
            for (int v = 0; v < kVectors; ++v) {
              Vec<T> term = exp2_of(t[r][v] - splat(reference[r]));
              sums[0][r] += term;
              for (int64_t c = 0; c < q; ++c)
                sums[1 + c][r] += term * absolute(load(columns.values(y) + c * kPanel<T> + v * L));
              if (!spans.pulled) continue;
              if (q) term *= absolute(load(columns.values(y) + v * L));
              Vec<T> gaps[kMostBoxed], length = {};
              for (int64_t k = 0; k < d; ++k) {
                gaps[k] = absolute(splat(x[(row + r) * d + k]) - load(y + k * kPanel<T> + v * L));
                length += gaps[k] * gaps[k];
              }
              if constexpr (KIND == kGeneral) term /= max(sqrt(length), splat(std::numeric_limits<T>::min()));
              for (int64_t k = 0; k < d; ++k) sums[1 + q + k][r] += term * gaps[k];
            }
          }
        }
      }
      const double unit_of_pulls = q ? (double)spans.unit(b)[0] : 1.0;
      for (int r = 0; r < (int)least(kRows, rows - row); ++r) {
        if (!(reference[r] > kEmpty<T> / 2)) return (double)kEmpty<T>;
        double held = (double)sum_lanes<T>(sums[0][r]);
        for (int64_t c = 0; c < sized; ++c) {
          const double unit = c < q ? (double)spans.unit(b)[c] : unit_of_pulls * (double)reach[c - q];
          const double size = (double)sum_lanes<T>(sums[1 + c][r]);
          if (unit > 0 && size < held * unit) held = size / unit;
        }
        held = held > 0 ? (double)reference[r] + std::log2(held) : (double)kEmpty<T>;
        if (held < least_of_rows) least_of_rows = held;
      }
    }
    return least_of_rows;
  }
};

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
