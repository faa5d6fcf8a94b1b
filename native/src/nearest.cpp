/* Candidates are screened tile by tile in the working precision with a margin that covers its rounding, and those that
 * pass are evaluated again in double from the points themselves. So the values are those of double precision and the
 * indices too, at the price of the cheap pass.
 *
 * A row starts from a limit that k of its first columns are known to keep: else nearly all of them would be evaluated. */
#include "tiles.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

/* The k best of one row so far, in rising order of (value, index); columns come in rising order. */
struct Best {
  double *values;
  int64_t *indices;
  int64_t k;

  HOWFAR_INLINE double worst() const { return values[k - 1]; }
  HOWFAR_INLINE void insert(double value, int64_t index) const {
    int64_t at = k - 1;
    for (; at > 0 && value < values[at - 1]; --at) values[at] = values[at - 1], indices[at] = indices[at - 1];
    values[at] = value;
    indices[at] = index;
  }
};

/* Where fewer than k columns have a finite score, the smallest indices of the others fill the places left. */
template <class T>
void complete(const howfar_pairs *a, const T *h, int64_t *indices) {
  int64_t j = 0;
  for (int64_t c = 0; c < a->k; ++c) {
    if (indices[c] >= 0) continue;
    while (j < a->m - 1 && !(h && h[j] == -std::numeric_limits<T>::infinity())) ++j;
    indices[c] = j < a->m ? j++ : a->m - 1;
  }
}

/* Which columns of a panel score below `limit`, one bit each. */
template <class T>
HOWFAR_INLINE uint64_t below(const Vec<T> (&t)[kVectors], T limit) {
  uint64_t bits = 0;
  for (int v = 0; v < kVectors; ++v) bits |= (uint64_t)less_bits(t[v], splat(limit)) << (v * Lanes<T>::n);
  return bits;
}

template <class T>
double exact_cost(const howfar_pairs *a, const T *x, const T *y) {
  double u = 0;
  if (a->form == HOWFAR_FORM_CITYBLOCK) {
    for (int64_t k = 0; k < a->d; ++k) u += std::fabs((double)x[k] - (double)y[k]);
  } else if (a->form == HOWFAR_FORM_MINKOWSKI) {
    for (int64_t k = 0; k < a->d; ++k) u += std::pow(std::fabs((double)x[k] - (double)y[k]), a->p);
  } else {
    double part[8] = {};
    int64_t k = 0;
    for (; k + 8 <= a->d; k += 8)
      for (int i = 0; i < 8; ++i) {
        const double gap = (double)x[k + i] - (double)y[k + i];
        part[i] += gap * gap;
      }
    for (int i = 0; i < 8; ++i) u += part[i];
    for (; k < a->d; ++k) {
      const double gap = (double)x[k] - (double)y[k];
      u += gap * gap;
    }
  }
  if (a->exponent == 1.0) return u;
  return a->exponent == 0.5 ? std::sqrt(u) : std::pow(u, a->exponent);
}

/* How far a screened score may be from the exact one: a part of its own size, and a part of the clouds'. */
template <class T>
struct Margin {
  double relative, of_norms, highest_norm, of_potentials;

  template <class Columns>
  Margin(const howfar_pairs *a, int64_t b, int kind, const Columns &columns) {
    const double unit = std::numeric_limits<T>::epsilon() / 2, steps = (double)a->d + 8;
    const double steep = a->exponent > 1 ? a->exponent : 1;
    /* A power by way of a logarithm loses as many units as the logarithm is large. */
    relative = unit * (kind == kGeneral ? steep * (steps + 512) : steps);
    double highest = 0;
    for (int64_t j = 0; a->h && j < a->m; ++j) {
      const double size = std::fabs((double)((const T *)a->h)[b * a->h_step + j]);
      if (size > highest && size < std::numeric_limits<double>::infinity()) highest = size;
    }
    of_potentials = 2 * relative * highest;
    of_norms = kind == kFolded ? 2 * unit * steps : 0;
    highest_norm = kind == kFolded ? columns.highest_norm(b) : 0;
  }

  /* How far a score of about this value may be from it. */
  double slack(double value, double norm) const {
    return 2 * relative * std::fabs(value) + 2 * of_potentials + of_norms * (norm + highest_norm);
  }

  /* The screened score below which a column may beat `worst`; `norm` is what the score leaves out. */
  T threshold(double worst, double norm, bool folded) const {
    if (worst == std::numeric_limits<double>::infinity()) return std::numeric_limits<T>::infinity();
    const double limit = worst + slack(worst, norm) - (folded ? norm : 0.0);
    /* Rounded up, and past the sum's own rounding. */
    return (T)limit + (T)(std::fabs(limit) * std::numeric_limits<T>::epsilon());
  }
};

/* A limit that at least k of the lowest scores keep, one score for each of the panel's columns; +inf if there is none. */
template <class T>
T limit_of(const Vec<T> (&lowest)[kVectors], int64_t k) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  if (k > kPanel<T>) return inf;
  Vec<T> least_of = lowest[0], most_of = lowest[0];
  for (int v = 1; v < kVectors; ++v) least_of = min(least_of, lowest[v]), most_of = max(most_of, lowest[v]);
  T low = -max_lanes<T>(-least_of), high = max_lanes<T>(most_of);
  if (!(high < inf)) return inf;
  high += std::fabs(high) * 2 * std::numeric_limits<T>::epsilon() + std::numeric_limits<T>::min();
  for (int step = 0; step < 12; ++step) {
    const T middle = low + (high - low) / 2;
    (__builtin_popcountll(below<T>(lowest, middle)) >= k ? high : low) = middle;
  }
  return high;
}

/* Screening and evaluation of one group of kRows rows. */
template <class T, int KIND>
struct Search {
  const howfar_pairs *a;
  const Packed<T> &columns;
  const Margin<T> &margin;
  const Scores<T, KIND> scores;
  const T *h, *points, *others; /* the first row's point, all y */
  const T *x, *norms;           /* the same rows as they are packed */
  T *thresholds;
  double *values;
  int64_t *indices, b;

  HOWFAR_INLINE void take(int r, int64_t panel, const T *score, uint64_t passed) const {
    const Best best{values + r * a->k, indices + r * a->k, a->k};
    for (; passed; passed &= passed - 1) {
      const int c = __builtin_ctzll(passed);
      if (!(score[c] < thresholds[r])) continue;
      const int64_t j = panel * kPanel<T> + c;
      const double value = exact_cost(a, points + r * a->d, others + j * a->d) - (h ? (double)h[j] : 0.0);
      if (!(value < best.worst())) continue;
      best.insert(value, j);
      const T threshold = margin.threshold(best.worst(), (double)norms[r], KIND == kFolded);
      if (threshold < thresholds[r]) thresholds[r] = threshold;
    }
  }

  HOWFAR_INLINE void over(int64_t start, int64_t stop) const {
    for (int64_t panel = start; panel < stop; ++panel) {
      Tile<T> t;
      scores.tile(x, norms, columns.panel(b, panel), t);
      for (int r = 0; r < kRows; ++r) {
        Vec<T> lowest = t[r][0];
        for (int v = 1; v < kVectors; ++v) lowest = min(lowest, t[r][v]);
        if (__builtin_expect(!any_greater(splat(thresholds[r]), lowest), 1)) continue;
        alignas(64) T score[kPanel<T>];
        for (int v = 0; v < kVectors; ++v) store(score + v * Lanes<T>::n, t[r][v]);
        take(r, panel, score, below<T>(t[r], thresholds[r]));
      }
    }
  }

  /* `over`, after a look at all scores of these panels; `held` has room for them. */
  __attribute__((noinline)) void begin(int64_t start, int64_t stop, T *held) const {
    constexpr int L = Lanes<T>::n;
    Tile<T> lowest;
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) lowest[r][v] = splat(std::numeric_limits<T>::infinity());
    for (int64_t panel = start; panel < stop; ++panel) {
      Tile<T> t;
      scores.tile(x, norms, columns.panel(b, panel), t);
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) {
          lowest[r][v] = min(lowest[r][v], t[r][v]);
          store(held + ((panel - start) * kRows + r) * kPanel<T> + v * L, t[r][v]);
        }
    }
    for (int r = 0; r < kRows; ++r) {
      const T limit = limit_of<T>(lowest[r], a->k);
      if (limit < thresholds[r]) {
        const double norm = KIND == kFolded ? (double)norms[r] : 0.0;
        const double kept = (double)limit + norm;
        thresholds[r] = margin.threshold(kept + margin.slack(kept, norm), norm, KIND == kFolded);
      }
      for (int64_t panel = start; panel < stop; ++panel) {
        const T *score = held + ((panel - start) * kRows + r) * kPanel<T>;
        Vec<T> t[kVectors];
        for (int v = 0; v < kVectors; ++v) t[v] = load(score + v * L);
        if (const uint64_t passed = below<T>(t, thresholds[r])) take(r, panel, score, passed);
      }
    }
  }
};

template <class T, int KIND>
int nearest_as(const howfar_pairs *a) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, false, false, [](int64_t) {
    Packing<T> how;
    how.bias = -1;
    how.outside = inf;
    if (KIND == kFolded) how.feature = -2, how.norm_in_bias = true;
    return how;
  });
  const bool one_margin = columns.problems == 1 && (!a->h || a->h_step == 0);
  const Margin<T> first_margin(a, 0, KIND, columns);
  const int64_t d = a->d, k = a->k, count = a->row_end - a->row_begin;
  /* The best of a few runs of columns are the best of all, so few rows share their columns among the threads. */
  constexpr int64_t kFewestPanels = 256;
  const int64_t wanted = a->threads > a->batch * ((count + kRows - 1) / kRows) ? a->threads : 1;
  const int64_t runs = most(1, least(wanted, columns.panels / kFewestPanels));
  const int64_t length = (columns.panels + runs - 1) / runs;
  Buffer<double> values(a->batch * runs * count * k);
  Buffer<int64_t> indices(a->batch * runs * count * k);
  const auto search = [&](int64_t b, int64_t first, int64_t rows, int64_t run) {
    const int64_t padded = padded_rows(rows), place = ((b * runs + run) * count + first - a->row_begin) * k;
    const int64_t begin = run * length, end = least(begin + length, columns.panels);
    const Margin<T> margin = one_margin || b == 0 ? first_margin : Margin<T>(a, b, KIND, columns);
    const T *points = (const T *)a->x + b * a->x_step + first * d, *others = (const T *)a->y + b * a->y_step;
    const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr;
    const int64_t looked = least(begin + columns.chunk, end);
    Buffer<T> x(padded * d), norms(padded), thresholds(padded), held((looked - begin) * kRows * kPanel<T>);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    for (int64_t i = 0; i < rows * k; ++i) {
      values.data[place + i] = std::numeric_limits<double>::infinity();
      indices.data[place + i] = -1;
    }
    /* No column passes a row of padding. */
    for (int64_t i = 0; i < padded; ++i) thresholds.data[i] = i < rows ? inf : -inf;
    for (int64_t start = begin; start < end; start += columns.chunk)
      for (int64_t row = 0; row < padded; row += kRows) {
        const Search<T, KIND> group{a, columns, margin, Scores<T, KIND>(a, T(1)), h, points + row * d, others,
                                    x.data + row * d, norms.data + row, thresholds.data + row,
                                    values.data + place + row * k, indices.data + place + row * k, b};
        if (start == begin)
          group.begin(start, looked, held.data);
        else
          group.over(start, least(start + columns.chunk, end));
      }
  };
  const int64_t share = (count * a->batch + most(a->threads, 1) - 1) / most(a->threads, 1);
  const int64_t block = least(kBlock, most(kRows, padded_rows(share))), blocks = (count + block - 1) / block;
  const int failed = in_parallel(a->batch * blocks * runs, a->threads, [&](int64_t task) {
    const int64_t first = a->row_begin + task / runs % blocks * block;
    search(task / runs / blocks, first, least(block, a->row_end - first), task % runs);
  });
  if (failed) return failed;
  return in_parallel(a->batch, a->threads, [&](int64_t b) {
    const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t own = (b * runs * count + i) * k, to = (b * a->n + a->row_begin + i) * k;
      const Best best{values.data + own, indices.data + own, k};
      for (int64_t run = 1; run < runs; ++run)
        for (int64_t c = 0; c < k; ++c) {
          const int64_t at = own + run * count * k + c;
          if (values.data[at] < best.worst()) best.insert(values.data[at], indices.data[at]);
        }
      complete(a, h, best.indices);
      for (int64_t c = 0; c < k; ++c) ((T *)a->out)[to + c] = (T)best.values[c], a->indices[to + c] = best.indices[c];
    }
  });
}

template <class T>
int nearest(const howfar_pairs *a) {
  try {
    switch (kind_of(a)) {
      case kFolded: return nearest_as<T, kFolded>(a);
      case kDifference: return nearest_as<T, kDifference>(a);
      default: return nearest_as<T, kGeneral>(a);
    }
  } catch (const std::bad_alloc &) {
    return HOWFAR_NO_MEMORY;
  }
}

}  // namespace

int nearest_f32(const howfar_pairs *a) { return nearest<float>(a); }
int nearest_f64(const howfar_pairs *a) { return nearest<double>(a); }

}  // namespace HOWFAR_SET
}  // namespace howfar
