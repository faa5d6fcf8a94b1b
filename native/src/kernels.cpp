/* The pairwise reductions, compiled once for each instruction set (HOWFAR_SET is its namespace).
 *
 * Columns y are packed in panels of kPanel columns, feature by feature, with their bias last. A tile of kRows rows and
 * one panel is accumulated in registers over the features, and reduced there: the n x m values are never stored. A block
 * of rows meets a chunk of panels that stays in cache. Every row is computed by the same operations in the same order,
 * however rows are spread over threads, so results do not depend on the number of threads. */
#include "pairs.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "simd.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

constexpr double kLog2E = 1.4426950408889634;
constexpr int kRows = 4;
constexpr int kVectors = kBytes == 64 ? 4 : 2;
constexpr int kBlock = 96;               /* rows that share one pass over a chunk of columns */
constexpr int64_t kChunkBytes = 1 << 18; /* of packed columns: a quarter of a common second-level cache */
constexpr int kFewValues = 8;            /* up to here values are summed lane by lane, beyond as a matrix product */

template <class T>
using Vec = typename Lanes<T>::V;
template <class T>
constexpr int kPanel = kVectors *Lanes<T>::n;

template <class T>
struct Buffer {
  T *data;
  explicit Buffer(int64_t count) {
    void *p = nullptr;
    const size_t bytes = (size_t)std::max<int64_t>(count, 1) * sizeof(T);
#if defined(_WIN32)
    p = _aligned_malloc(bytes, 64);
#else
    if (posix_memalign(&p, 64, bytes)) p = nullptr;
#endif
    if (!p) throw std::bad_alloc();
    data = (T *)p;
  }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() {
#if defined(_WIN32)
    _aligned_free(data);
#else
    free(data);
#endif
  }
};

inline int64_t panels_of(int64_t m, int64_t panel) { return (m + panel - 1) / panel; }

/* The columns of one problem, packed: per panel d rows of features, one row of bias, then q rows of values. */
template <class T>
struct Columns {
  int64_t stride;   /* elements of one panel */
  int64_t panels;
  const T *data;
};

template <int FORM>
constexpr bool is_product = FORM == HOWFAR_FORM_PRODUCT || FORM == HOWFAR_FORM_INNER;

/* acc[r][v] += the base quantity of kRows rows and one panel. */
template <class T, int FORM, int D>
HOWFAR_INLINE void accumulate(const T *x, const T *panel, int64_t features, T p, Vec<T> (&acc)[kRows][kVectors]) {
  constexpr int L = Lanes<T>::n;
  const int64_t d = D ? D : features;
  for (int64_t k = 0; k < d; ++k) {
    Vec<T> y[kVectors];
    for (int v = 0; v < kVectors; ++v) y[v] = load(panel + k * kPanel<T> + v * L);
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> xr = splat(x[r * d + k]);
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (is_product<FORM>) {
          acc[r][v] += xr * y[v];
        } else {
          const Vec<T> gap = xr - y[v];
          if constexpr (FORM == HOWFAR_FORM_DIFFERENCE) acc[r][v] += gap * gap;
          if constexpr (FORM == HOWFAR_FORM_CITYBLOCK) acc[r][v] += absolute(gap);
          if constexpr (FORM == HOWFAR_FORM_MINKOWSKI) acc[r][v] += power<T>(absolute(gap), p);
        }
      }
    }
  }
}

enum Exponent { kOne, kHalf, kAny };

template <class T, int EXPONENT>
HOWFAR_INLINE Vec<T> raised(Vec<T> u, T e) {
  if constexpr (EXPONENT == kHalf) return sqrt(max(u, Vec<T>{}));
  if constexpr (EXPONENT == kAny) return power<T>(u, e);
  return u;
}

/* Scores of the Gibbs kernel in base 2: k (h_j - c_ij), up to what depends on the row alone.
 *
 * PRODUCT with exponent one folds everything into the packed columns: y' = 2 k y, bias' = k (h - |y|^2), and the row's
 * -k |x|^2 is left to the end. The other forms hold bias' = k h and subtract k u^e. */
template <class T, int FORM, int EXPONENT>
struct Scores {
  static constexpr bool folded = FORM == HOWFAR_FORM_INNER || (FORM == HOWFAR_FORM_PRODUCT && EXPONENT == kOne);
  T k, exponent, p;

  HOWFAR_INLINE void tile(const T *x, const T *norms, const T *panel, int64_t d, Vec<T> (&t)[kRows][kVectors]) const {
    constexpr int L = Lanes<T>::n;
    const int64_t features = d;
    if constexpr (folded) {
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> bias = load(panel + features * kPanel<T> + v * L);
        for (int r = 0; r < kRows; ++r) t[r][v] = bias;
      }
    } else {
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) t[r][v] = Vec<T>{};
    }
    switch (features) {
      case 1: accumulate<T, FORM, 1>(x, panel, 1, p, t); break;
      case 2: accumulate<T, FORM, 2>(x, panel, 2, p, t); break;
      case 3: accumulate<T, FORM, 3>(x, panel, 3, p, t); break;
      default: accumulate<T, FORM, 0>(x, panel, features, p, t);
    }
    if constexpr (!folded) {
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> bias = load(panel + features * kPanel<T> + v * L);
        Vec<T> own{};
        if constexpr (FORM == HOWFAR_FORM_PRODUCT) own = load(panel + (features + 1) * kPanel<T> + v * L);
        for (int r = 0; r < kRows; ++r) {
          Vec<T> u = t[r][v];
          if constexpr (FORM == HOWFAR_FORM_PRODUCT) u = max(u + (own + splat(norms[r])), Vec<T>{});
          t[r][v] = bias - splat(k) * raised<T, EXPONENT>(u, exponent);
        }
      }
    }
  }
};

/* Packs rows of x, centred, kBlock at a time and padded with zeros; norms are |x|^2. */
template <class T>
void pack_rows(const T *x, int64_t rows, int64_t d, const T *centre, T *out, T *norms, int64_t padded) {
  for (int64_t i = 0; i < padded; ++i) {
    T norm = 0;
    for (int64_t k = 0; k < d; ++k) {
      const T value = i < rows ? x[i * d + k] - centre[k] : T(0);
      out[i * d + k] = value;
      norm += value * value;
    }
    norms[i] = norm;
  }
}

template <class T>
void find_centre(const T *y, int64_t m, int64_t d, T *centre) {
  std::vector<double> sum((size_t)d, 0.0);
  for (int64_t j = 0; j < m; ++j)
    for (int64_t k = 0; k < d; ++k) sum[(size_t)k] += (double)y[j * d + k];
  for (int64_t k = 0; k < d; ++k) centre[k] = (T)(sum[(size_t)k] / (double)m);
}

/* Packs one panel. `fold` is y' = fold y; bias = bias_scale (h - |y|^2 where `norm_in_bias`). */
template <class T>
void pack_panel(const T *y, const T *h, const T *v, int64_t first, int64_t m, int64_t d, int64_t q, const T *centre, T fold,
                T bias_scale, bool norm_in_bias, bool norm_row, T empty, T *out) {
  constexpr int P = kPanel<T>;
  const int64_t lead = d + 1 + (norm_row ? 1 : 0);
  for (int c = 0; c < P; ++c) {
    const int64_t j = first + c;
    const bool there = j < m;
    T norm = 0;
    for (int64_t k = 0; k < d; ++k) {
      const T value = there ? y[j * d + k] - centre[k] : T(0);
      norm += value * value;
      out[k * P + c] = fold * value;
    }
    T bias = there ? (h ? h[j] : T(0)) : T(0);
    if (norm_in_bias) bias -= norm;
    bias *= bias_scale;
    out[d * P + c] = there && bias > -std::numeric_limits<T>::infinity() ? bias : empty;
    if (norm_row) out[(d + 1) * P + c] = norm;
    for (int64_t k = 0; k < q; ++k) out[(lead + k) * P + c] = there ? v[j * q + k] : T(0);
  }
}

/* Runs `body(problem, rows)` over the batch and blocks of rows on the threads asked for. */
template <class Body>
int over_blocks(const howfar_pairs *a, const Body &body) {
  const int64_t rows = a->row_end - a->row_begin;
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  const int64_t total = a->batch * blocks;
  bool failed = false;
#pragma omp parallel for schedule(dynamic) num_threads(a->threads) if (a->threads > 1 && total > 1)
  for (int64_t task = 0; task < total; ++task) {
    try {
      const int64_t first = a->row_begin + (task % blocks) * kBlock;
      body(task / blocks, first, std::min<int64_t>(kBlock, a->row_end - first));
    } catch (const std::bad_alloc &) {
#pragma omp atomic write
      failed = true;
    }
  }
  return failed ? -1 : 0;
}

/* All problems' columns, packed in parallel before the rows start; a step of zero packs once. */
template <class T>
struct Packed {
  int64_t problems, panels, lead, stride;
  Buffer<T> centres, data;

  Packed(const howfar_pairs *a, bool norm_row, bool centred, bool with_values, T fold, T bias_sign, bool norm_in_bias, T empty)
      : problems(shared(a) ? 1 : a->batch),
        panels(panels_of(a->m, kPanel<T>)),
        lead(a->d + 1 + (norm_row ? 1 : 0)),
        stride((lead + (with_values ? a->q : 0)) * kPanel<T>),
        centres(problems * a->d),
        data(problems * panels * stride) {
    for (int64_t b = 0; b < problems; ++b) {
      T *centre = centres.data + b * a->d;
      if (centred)
        find_centre((const T *)a->y + b * a->y_step, a->m, a->d, centre);
      else
        std::fill(centre, centre + a->d, T(0));
    }
    const int64_t total = problems * panels;
#pragma omp parallel for schedule(static) num_threads(a->threads) if (a->threads > 1 && total > 64)
    for (int64_t task = 0; task < total; ++task) {
      const int64_t b = task / panels, panel = task % panels;
      const T k = (T)(a->scale[b] * kLog2E);
      const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr;
      const T *v = with_values ? (const T *)a->v + b * a->v_step : nullptr;
      pack_panel((const T *)a->y + b * a->y_step, h, v, panel * kPanel<T>, a->m, a->d, with_values ? a->q : 0,
                 centres.data + b * a->d, fold == T(0) ? 2 * k : fold, bias_sign == T(0) ? k : bias_sign, norm_in_bias,
                 norm_row, empty, data.data + (b * panels + panel) * stride);
    }
  }
  static bool shared(const howfar_pairs *a) {
    if (a->batch == 1) return true;
    for (int64_t b = 1; b < a->batch; ++b)
      if (a->scale[b] != a->scale[0]) return false;
    return a->y_step == 0 && (!a->h || a->h_step == 0) && (!a->v || a->v_step == 0);
  }
  const T *panel(int64_t b, int64_t p) const { return data.data + ((problems == 1 ? 0 : b) * panels + p) * stride; }
  const T *centre(int64_t b, int64_t d) const { return centres.data + (problems == 1 ? 0 : b) * d; }
};

/* rows x panel weights times the values of those columns, (kPanel, q) row-major: out[r] += p[r] V. */
template <class T>
HOWFAR_INLINE void multiply_values(const T *weights, const T *values, int64_t columns, int64_t q, T *out, int64_t out_stride) {
  constexpr int L = Lanes<T>::n;
  int64_t c = 0;
  for (; c + 4 * L <= q; c += 4 * L) {
    Vec<T> sum[kRows][4];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < 4; ++v) sum[r][v] = load(out + r * out_stride + c + v * L);
    for (int64_t j = 0; j < columns; ++j) {
      Vec<T> value[4];
      for (int v = 0; v < 4; ++v) value[v] = load(values + j * q + c + v * L);
      for (int r = 0; r < kRows; ++r) {
        const Vec<T> w = splat(weights[r * kPanel<T> + j]);
        for (int v = 0; v < 4; ++v) sum[r][v] += w * value[v];
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < 4; ++v) store(out + r * out_stride + c + v * L, sum[r][v]);
  }
  for (; c + L <= q; c += L) {
    Vec<T> sum[kRows];
    for (int r = 0; r < kRows; ++r) sum[r] = load(out + r * out_stride + c);
    for (int64_t j = 0; j < columns; ++j) {
      const Vec<T> value = load(values + j * q + c);
      for (int r = 0; r < kRows; ++r) sum[r] += splat(weights[r * kPanel<T> + j]) * value;
    }
    for (int r = 0; r < kRows; ++r) store(out + r * out_stride + c, sum[r]);
  }
  for (; c < q; ++c)
    for (int r = 0; r < kRows; ++r) {
      T sum = out[r * out_stride + c];
      for (int64_t j = 0; j < columns; ++j) sum += weights[r * kPanel<T> + j] * values[j * q + c];
      out[r * out_stride + c] = sum;
    }
}

/* Sums of weighted values of one block of rows: lane by lane while they are few, else by small matrix products. */
template <class T>
struct ValueSums {
  int64_t q, many;  /* q columns; `many` says which way */
  Buffer<Vec<T>> lanes;
  Buffer<T> dense;

  ValueSums(int64_t q_) : q(q_), many(q_ > kFewValues), lanes(many ? 1 : kBlock * q_), dense(many ? kBlock * q_ : 1) {
    if (many)
      std::fill(dense.data, dense.data + kBlock * q, T(0));
    else
      for (int64_t i = 0; i < kBlock * q; ++i) lanes.data[i] = Vec<T>{};
  }
  HOWFAR_INLINE void add(int64_t row, const Vec<T> (&w)[kRows][kVectors], const T *packed, const T *values, int64_t columns) {
    constexpr int L = Lanes<T>::n;
    if (!many) {
      for (int64_t c = 0; c < q; ++c)
        for (int r = 0; r < kRows; ++r) {
          Vec<T> sum = lanes.data[(row + r) * q + c];
          for (int v = 0; v < kVectors; ++v) sum += w[r][v] * load(packed + c * kPanel<T> + v * L);
          lanes.data[(row + r) * q + c] = sum;
        }
      return;
    }
    alignas(64) T weights[kRows * kPanel<T>];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) store(weights + r * kPanel<T> + v * L, w[r][v]);
    multiply_values(weights, values, columns, q, dense.data + row * q, q);
  }
  void scale(int64_t row, T factor) {
    if (many)
      for (int64_t c = 0; c < q; ++c) dense.data[row * q + c] *= factor;
    else
      for (int64_t c = 0; c < q; ++c) lanes.data[row * q + c] *= splat(factor);
  }
  T total(int64_t row, int64_t c) const { return many ? dense.data[row * q + c] : sum_lanes<T>(lanes.data[row * q + c]); }
};

inline int64_t chunk_panels(int64_t stride, size_t size) { return std::max<int64_t>(1, kChunkBytes / (int64_t)(stride * (int64_t)size)); }

/* Room that a row's sum has above its reference before it is rescaled: far below overflow, far above any tile. */
template <class T>
constexpr T kHeadroom = sizeof(T) == 4 ? T(60) : T(500);

template <class T, int FORM, int EXPONENT, bool VALUES>
int softmin_as(const howfar_pairs *a) {
  typedef Scores<T, FORM, EXPONENT> S;
  constexpr int L = Lanes<T>::n;
  const bool norm_row = FORM == HOWFAR_FORM_PRODUCT && !S::folded;
  const T empty = -std::numeric_limits<T>::max() / 4;
  const T fold = FORM == HOWFAR_FORM_PRODUCT ? (S::folded ? T(0) : T(-2)) : FORM == HOWFAR_FORM_INNER ? T(0) : T(1);
  /* INNER scores are k (h + u): its fold is k, half of PRODUCT's 2 k, which halving the rows' coordinates gives. */
  const Packed<T> columns(a, norm_row, FORM != HOWFAR_FORM_INNER, VALUES && a->q <= kFewValues, fold, T(0), S::folded && FORM == HOWFAR_FORM_PRODUCT, empty);
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = (rows + kRows - 1) / kRows * kRows;
    const S scores{(T)(a->scale[b] * kLog2E), (T)a->exponent, (T)a->p};
    Buffer<T> x(padded * d), norms(padded), top(padded);
    Buffer<Vec<T>> sums(padded);
    ValueSums<T> values(VALUES ? a->q : 0);
    pack_rows((const T *)a->x + b * a->x_step + first * d, rows, d, columns.centre(b, d), x.data, norms.data, padded);
    if (FORM == HOWFAR_FORM_INNER)
      for (int64_t i = 0; i < padded * d; ++i) x.data[i] *= T(0.5);
    for (int64_t i = 0; i < padded; ++i) top.data[i] = empty, sums.data[i] = Vec<T>{};
    const int64_t chunk = chunk_panels(columns.stride, sizeof(T));
    for (int64_t start = 0; start < columns.panels; start += chunk) {
      const int64_t stop = std::min(start + chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows) {
        Vec<T> m[kRows], s[kRows];
        for (int r = 0; r < kRows; ++r) m[r] = splat(top.data[row + r]), s[r] = sums.data[row + r];
        for (int64_t panel = start; panel < stop; ++panel) {
          const T *y = columns.panel(b, panel);
          Vec<T> t[kRows][kVectors];
          scores.tile(x.data + row * d, norms.data + row, y, d, t);
          Vec<T> excess = t[0][0] - m[0];
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) t[r][v] -= m[r], excess = max(excess, t[r][v]);
          if (__builtin_expect(any_greater(excess, splat(kHeadroom<T>)), 0)) {
            for (int r = 0; r < kRows; ++r) {
              Vec<T> highest = t[r][0];
              for (int v = 1; v < kVectors; ++v) highest = max(highest, t[r][v]);
              const T above = max_lanes<T>(highest);
              if (!(above > kHeadroom<T>)) continue;
              /* The scores are taken afresh: next to an empty reference their digits are gone. */
              Vec<T> again[kRows][kVectors];
              scores.tile(x.data + row * d, norms.data + row, y, d, again);
              Vec<T> best = again[r][0];
              for (int v = 1; v < kVectors; ++v) best = max(best, again[r][v]);
              const T old = m[r][0], reference = max_lanes<T>(best);
              const T factor = old <= empty ? T(0) : (T)std::exp2(old - reference);
              m[r] = splat(reference);
              s[r] *= splat(factor);
              if constexpr (VALUES) values.scale(row + r, factor);
              for (int v = 0; v < kVectors; ++v) t[r][v] = again[r][v] - m[r];
            }
          }
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) {
              t[r][v] = exp2_of(t[r][v]);
              s[r] += t[r][v];
            }
          if constexpr (VALUES) {
            const int64_t begin = panel * kPanel<T>;
            values.add(row, t, y + columns.lead * kPanel<T>, (const T *)a->v + b * a->v_step + begin * a->q,
                       std::min<int64_t>(kPanel<T>, a->m - begin));
          }
        }
        for (int r = 0; r < kRows; ++r) top.data[row + r] = m[r][0], sums.data[row + r] = s[r];
      }
    }
    T *out = (T *)a->out + b * a->n + first;
    for (int64_t i = 0; i < rows; ++i) {
      const T total = sum_lanes<T>(sums.data[i]);
      const double eps = 1.0 / a->scale[b];
      double value = -eps / kLog2E * ((double)top.data[i] + std::log2((double)total));
      if (FORM == HOWFAR_FORM_PRODUCT && S::folded) value += (double)norms.data[i];
      if (FORM == HOWFAR_FORM_INNER) value += 1.0;
      out[i] = total > 0 ? (T)value : std::numeric_limits<T>::infinity();
      if constexpr (VALUES)
        for (int64_t c = 0; c < a->q; ++c) ((T *)a->averages)[(b * a->n + first + i) * a->q + c] = values.total(i, c) / total;
    }
    (void)L;
  });
}

template <class T, int FORM, int EXPONENT>
int gibbs_as(const howfar_pairs *a) {
  typedef Scores<T, FORM, EXPONENT> S;
  const bool norm_row = FORM == HOWFAR_FORM_PRODUCT && !S::folded;
  const T empty = -std::numeric_limits<T>::max() / 4;
  const T fold = FORM == HOWFAR_FORM_PRODUCT ? (S::folded ? T(0) : T(-2)) : FORM == HOWFAR_FORM_INNER ? T(0) : T(1);
  const Packed<T> columns(a, norm_row, FORM != HOWFAR_FORM_INNER, a->q <= kFewValues, fold, T(0), S::folded && FORM == HOWFAR_FORM_PRODUCT, empty);
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = (rows + kRows - 1) / kRows * kRows;
    const T k = (T)(a->scale[b] * kLog2E);
    const S scores{k, (T)a->exponent, (T)a->p};
    Buffer<T> x(padded * d), norms(padded), shift(padded);
    ValueSums<T> values(a->q);
    pack_rows((const T *)a->x + b * a->x_step + first * d, rows, d, columns.centre(b, d), x.data, norms.data, padded);
    if (FORM == HOWFAR_FORM_INNER)
      for (int64_t i = 0; i < padded * d; ++i) x.data[i] *= T(0.5);
    for (int64_t i = 0; i < padded; ++i) {
      const T f = i < rows && a->f ? ((const T *)a->f)[b * a->f_step + first + i] : T(0);
      T own = f;
      if (FORM == HOWFAR_FORM_PRODUCT && S::folded) own -= norms.data[i];
      if (FORM == HOWFAR_FORM_INNER) own -= T(1);
      own *= k;
      shift.data[i] = own > -std::numeric_limits<T>::infinity() ? own : empty;
    }
    const int64_t chunk = chunk_panels(columns.stride, sizeof(T));
    const Vec<T> most = splat(sizeof(T) == 4 ? T(127) : T(1023));
    for (int64_t start = 0; start < columns.panels; start += chunk) {
      const int64_t stop = std::min(start + chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows)
        for (int64_t panel = start; panel < stop; ++panel) {
          const T *y = columns.panel(b, panel);
          Vec<T> t[kRows][kVectors];
          scores.tile(x.data + row * d, norms.data + row, y, d, t);
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) t[r][v] = exp2_of(min(t[r][v] + splat(shift.data[row + r]), most));
          const int64_t begin = panel * kPanel<T>;
          values.add(row, t, y + columns.lead * kPanel<T>, (const T *)a->v + b * a->v_step + begin * a->q,
                     std::min<int64_t>(kPanel<T>, a->m - begin));
        }
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < a->q; ++c) ((T *)a->out)[(b * a->n + first + i) * a->q + c] = values.total(i, c);
  });
}

/* Base quantities u of a tile, for kernel sums and nearest neighbours. */
template <class T, int FORM>
HOWFAR_INLINE void base_tile(const T *x, const T *norms, const T *panel, int64_t d, T p, Vec<T> (&u)[kRows][kVectors]) {
  constexpr int L = Lanes<T>::n;
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) u[r][v] = Vec<T>{};
  switch (d) {
    case 1: accumulate<T, FORM, 1>(x, panel, 1, p, u); break;
    case 2: accumulate<T, FORM, 2>(x, panel, 2, p, u); break;
    case 3: accumulate<T, FORM, 3>(x, panel, 3, p, u); break;
    default: accumulate<T, FORM, 0>(x, panel, d, p, u);
  }
  if constexpr (FORM == HOWFAR_FORM_PRODUCT)
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> own = load(panel + (d + 1) * kPanel<T> + v * L);
      for (int r = 0; r < kRows; ++r) u[r][v] = max(u[r][v] + (own + splat(norms[r])), Vec<T>{});
    }
}

template <class T, int PROFILE, int EXPONENT>
HOWFAR_INLINE Vec<T> profile(Vec<T> u, T s, T e, T c) {
  if constexpr (PROFILE == HOWFAR_PROFILE_EXP) return exp2_of(raised<T, EXPONENT>(u, e) * splat(T(-kLog2E) * s));
  if constexpr (PROFILE == HOWFAR_PROFILE_RATIONAL) {
    const Vec<T> base = splat(T(1)) + splat(s) * u;
    if constexpr (EXPONENT == kHalf) return splat(T(1)) / sqrt(base);
    if constexpr (EXPONENT == kOne) return splat(T(1)) / base;
    return exp2_of(log2_of<T>(base) * splat(-e));
  }
  if constexpr (PROFILE == HOWFAR_PROFILE_POWER) return -raised<T, EXPONENT>(u, e);
  const Vec<T> base = splat(s) * u + splat(c);
  Vec<T> out = base;
  for (int i = 1; i < (int)e; ++i) out *= base;
  return out;
}

template <class T, int FORM, int PROFILE, int EXPONENT>
int kernel_sum_as(const howfar_pairs *a) {
  const bool norm_row = FORM == HOWFAR_FORM_PRODUCT;
  const T fold = FORM == HOWFAR_FORM_PRODUCT ? T(-2) : T(1);
  const Packed<T> columns(a, norm_row, FORM != HOWFAR_FORM_INNER, a->q <= kFewValues, fold, T(1), false, T(0));
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = (rows + kRows - 1) / kRows * kRows;
    const T s = (T)a->scale[b], e = (T)a->exponent, p = (T)a->p;
    Buffer<T> x(padded * d), norms(padded);
    ValueSums<T> values(a->q);
    pack_rows((const T *)a->x + b * a->x_step + first * d, rows, d, columns.centre(b, d), x.data, norms.data, padded);
    const int64_t chunk = chunk_panels(columns.stride, sizeof(T));
    for (int64_t start = 0; start < columns.panels; start += chunk) {
      const int64_t stop = std::min(start + chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows)
        for (int64_t panel = start; panel < stop; ++panel) {
          const T *y = columns.panel(b, panel);
          Vec<T> u[kRows][kVectors];
          base_tile<T, FORM>(x.data + row * d, norms.data + row, y, d, p, u);
          for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) u[r][v] = profile<T, PROFILE, EXPONENT>(u[r][v], s, e, p);
          const int64_t begin = panel * kPanel<T>;
          /* A column of padding has weight zero in `values`, so what its profile is does not matter. */
          values.add(row, u, y + columns.lead * kPanel<T>, (const T *)a->v + b * a->v_step + begin * a->q,
                     std::min<int64_t>(kPanel<T>, a->m - begin));
        }
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < a->q; ++c) ((T *)a->out)[(b * a->n + first + i) * a->q + c] = values.total(i, c);
  });
}

/* The k best of one row so far, kept sorted; `last` is the one to beat. */
template <class T>
struct Best {
  T *values;
  int64_t *indices;
  int64_t k;
  HOWFAR_INLINE void offer(T value, int64_t index) {
    if (!(value < values[k - 1])) return; /* columns come in rising order, so a tie loses to those before it */
    int64_t at = k - 1;
    for (; at > 0 && value < values[at - 1]; --at) values[at] = values[at - 1], indices[at] = indices[at - 1];
    values[at] = value;
    indices[at] = index;
  }
};

template <class T, int FORM, int EXPONENT>
int nearest_as(const howfar_pairs *a) {
  constexpr int L = Lanes<T>::n;
  const bool norm_row = FORM == HOWFAR_FORM_PRODUCT;
  const T fold = FORM == HOWFAR_FORM_PRODUCT ? T(-2) : T(1);
  const T nothing = std::numeric_limits<T>::infinity();
  const Packed<T> columns(a, norm_row, FORM != HOWFAR_FORM_INNER, false, fold, T(-1), false, nothing);
  return over_blocks(a, [&](int64_t b, int64_t first, int64_t rows) {
    const int64_t d = a->d, padded = (rows + kRows - 1) / kRows * kRows, k = a->k;
    const T e = (T)a->exponent, p = (T)a->p;
    Buffer<T> x(padded * d), norms(padded), values(padded * k);
    Buffer<int64_t> indices(padded * k);
    std::fill(values.data, values.data + padded * k, nothing);
    std::fill(indices.data, indices.data + padded * k, int64_t(-1));
    pack_rows((const T *)a->x + b * a->x_step + first * d, rows, d, columns.centre(b, d), x.data, norms.data, padded);
    const int64_t chunk = chunk_panels(columns.stride, sizeof(T));
    for (int64_t start = 0; start < columns.panels; start += chunk) {
      const int64_t stop = std::min(start + chunk, columns.panels);
      for (int64_t row = 0; row < padded; row += kRows)
        for (int64_t panel = start; panel < stop; ++panel) {
          const T *y = columns.panel(b, panel);
          Vec<T> u[kRows][kVectors];
          base_tile<T, FORM>(x.data + row * d, norms.data + row, y, d, p, u);
          for (int v = 0; v < kVectors; ++v) {
            const Vec<T> bias = load(y + d * kPanel<T> + v * L);
            for (int r = 0; r < kRows; ++r) {
              if constexpr (FORM == HOWFAR_FORM_INNER) u[r][v] = splat(T(1)) - u[r][v];
              u[r][v] = raised<T, EXPONENT>(u[r][v], e) + bias;
            }
          }
          for (int r = 0; r < kRows; ++r) {
            Best<T> best{values.data + (row + r) * k, indices.data + (row + r) * k, k};
            Vec<T> least = u[r][0];
            for (int v = 1; v < kVectors; ++v) least = min(least, u[r][v]);
            if (!any_greater(splat(best.values[k - 1]), least)) continue;
            alignas(64) T tile[kPanel<T>];
            for (int v = 0; v < kVectors; ++v) store(tile + v * L, u[r][v]);
            const int64_t begin = panel * kPanel<T>;
            for (int c = 0; c < kPanel<T>; ++c) best.offer(tile[c], begin + c);
          }
        }
    }
    std::copy(values.data, values.data + rows * k, (T *)a->out + (b * a->n + first) * k);
    std::copy(indices.data, indices.data + rows * k, a->indices + (b * a->n + first) * k);
  });
}

/* From run-time numbers to the compiled variant. */
template <template <class, int, int> class Op, class T, int FORM>
int with_exponent(const howfar_pairs *a) {
  if (a->exponent == 1.0) return Op<T, FORM, kOne>::run(a);
  if (a->exponent == 0.5) return Op<T, FORM, kHalf>::run(a);
  return Op<T, FORM, kAny>::run(a);
}
template <template <class, int, int> class Op, class T>
int with_form(const howfar_pairs *a) {
  switch (a->form) {
    case HOWFAR_FORM_PRODUCT: return with_exponent<Op, T, HOWFAR_FORM_PRODUCT>(a);
    case HOWFAR_FORM_DIFFERENCE: return with_exponent<Op, T, HOWFAR_FORM_DIFFERENCE>(a);
    case HOWFAR_FORM_CITYBLOCK: return with_exponent<Op, T, HOWFAR_FORM_CITYBLOCK>(a);
    case HOWFAR_FORM_MINKOWSKI: return with_exponent<Op, T, HOWFAR_FORM_MINKOWSKI>(a);
    default: return Op<T, HOWFAR_FORM_INNER, kOne>::run(a);
  }
}

template <class T, int FORM, int EXPONENT>
struct Softmin {
  static int run(const howfar_pairs *a) { return a->q ? softmin_as<T, FORM, EXPONENT, true>(a) : softmin_as<T, FORM, EXPONENT, false>(a); }
};
template <class T, int FORM, int EXPONENT>
struct Gibbs {
  static int run(const howfar_pairs *a) { return gibbs_as<T, FORM, EXPONENT>(a); }
};
template <class T, int FORM, int EXPONENT>
struct Nearest {
  static int run(const howfar_pairs *a) { return nearest_as<T, FORM, EXPONENT>(a); }
};
template <class T, int FORM, int EXPONENT>
struct KernelSum {
  static int run(const howfar_pairs *a) {
    switch (a->profile) {
      case HOWFAR_PROFILE_EXP: return kernel_sum_as<T, FORM, HOWFAR_PROFILE_EXP, EXPONENT>(a);
      case HOWFAR_PROFILE_RATIONAL: return kernel_sum_as<T, FORM, HOWFAR_PROFILE_RATIONAL, EXPONENT>(a);
      case HOWFAR_PROFILE_POWER: return kernel_sum_as<T, FORM, HOWFAR_PROFILE_POWER, EXPONENT>(a);
      default: return kernel_sum_as<T, FORM, HOWFAR_PROFILE_POLYNOMIAL, kOne>(a);
    }
  }
};

template <template <class, int, int> class Op, class T>
int guarded(const howfar_pairs *a) {
  try {
    return with_form<Op, T>(a);
  } catch (const std::bad_alloc &) {
    return -1;
  }
}

}  // namespace

extern const Kernels kernels = {guarded<Softmin, float>,   guarded<Softmin, double>,   guarded<Gibbs, float>,
                                guarded<Gibbs, double>,    guarded<KernelSum, float>,  guarded<KernelSum, double>,
                                guarded<Nearest, float>,   guarded<Nearest, double>};

}  // namespace HOWFAR_SET
}  // namespace howfar
