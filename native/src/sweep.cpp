#include "truncation.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

constexpr int64_t kWeightBytes = 1 << 19; /* of the weights of a block of rows: half of a common second-level cache */
constexpr int64_t kMostRows = 64;         /* in a block */

/* The potential of a point without mass. */
template <class T>
constexpr T kNone = -std::numeric_limits<T>::infinity();

/* log2 of the sums and factors that lose no digits: what flushes to zero is far below, and nothing overflows. */
template <class T>
constexpr int kLow = sizeof(T) == 4 ? -30 : -300;
template <class T>
constexpr int kHigh = sizeof(T) == 4 ? 60 : 600;
/* log2 of the least sum that a row or a column may have, in units of a promise that is kept, where pairs are left out. */
constexpr int kLeastShare = -3;

template <class T>
int64_t rows_of_block(int64_t columns) {
  return least(kMostRows, most(kRows, kWeightBytes / (columns * (int64_t)sizeof(T)) / kRows * kRows));
}

/* The panels that a block of rows looks at: all, or those of spans with a weight of at least 2^floor. */
template <class T, int KIND>
struct Seen {
  const Spans<T> &spans;
  double floor;
  int64_t count = 0;
  Buffer<int32_t> panels;
  Buffer<T> bounds;

  Seen(const Spans<T> &spans_, int64_t all, double floor_)
      : spans(spans_), floor(floor_), panels(all), bounds(spans.used ? spans.lanes : 1) {
    for (int64_t p = 0; p < all; ++p) panels.data[p] = (int32_t)p;
    count = all;
  }

  void look(const Scores<T, KIND> &scores, int64_t b, int64_t rows, const T *x, const T *shift, int64_t all) {
    if (!spans.used) return;
    T highest, lowest, nearest = shift[0];
    for (int64_t i = 1; i < rows; ++i) nearest = shift[i] > nearest ? shift[i] : nearest;
    spans.bound(scores, b, rows, x, bounds.data, highest, lowest);
    count = 0;
    for (int64_t s = 0; s < spans.count; ++s) {
      if (!((double)bounds.data[s] - kLogSpan + (double)nearest >= floor)) continue;
      for (int64_t p = s * Spans<T>::kPanels; p < least((s + 1) * Spans<T>::kPanels, all); ++p)
        panels.data[count++] = (int32_t)p;
    }
  }
};

template <class T, int KIND>
int sweep_as(const howfar_sweep *call) {
  howfar_pairs pairs = call->pairs;
  pairs.v = call->b, pairs.v_step = call->b_step, pairs.q = 1;
  const howfar_pairs *a = &pairs;
  const bool norm_row = KIND == kGeneral && a->form == HOWFAR_FORM_PRODUCT;
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, norm_row, true, [a](int64_t b) {
    Packing<T> how;
    how.bias = (T)(a->scale[b] * kLog2E);
    how.norm_in_bias = KIND == kFolded;
    return how;
  });
  const Spans<T> spans(a, columns, call->truncate && can_truncate<T, KIND>(a));
  const int64_t d = a->d, width = call->columns, block = rows_of_block<T>(width), part = call->part;
  const int64_t parts = (a->n + part - 1) / part, begin = a->row_begin / part, end = (a->row_end + part - 1) / part;
  const double least_sum = spans.used ? kLeastShare : kLow<T>;
  const auto total = [](const T *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += (double)values[i];
    return sum;
  };
  const auto fits = [&](double logarithm) { return logarithm >= least_sum && logarithm <= kHigh<T>; };

  const int failed = in_parallel(a->batch * (end - begin), a->threads, [&](int64_t task) {
    const int64_t b = task / (end - begin), own_part = begin + task % (end - begin);
    const int64_t last = least((own_part + 1) * part, a->n);
    /* Of the temperature that the scores have, which is rounded. */
    const double k = (double)(T)(a->scale[b] * kLog2E);
    const Scores<T, KIND> scores(a, KIND == kFolded ? 2 * (T)k : -(T)k);
    const T *near = (const T *)a->f + b * a->f_step, *mass = (const T *)call->a + b * call->a_step;
    T *sums = (T *)call->partial + (b * parts + own_part) * width, *out = (T *)call->f + b * a->n;
    int64_t &so_far = call->good[b * parts + own_part];
    bool good = call->part_begin == 0 || so_far;
    for (int64_t j = 0; call->part_begin == 0 && j < width; ++j) sums[j] = T(0);
    /* What a row and a column may lose lies kLost below the least that they may hold. */
    const double floor = spans.used ? kLost<T> + 2 * kLeastShare -
                                          std::log2(total(mass, a->n) + total((const T *)call->b + b * call->b_step, a->m))
                                    : 0.0;
    Seen<T, KIND> seen(spans, columns.panels, floor);
    Buffer<T> x(block * d), norms(block), shift(block), factor(block), weights(block * width);
    Buffer<Vec<T>> held(block);
    Vec<T> highest = splat(kEmpty<T>);
    /* Where blocks start depends on no call. */
    const int64_t start_of_part = own_part * part, stop_rows = least(last, start_of_part + call->part_end);
    for (int64_t first = start_of_part + (call->part_begin + block - 1) / block * block; first < stop_rows; first += block) {
      const int64_t rows = least(block, last - first), padded = padded_rows(rows);
      columns.pack_rows(a, b, first, rows, x.data, norms.data);
      for (int64_t i = 0; i < padded; ++i) {
        const T own = i < rows ? near[first + i] : kNone<T>, norm = KIND == kFolded ? norms.data[i] : T(0);
        shift.data[i] = own == kNone<T> ? kEmpty<T> : (T)k * (own - norm);
        held.data[i] = Vec<T>{};
      }
      seen.look(scores, b, rows, x.data, shift.data, columns.panels);
      for (int64_t start = 0; start < seen.count; start += columns.chunk) {
        const int64_t stop = least(start + columns.chunk, seen.count);
        for (int64_t row = 0; row < padded; row += kRows) {
          Vec<T> s[kRows] = {};
          for (int64_t at = start; at < stop; ++at) {
            const T *y = columns.panel(b, seen.panels.data[at]), *value = columns.values(y);
            T *to = weights.data + (at * padded + row) * kPanel<T>;
            Tile<T> t;
            scores.tile(x.data + row * d, norms.data + row, y, t);
            for (int v = 0; v < kVectors; ++v) {
              const Vec<T> weight = load(value + v * Lanes<T>::n);
              for (int r = 0; r < kRows; ++r) {
                t[r][v] += splat(shift.data[row + r]);
                highest = max(highest, t[r][v]);
                t[r][v] = exp2_of(t[r][v]);
                s[r] += t[r][v] * weight;
                store(to + r * kPanel<T> + v * Lanes<T>::n, t[r][v]);
              }
            }
          }
          for (int r = 0; r < kRows; ++r) held.data[row + r] += s[r];
        }
      }
      for (int64_t i = 0; i < padded; ++i) {
        factor.data[i] = T(0);
        if (i >= rows || near[first + i] == kNone<T>) {
          if (i < rows) out[first + i] = T(0);
          continue;
        }
        const double norm = KIND == kFolded ? (double)norms.data[i] : 0.0, lifted = (double)shift.data[i];
        const double logarithm = std::log2((double)sum_lanes<T>(held.data[i]));
        const double damped = call->damping[b] * (norm - (logarithm - lifted) / k);
        const double potential = damped > call->bound ? call->bound : damped < -call->bound ? -call->bound : damped;
        const double exponent = k * (potential - norm) - lifted;
        good = good && fits(logarithm) && fits(-exponent);
        factor.data[i] = good ? (T)((double)mass[first + i] * std::exp2(exponent)) : T(0);
        out[first + i] = (T)potential;
      }
      for (int64_t at = 0; at < seen.count; ++at) {
        const T *from = weights.data + at * padded * kPanel<T>;
        T *to = sums + seen.panels.data[at] * kPanel<T>;
        Vec<T> s[kVectors] = {};
        for (int64_t i = 0; i < padded; ++i)
          for (int v = 0; v < kVectors; ++v)
            s[v] += splat(factor.data[i]) * load(from + i * kPanel<T> + v * Lanes<T>::n);
        for (int v = 0; v < kVectors; ++v) store(to + v * Lanes<T>::n, load(to + v * Lanes<T>::n) + s[v]);
      }
    }
    so_far = good && max_lanes<T>(highest) <= T(kHigh<T>);
  });
  if (failed || a->row_end < a->n || call->part_end < part) return failed;

  return in_parallel(a->batch, a->threads, [&](int64_t b) {
    const double k = (double)(T)(a->scale[b] * kLog2E);
    const T *y = (const T *)a->y + b * a->y_step, *h = (const T *)a->h + b * a->h_step;
    const T *centre = columns.centres.data + (columns.problems == 1 ? 0 : b) * d;
    T *soft = (T *)call->soft + b * a->m;
    bool good = true;
    for (int64_t p = 0; p < parts; ++p) good = good && call->good[b * parts + p];
    for (int64_t j = 0; good && j < a->m; ++j) {
      const T bias = columns.panel(b, j / kPanel<T>)[d * kPanel<T> + j % kPanel<T>];
      if (h[j] == kNone<T>) {
        soft[j] = T(0);
        continue;
      }
      double sum = 0;
      for (int64_t p = 0; p < parts; ++p) sum += (double)((const T *)call->partial)[(b * parts + p) * width + j];
      const double logarithm = std::log2(sum);
      good = fits(logarithm);
      T norm = 0;
      for (int64_t c = 0; KIND == kFolded && c < d; ++c) {
        const T value = y[j * d + c] - centre[c];
        norm += value * value;
      }
      soft[j] = (T)((double)norm + ((double)bias - logarithm) / k);
    }
    call->good[b * parts] = good;
  });
}

template <class T>
int sweep(const howfar_sweep *call) {
  try {
    switch (kind_of(&call->pairs)) {
      case kFolded: return sweep_as<T, kFolded>(call);
      case kDifference: return sweep_as<T, kDifference>(call);
      default: return sweep_as<T, kGeneral>(call);
    }
  } catch (const std::bad_alloc &) {
    return HOWFAR_NO_MEMORY;
  }
}

}  // namespace

int sweep_f32(const howfar_sweep *call) { return sweep<float>(call); }
int sweep_f64(const howfar_sweep *call) { return sweep<double>(call); }

}  // namespace HOWFAR_SET
}  // namespace howfar
