/* Sinkhorn's alternation of whole problems that fit in cache, one problem for each thread.
 *
 * With references F, G and the kernel K_ij = 2^((F_i + G_j - c_ij) log2(e) / eps - top), kept, an update is a product
 * with K: potentials are written f = F + eps log(alpha), g = G + eps log(beta), and where alpha or beta leave the range
 * in which entries of K that rounded to zero are of no account, the references move to the potentials and K is computed
 * again (Schmitzer 2019). The rows meet K once for both updates: what a block of rows has just been summed to scales it
 * on its way into the sums of the columns. */
#include "tiles.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

/* K is at most 1 and its smallest entries are 2^-126 (2^-1022): in these ranges an entry that is missing is less than
 * 2^-30 (2^-300) of any sum it is missing from. */
template <class T>
constexpr T kFar = sizeof(T) == 4 ? T(0x1p60) : T(0x1p450);
template <class T>
constexpr T kNear = sizeof(T) == 4 ? T(0x1p30) : T(0x1p250);

/* How often it is asked whether the error falls quickly enough. */
constexpr int64_t kPeriod = 16;

constexpr int64_t kTogether = 4 * kRows; /* rows between two visits of the columns' sums */

template <class T, int N>
struct Halves {
  typedef T V __attribute__((vector_size(N * sizeof(T))));
  static HOWFAR_INLINE T sum(V v) {
    if constexpr (N == 2) {
      return v[0] + v[1];
    } else {
      typename Halves<T, N / 2>::V half[2];
      std::memcpy(half, &v, sizeof v);
      return Halves<T, N / 2>::sum(half[0] + half[1]);
    }
  }
};

template <class T>
HOWFAR_INLINE T sum_of(Vec<T> v) {
  return Halves<T, Lanes<T>::n>::sum(v);
}

/* The smallest and the largest of what it is shown. */
template <class T>
struct Range {
  Vec<T> low = splat(std::numeric_limits<T>::max()), high = splat(T(0));
  HOWFAR_INLINE void see(Vec<T> v) { low = min(low, v), high = max(high, v); }
  bool within(T bound) const { return -max_lanes<T>(-low) >= 1 / bound && max_lanes<T>(high) <= bound; }
};

/* One problem. Rows and columns are padded by copies of the last one that have no weight. */
template <class T>
struct Alternation {
  static constexpr int L = Lanes<T>::n;
  const howfar_alternation &call;
  const int64_t b, n, m, rows, columns;
  Buffer<T> cost, kernel;
  Buffer<T> weight_x, weight_y, f, g, reference_x, reference_y;
  Buffer<T> alpha, beta; /* 2^((f - F) log2(e) / eps + top), 2^((g - G) log2(e) / eps) */
  Buffer<T> row_sums, column_sums, weighted, conjugate;
  double eps = 0;
  T inverse = 0, damping = 1, top = 0;
  bool g_is_known = true; /* or only as beta */

  Alternation(const howfar_alternation &call_, int64_t b_)
      : call(call_), b(b_), n(call_.pairs.n), m(call_.pairs.m),
        rows((n + kTogether - 1) / kTogether * kTogether),
        columns((m + kPanel<T> - 1) / kPanel<T> * kPanel<T>),
        cost(rows * columns), kernel(rows * columns),
        weight_x(rows), weight_y(columns), f(rows), g(columns), reference_x(most(rows, columns)), reference_y(columns),
        alpha(rows), beta(columns), row_sums(most(rows, columns)), column_sums(columns), weighted(columns), conjugate(columns) {
    static_assert(kTogether % L == 0, "rows are a multiple of a vector");
    fetch((const T *)call.a + b * call.a_step, n, rows, weight_x.data, T(0));
    fetch((const T *)call.b + b * call.b_step, m, columns, weight_y.data, T(0));
    const T *start = (const T *)call.g + b * m;
    fetch(start, m, columns, g.data, start[m - 1]);
    for (int64_t i = 0; i < rows; ++i) f.data[i] = T(0);
  }

  static void fetch(const T *from, int64_t count, int64_t padded, T *to, T rest) {
    for (int64_t i = 0; i < padded; ++i) to[i] = i < count ? from[i] : rest;
  }

  void pad_cost() {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = m; j < columns; ++j) cost.data[i * columns + j] = cost.data[i * columns + m - 1];
    for (int64_t i = n; i < rows; ++i)
      std::memcpy(cost.data + i * columns, cost.data + (n - 1) * columns, columns * sizeof(T));
  }

  void take_cost(const Packed<T> *clouds) {
    if (!clouds) {
      const T *given = (const T *)call.cost + b * call.cost_step;
      for (int64_t i = 0; i < n; ++i) std::memcpy(cost.data + i * columns, given + i * m, m * sizeof(T));
      return pad_cost();
    }
    const howfar_pairs &p = call.pairs;
    const General<T> general{p.form, p.d, (T)p.p, (T)p.exponent, (T)call.factor};
    const int64_t padded = padded_rows(n);
    Buffer<T> x(padded * p.d), norms(padded);
    clouds->pack_rows(&p, b, 0, n, x.data, norms.data);
    for (int64_t panel = 0; panel < clouds->panels; ++panel)
      for (int64_t row = 0; row < padded; row += kRows) {
        alignas(64) T tile[kRows * kPanel<T>];
        general.tile(x.data + row * p.d, norms.data + row, clouds->panel(b, panel), tile, nullptr);
        for (int64_t r = 0; r < kRows; ++r)
          std::memcpy(cost.data + (row + r) * columns + panel * kPanel<T>, tile + r * kPanel<T>, kPanel<T> * sizeof(T));
      }
    pad_cost();
  }

  void set_temperature(double value) {
    eps = value;
    inverse = (T)(kLog2E / eps);
    damping = call.rho > 0 ? (T)(call.rho / (call.rho + eps)) : T(1);
  }

  /* Near the update of f, whatever g is: f_i = min of c_ij - g_j over the columns that weigh something. */
  void transform_rows() {
    for (int64_t i = 0; i < rows; ++i) {
      Vec<T> lowest = splat(kNothing);
      for (int64_t j = 0; j < columns; j += L)
        lowest = min(lowest, where_heavy(load(weight_y.data + j),
                                         load(cost.data + i * columns + j) - load(g.data + j)));
      f.data[i] = -max_lanes<T>(-lowest);
    }
  }
  void transform_columns() {
    for (int64_t j = 0; j < columns; j += L) {
      Vec<T> lowest = splat(kNothing);
      for (int64_t i = 0; i < rows; ++i)
        lowest = min(lowest, where_heavy(splat(weight_x.data[i]),
                                         load(cost.data + i * columns + j) - splat(f.data[i])));
      store(conjugate.data + j, lowest);
    }
  }
  static constexpr T kNothing = std::numeric_limits<T>::max();
  static HOWFAR_INLINE Vec<T> where_heavy(Vec<T> weight, Vec<T> value) {
    typedef typename Lanes<T>::I I;
    const I heavy = (I)(weight > Vec<T>{});
    return (Vec<T>)(((I)value & heavy) | ((I)splat(kNothing) & ~heavy));
  }

  /* Moves the references to f and to `y`; alpha is what it is at f, beta what it is at y. */
  void absorb(const T *y) {
    Vec<T> highest = splat(-std::numeric_limits<T>::max());
    const Vec<T> scale = splat(inverse);
    for (int64_t i = 0; i < rows; ++i) {
      const bool counts = weight_x.data[i] > 0; /* what a pair without any weight is, no sum will see */
      const Vec<T> own = splat(f.data[i]);
      for (int64_t j = 0; j < columns; j += L) {
        const Vec<T> score = scale * (own + load(y + j) - load(cost.data + i * columns + j));
        highest = max(highest, counts ? score : -where_heavy(load(weight_y.data + j), -score));
        store(kernel.data + i * columns + j, score);
      }
    }
    top = max_lanes<T>(highest);
    for (int64_t k = 0; k < rows * columns; k += L)
      store(kernel.data + k, exp2_of(min(load(kernel.data + k) - splat(top), Vec<T>{})));
    std::memcpy(reference_x.data, f.data, rows * sizeof(T));
    std::memcpy(reference_y.data, y, columns * sizeof(T));
    const T full = (T)std::exp2((double)(top < kNear<T> ? top : T(0)));
    for (int64_t i = 0; i < rows; ++i) alpha.data[i] = full;
    for (int64_t j = 0; j < columns; ++j) beta.data[j] = T(1);
  }

  /* row_sums_i = sum_j K_ij v_j of kTogether rows. */
  HOWFAR_INLINE void sum_rows(int64_t first, const T *v) {
    for (int64_t row = first; row < first + kTogether; row += kRows) {
      Vec<T> sum[kRows][2] = {};
      const T *k = kernel.data + row * columns;
      for (int64_t j = 0; j < columns; j += 2 * L) {
        const Vec<T> left = load(v + j), right = load(v + j + L);
        for (int r = 0; r < kRows; ++r) {
          sum[r][0] += load(k + r * columns + j) * left;
          sum[r][1] += load(k + r * columns + j + L) * right;
        }
      }
      for (int r = 0; r < kRows; ++r) row_sums.data[row + r] = sum_of<T>(sum[r][0] + sum[r][1]);
    }
  }

  HOWFAR_INLINE void add_to_columns(int64_t first) {
    for (int64_t row = first; row < first + kTogether; row += kRows) {
      const T *k = kernel.data + row * columns;
      Vec<T> w[kRows];
      for (int r = 0; r < kRows; ++r) w[r] = splat(weight_x.data[row + r] * alpha.data[row + r]);
      for (int64_t j = 0; j < columns; j += L) {
        Vec<T> sum = load(column_sums.data + j);
        for (int r = 0; r < kRows; ++r) sum += w[r] * load(k + r * columns + j);
        store(column_sums.data + j, sum);
      }
    }
  }

  HOWFAR_INLINE Vec<T> power_of(Vec<T> t) const { return exp2_of(min(t, splat(T(sizeof(T) == 4 ? 126 : 1022)))); }

  /* f and alpha of kTogether rows from their sums. */
  HOWFAR_INLINE void update_rows(int64_t first, Range<T> &sums, Range<T> &scalings) {
    for (int64_t i = first; i < first + kTogether; i += L) {
      const Vec<T> sum = load(row_sums.data + i);
      sums.see(sum);
      if (call.rho > 0) {
        const Vec<T> reference = load(reference_x.data + i);
        const Vec<T> updated = splat(damping) * (reference - (log2_of<T>(sum) + splat(top)) / splat(inverse));
        store(f.data + i, updated);
        store(alpha.data + i, power_of((updated - reference) * splat(inverse) + splat(top)));
      } else {
        store(alpha.data + i, splat(T(1)) / sum);
      }
      scalings.see(load(alpha.data + i));
    }
  }

  /* f from g, and the sums of the columns under it; whether K can be trusted with them. */
  bool rows_then_columns() {
    start_sums();
    Range<T> sums, scalings, totals;
    for (int64_t row = 0; row < rows; row += kTogether) {
      sum_rows(row, weighted.data);
      update_rows(row, sums, scalings);
      add_to_columns(row);
    }
    for (int64_t j = 0; j < columns; j += L) totals.see(load(column_sums.data + j));
    return sums.within(kFar<T>) && scalings.within(kFar<T>) && totals.within(kNear<T>);
  }
  void start_sums() {
    for (int64_t j = 0; j < columns; j += L) {
      store(weighted.data + j, load(weight_y.data + j) * load(beta.data + j));
      store(column_sums.data + j, Vec<T>{});
    }
  }

  /* The potentials that alpha and beta stand for, where they are not kept already. */
  void settle_f() {
    if (call.rho > 0) return;
    for (int64_t i = 0; i < rows; i += L)
      store(f.data + i, load(reference_x.data + i) + (log2_of<T>(load(alpha.data + i)) - splat(top)) / splat(inverse));
  }
  void settle_g() {
    if (g_is_known) return;
    g_is_known = true;
    for (int64_t j = 0; j < columns; j += L)
      store(g.data + j, load(reference_y.data + j) + log2_of<T>(load(beta.data + j)) / splat(inverse));
  }

  /* As rows_then_columns; where the references do not suit, about some for each half. False where there are none. */
  bool update_f() {
    if (rows_then_columns()) return true;
    settle_g();
    transform_rows();
    transform_columns();
    /* A column without weight may have any g, which must not be what K is measured by. */
    for (int64_t j = 0; j < columns; ++j)
      if (weight_y.data[j] > 0) conjugate.data[j] = g.data[j];
    absorb(conjugate.data);
    start_sums();
    Range<T> sums, ignored, totals;
    for (int64_t row = 0; row < rows; row += kTogether) {
      sum_rows(row, weighted.data);
      update_rows(row, sums, ignored);
    }
    settle_f();
    transform_columns();
    absorb(conjugate.data);
    for (int64_t j = 0; j < columns; j += L)
      store(beta.data + j, power_of((load(g.data + j) - load(reference_y.data + j)) * splat(inverse)));
    for (int64_t row = 0; row < rows; row += kTogether) add_to_columns(row);
    for (int64_t j = 0; j < columns; j += L) totals.see(load(column_sums.data + j));
    return sums.within(kFar<T>) && totals.within(kFar<T>);
  }

  static constexpr T kMost = sizeof(T) == 4 ? T(0x1p100) : T(0x1p1000); /* whose sums are finite */

  /* L1 distance of the column masses from what g promises, relative to the mass. */
  double column_error() const {
    Vec<T> gap = {}, mass = {};
    for (int64_t j = 0; j < columns; j += L) {
      const Vec<T> weight = load(weight_y.data + j);
      const Vec<T> has = min(load(beta.data + j) * load(column_sums.data + j), splat(kMost));
      const Vec<T> wants = call.rho > 0 ? power_of(load(g.data + j) * splat((T)(-kLog2E / call.rho))) : splat(T(1));
      gap += weight * absolute(has - wants);
      mass += weight * wants;
    }
    return (double)sum_of<T>(gap) / (double)sum_of<T>(mass);
  }

  /* g from the sums of the columns; whether K can be trusted with it. */
  bool update_g() {
    Range<T> scalings;
    g_is_known = call.rho > 0;
    for (int64_t j = 0; j < columns; j += L) {
      const Vec<T> sum = load(column_sums.data + j);
      if (call.rho > 0) {
        const Vec<T> reference = load(reference_y.data + j);
        const Vec<T> updated = splat(damping) * (reference - log2_of<T>(sum) / splat(inverse));
        store(g.data + j, updated);
        store(beta.data + j, power_of((updated - reference) * splat(inverse)));
      } else {
        store(beta.data + j, splat(T(1)) / sum);
      }
      scalings.see(load(beta.data + j));
    }
    return scalings.within(kNear<T>);
  }

  void advance() {
    if (update_g()) return;
    settle_f();
    settle_g();
    absorb(g.data);
  }

  /* The sums of the rows for one measure against itself, whose potential is g: f only refers. */
  bool symmetric_sums() {
    for (int attempt = 0; attempt < 2; ++attempt) {
      for (int64_t j = 0; j < columns; j += L)
        store(weighted.data + j, load(weight_y.data + j) * load(beta.data + j));
      Range<T> sums, scalings;
      for (int64_t row = 0; row < rows; row += kTogether) sum_rows(row, weighted.data);
      for (int64_t i = 0; i < rows; i += L) sums.see(load(row_sums.data + i));
      for (int64_t i = rows; i < columns; ++i) row_sums.data[i] = row_sums.data[n - 1];
      for (int64_t j = 0; j < columns; j += L) scalings.see(load(beta.data + j));
      if (sums.within(kFar<T>) && scalings.within(kNear<T>)) return true;
      absorb_symmetric();
    }
    return false;
  }
  void absorb_symmetric() {
    transform_rows();
    absorb(g.data);
    for (int64_t i = rows; i < columns; ++i) reference_x.data[i] = reference_x.data[n - 1];
  }
  double symmetric_update(bool move) {
    Vec<T> gap = {}, mass = {};
    for (int64_t j = 0; j < columns; j += L) {
      const Vec<T> own = load(g.data + j), reference = load(reference_x.data + j), weight = load(weight_y.data + j);
      const Vec<T> logarithm = log2_of<T>(load(row_sums.data + j)) + splat(top);
      const Vec<T> has = min(power_of((own - reference) * splat(inverse) + logarithm), splat(kMost));
      const Vec<T> wants = call.rho > 0 ? power_of(own * splat((T)(-kLog2E / call.rho))) : splat(T(1));
      gap += weight * absolute(has - wants);
      mass += weight * wants;
      if (move) {
        const Vec<T> soft = reference - logarithm / splat(inverse);
        const Vec<T> updated = own + splat(T(2.0 / 3)) * (splat(damping) * soft - own);
        store(g.data + j, updated);
        store(beta.data + j, power_of((updated - load(reference_y.data + j)) * splat(inverse)));
      }
    }
    /* Its rows and its columns miss by the same. */
    return 2 * (double)sum_of<T>(gap) / (double)sum_of<T>(mass);
  }

  static double mean(const T *potential, const T *weight, int64_t count) {
    double sum = 0, mass = 0;
    for (int64_t i = 0; i < count; ++i) sum += (double)weight[i] * potential[i], mass += weight[i];
    return sum / mass;
  }

  /* Of all f - c, g + c that are the same answer, the balanced pair has the least rounding. */
  void balance() {
    const T shift =
        (T)(0.5 * (mean(f.data, weight_x.data, n) - mean(g.data, weight_y.data, m)));
    for (int64_t i = 0; i < rows; ++i) f.data[i] -= shift;
    for (int64_t j = 0; j < columns; ++j) g.data[j] += shift;
  }

  /* One iteration at each temperature from the start down to, and without, the last. */
  bool anneal(double start, double last) {
    bool moved = false;
    for (double value = start; value > last; value = value / 2, moved = true) {
      set_temperature(value);
      if (!moved) transform_rows();
      absorb(g.data);
      if (!update_f()) return false;
      settle_f();
      update_g();
      settle_g();
    }
    if (moved && !(call.rho > 0)) balance();
    set_temperature(last);
    if (call.symmetric) {
      absorb_symmetric();
    } else {
      if (!moved) transform_rows();
      absorb(g.data);
    }
    return true;
  }

  /* Whether the error, at the rate of the last period, reaches tol in the iterations that are left. */
  bool is_on_its_way(double error, double before, int64_t left) const {
    if (!(error < before)) return false;
    return std::log(error / call.tol) * kPeriod <= std::log(before / error) * (double)left;
  }

  bool run() {
    double error = std::numeric_limits<double>::infinity(), before = error;
    int64_t done = 0;
    if (!anneal(call.start[b], call.eps[b])) return false;
    while (done < call.count) {
      ++done;
      if (call.symmetric) {
        if (!symmetric_sums()) return false;
        error = symmetric_update(false);
      } else {
        if (!update_f()) return false;
        error = column_error();
      }
      if (!(error > call.tol) || done == call.count) break;
      if (done % kPeriod == 0) {
        if (call.tol > 0 && done > kPeriod && !is_on_its_way(error, before, call.count - done)) break;
        before = error;
      }
      if (call.symmetric)
        symmetric_update(true);
      else
        advance();
    }
    if (!(error < std::numeric_limits<double>::infinity())) return false;
    if (call.symmetric) {
      std::memcpy((T *)call.f + b * n, g.data, n * sizeof(T));
    } else {
      settle_f();
      settle_g();
      std::memcpy((T *)call.f + b * n, f.data, n * sizeof(T));
    }
    std::memcpy((T *)call.g + b * m, g.data, m * sizeof(T));
    call.error[b] = error;
    call.iterations[b] = done;
    return true;
  }
};

template <class T>
int alternate(const howfar_alternation *call) {
  const howfar_pairs *pairs = &call->pairs;
  const auto solve = [&](const Packed<T> *clouds) {
    return in_parallel(pairs->batch, pairs->threads, [&](int64_t b) {
      Alternation<T> problem(*call, b);
      problem.take_cost(clouds);
      if (!problem.run()) call->iterations[b] = -1;
    });
  };
  try {
    if (call->cost) return solve(nullptr);
    const bool product = pairs->form == HOWFAR_FORM_PRODUCT;
    const Packed<T> clouds(pairs, product, product, false, [](int64_t) { return Packing<T>(); });
    return solve(&clouds);
  } catch (const std::bad_alloc &) {
    return HOWFAR_NO_MEMORY;
  }
}

}  // namespace

int alternate_f32(const howfar_alternation *call) { return alternate<float>(call); }
int alternate_f64(const howfar_alternation *call) { return alternate<double>(call); }

}  // namespace HOWFAR_SET
}  // namespace howfar
