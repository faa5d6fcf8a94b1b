/* Candidates are screened tile by tile in the working precision with a margin that covers its rounding, and those that
 * pass are evaluated again in double from the points themselves. So the values are those of double precision and the
 * indices too, at the price of the cheap pass. */
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

  /* The screened score below which a column may beat `worst`; `norm` is what the score leaves out. */
  T threshold(double worst, double norm, bool folded) const {
    if (worst == std::numeric_limits<double>::infinity()) return std::numeric_limits<T>::infinity();
    const double slack = 2 * relative * std::fabs(worst) + 2 * of_potentials + of_norms * (norm + highest_norm);
    const double limit = worst + slack - (folded ? norm : 0.0);
    /* Rounded up, and past the sum's own rounding. */
    return (T)limit + (T)(std::fabs(limit) * std::numeric_limits<T>::epsilon());
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
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = padded_rows(rows), k = a->k;
    const Scores<T, KIND> scores(a, T(1));
    const Margin<T> margin = one_margin || b == 0 ? first_margin : Margin<T>(a, b, KIND, columns);
    const T *points = (const T *)a->x + b * a->x_step + first * d, *others = (const T *)a->y + b * a->y_step;
    const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr;
    Buffer<T> x(padded * d), norms(padded), thresholds(padded);
    Buffer<double> values(rows * k);
    Buffer<int64_t> indices(rows * k);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    for (int64_t i = 0; i < rows * k; ++i) values.data[i] = std::numeric_limits<double>::infinity(), indices.data[i] = -1;
    /* No column passes a row of padding. */
    for (int64_t i = 0; i < padded; ++i) thresholds.data[i] = i < rows ? inf : -inf;
    for (int64_t start = 0; start < columns.panels; start += columns.chunk) {
      const int64_t stop = least(start + columns.chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows)
        for (int64_t panel = start; panel < stop; ++panel) {
          Tile<T> t;
          scores.tile(x.data + row * d, norms.data + row, columns.panel(b, panel), t);
          for (int r = 0; r < kRows; ++r) {
            Vec<T> lowest = t[r][0];
            for (int v = 1; v < kVectors; ++v) lowest = min(lowest, t[r][v]);
            if (__builtin_expect(!any_greater(splat(thresholds.data[row + r]), lowest), 1)) continue;
            const int64_t i = row + r;
            const Best best{values.data + i * k, indices.data + i * k, k};
            alignas(64) T score[kPanel<T>];
            for (int v = 0; v < kVectors; ++v) store(score + v * Lanes<T>::n, t[r][v]);
            for (uint64_t passed = below<T>(t[r], thresholds.data[i]); passed; passed &= passed - 1) {
              const int c = __builtin_ctzll(passed);
              if (!(score[c] < thresholds.data[i])) continue;
              const int64_t j = panel * kPanel<T> + c;
              const double value = exact_cost(a, points + i * d, others + j * d) - (h ? (double)h[j] : 0.0);
              if (!(value < best.worst())) continue;
              best.insert(value, j);
              thresholds.data[i] = margin.threshold(best.worst(), (double)norms.data[i], KIND == kFolded);
            }
          }
        }
    }
    for (int64_t i = 0; i < rows; ++i) {
      complete(a, h, indices.data + i * k);
      for (int64_t c = 0; c < k; ++c) {
        ((T *)a->out)[(b * a->n + first + i) * k + c] = (T)values.data[i * k + c];
        a->indices[(b * a->n + first + i) * k + c] = indices.data[i * k + c];
      }
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
