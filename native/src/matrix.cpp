/* Reductions of an explicit matrix. Lanes are kept apart: a strip is one panel of results when columns are own, and of
 * partial results of one row, joined at its end, when rows are. So the rows of the matrix are read as they lie either
 * way. Scores are scale (h - c), the difference first, which loses no digits where h and c agree. */
#include "combine.h"
#include "simd.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

constexpr int64_t kStrips = 8; /* panels of columns that a thread takes together: 2 kB of a row of floats */
constexpr int64_t kSteps = 32; /* sums run over so many steps and then over those sums */

template <class T>
constexpr T kRoom = sizeof(T) == 4 ? T(60) : T(500);

/* What softmin.cpp and Packed know of a call: the other side as columns without features. */
howfar_pairs as_pairs(const howfar_matrix *a) {
  howfar_pairs of = {};
  of.h = a->h, of.v = a->v, of.out = a->out, of.averages = a->averages, of.scale = a->scale;
  of.batch = a->batch, of.q = a->q, of.h_step = a->h_step, of.v_step = a->v_step, of.threads = a->threads;
  of.n = a->over_rows ? a->m : a->n, of.m = a->over_rows ? a->n : a->m;
  of.row_begin = a->begin, of.row_end = a->end;
  return of;
}

/* Sums of 2^(t - m) in each lane of a strip, and of values under these weights; m follows t at a distance. */
template <class T>
struct Strip {
  Vec<T> m[kVectors], s[kVectors], total[kVectors];
  Vec<T> *sums; /* (q, kVectors), then as many of the steps since the last flush */
  int64_t q;

  void start(Vec<T> *memory, int64_t q_) {
    sums = memory, q = q_;
    for (int v = 0; v < kVectors; ++v) m[v] = splat(kEmpty<T>), s[v] = total[v] = Vec<T>{};
    for (int64_t i = 0; i < 2 * q * kVectors; ++i) sums[i] = Vec<T>{};
  }
  __attribute__((noinline)) void rescale(const Vec<T> *t) {
    typedef typename Lanes<T>::I I;
    for (int v = 0; v < kVectors; ++v) {
      const I grown = (I)(t[v] - m[v] > splat(kRoom<T>));
      const Vec<T> reference = (Vec<T>)(((I)t[v] & grown) | ((I)m[v] & ~grown));
      const Vec<T> fade = (Vec<T>)(((I)exp2_of(m[v] - reference) & grown) | ((I)splat(T(1)) & ~grown));
      m[v] = reference, s[v] *= fade, total[v] *= fade;
      for (int64_t c = 0; c < 2 * q; ++c) sums[c * kVectors + v] *= fade;
    }
  }
  /* Scores in, weights out. */
  HOWFAR_INLINE void add(Vec<T> *t) {
    Vec<T> excess = t[0] - m[0];
    for (int v = 1; v < kVectors; ++v) excess = max(excess, t[v] - m[v]);
    if (__builtin_expect(any_greater(excess, splat(kRoom<T>)), 0)) rescale(t);
    for (int v = 0; v < kVectors; ++v) t[v] = exp2_of(t[v] - m[v]), s[v] += t[v];
  }
  HOWFAR_INLINE void add_value(int64_t c, int v, Vec<T> term) { sums[(q + c) * kVectors + v] += term; }
  void flush() {
    for (int v = 0; v < kVectors; ++v) total[v] += s[v], s[v] = Vec<T>{};
    for (int64_t i = 0; i < q * kVectors; ++i) sums[i] += sums[q * kVectors + i], sums[q * kVectors + i] = Vec<T>{};
  }
};

/* A row's entries of one panel, zeros after its last. */
template <class T>
HOWFAR_INLINE const T *entries(const T *row, int64_t panel, int64_t m, T *spare) {
  const int64_t left = m - panel * kPanel<T>;
  if (left >= kPanel<T>) return row + panel * kPanel<T>;
  for (int c = 0; c < kPanel<T>; ++c) spare[c] = c < left ? row[panel * kPanel<T> + c] : T(0);
  return spare;
}

/* Where the results of a task go: outright, or as a part to be combined. */
template <class T>
struct Results {
  howfar_pairs pairs;
  int64_t parts, all, width;
  Buffer<T> partial;

  Results(const howfar_matrix *a, int64_t parts_)
      : pairs(as_pairs(a)),
        parts(parts_),
        all(a->end - a->begin),
        width(2 + a->q + a->cost),
        partial(parts > 1 ? a->batch * all * parts * width : 0) {
    pairs.q = a->q + a->cost;
  }
  template <class Sum>
  void put(int64_t b, int64_t i, int64_t part, T top, T total, const Sum &sum) const {
    if (parts == 1) return write<T>(&pairs, b, i, (double)top, (double)total, T(0), sum);
    T *own = partial.data + ((b * all + i - pairs.row_begin) * parts + part) * width;
    own[0] = top, own[1] = total;
    for (int64_t c = 0; c < pairs.q; ++c) own[2 + c] = sum(c);
  }
  void finish() const {
    for (int64_t i = 0; parts > 1 && i < pairs.batch * all; ++i)
      combine(&pairs, i / all, pairs.row_begin + i % all, partial.data + i * parts * width, parts, T(0));
  }
};

template <class T>
Packing<T> plain(int64_t) {
  Packing<T> how;
  how.bias = T(1), how.outside = -std::numeric_limits<T>::infinity();
  return how;
}

template <class T>
int softmin_of_rows(const howfar_matrix *a) {
  const howfar_pairs pairs = as_pairs(a);
  const Packed<T> columns(&pairs, false, false, a->q > 0, plain<T>);
  const Parts parts(columns.panels, kSteps, kPanel<T>);
  const Results<T> results(a, parts.count);
  const int64_t q = results.pairs.q;
  const int failed = over_parts(&pairs, parts, [&](int64_t b, int64_t first, int64_t rows, int64_t begin, int64_t end,
                                                   int64_t part) {
    const Vec<T> k = splat((T)(a->scale[b] * kLog2E));
    Buffer<Vec<T>> memory(2 * q * kVectors);
    for (int64_t i = first; i < first + rows; ++i) {
      const T *row = (const T *)a->c + b * a->c_step + i * a->m;
      alignas(64) T spare[kPanel<T>];
      Strip<T> strip;
      strip.start(memory.data, q);
      for (int64_t panel = begin; panel < end; ++panel) {
        const T *c = entries(row, panel, a->m, spare), *h = columns.panel(b, panel);
        Vec<T> t[kVectors];
        for (int v = 0; v < kVectors; ++v) t[v] = k * (load(h + v * Lanes<T>::n) - load(c + v * Lanes<T>::n));
        strip.add(t);
        for (int64_t l = 0; l < q; ++l) {
          const T *value = l < a->q ? columns.values(h) + l * kPanel<T> : c;
          for (int v = 0; v < kVectors; ++v) strip.add_value(l, v, t[v] * load(value + v * Lanes<T>::n));
        }
        if ((panel - begin) % kSteps == kSteps - 1) strip.flush();
      }
      strip.flush();
      Vec<T> highest = strip.m[0], total = Vec<T>{};
      for (int v = 1; v < kVectors; ++v) highest = max(highest, strip.m[v]);
      const T top = max_lanes<T>(highest);
      Vec<T> fade[kVectors];
      for (int v = 0; v < kVectors; ++v) fade[v] = exp2_of(strip.m[v] - splat(top)), total += fade[v] * strip.total[v];
      results.put(b, i, part, top, sum_lanes<T>(total), [&](int64_t l) {
        Vec<T> sum = {};
        for (int v = 0; v < kVectors; ++v) sum += fade[v] * strip.sums[l * kVectors + v];
        return sum_lanes<T>(sum);
      });
    }
  });
  if (!failed) results.finish();
  return failed;
}

template <class T>
int softmin_of_columns(const howfar_matrix *a) {
  const Parts parts(a->n, kSteps, kPanel<T>);
  const Results<T> results(a, parts.count);
  const int64_t q = results.pairs.q, strips = (a->end - a->begin + kPanel<T> - 1) / kPanel<T>;
  const int64_t together = most(1, least(kStrips, strips * a->batch * parts.count / most(a->threads, 1)));
  const int64_t blocks = (strips + together - 1) / together;
  const int failed = in_parallel(a->batch * blocks * parts.count, a->threads, [&](int64_t task) {
    const int64_t part = task % parts.count, b = task / parts.count / blocks;
    const int64_t start = a->begin + task / parts.count % blocks * together * kPanel<T>;
    const int64_t count = least(together, (a->end - start + kPanel<T> - 1) / kPanel<T>);
    const Vec<T> k = splat((T)(a->scale[b] * kLog2E));
    const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr, *values = (const T *)a->v + b * a->v_step;
    Buffer<Vec<T>> memory(count * 2 * q * kVectors);
    Buffer<Strip<T>> strip(count);
    for (int64_t l = 0; l < count; ++l) strip.data[l].start(memory.data + l * 2 * q * kVectors, q);
    const int64_t end = least((part + 1) * parts.each, a->n);
    for (int64_t row = part * parts.each; row < end; row += kSteps)
      for (int64_t l = 0; l < count; ++l) {
        const int64_t at = start + l * kPanel<T>;
        alignas(64) T spare[kPanel<T>];
        Strip<T> own = strip.data[l];
        for (int64_t i = row; i < least(row + kSteps, end); ++i) {
          const T *c = entries((const T *)a->c + b * a->c_step + i * a->m + at, 0, a->m - at, spare);
          const Vec<T> potential = splat(h ? h[i] : T(0));
          Vec<T> t[kVectors];
          for (int v = 0; v < kVectors; ++v) t[v] = k * (potential - load(c + v * Lanes<T>::n));
          own.add(t);
          for (int64_t p = 0; p < q; ++p)
            for (int v = 0; v < kVectors; ++v)
              own.add_value(p, v, t[v] * (p < a->q ? splat(values[i * a->q + p]) : load(c + v * Lanes<T>::n)));
        }
        own.flush();
        strip.data[l] = own;
      }
    for (int64_t i = start; i < least(start + count * kPanel<T>, a->end); ++i) {
      const Strip<T> &own = strip.data[(i - start) / kPanel<T>];
      const int64_t lane = (i - start) % kPanel<T>, v = lane / Lanes<T>::n, l = lane % Lanes<T>::n;
      results.put(b, i, part, own.m[v][l], own.total[v][l], [&](int64_t p) { return own.sums[p * kVectors + v][l]; });
    }
  });
  if (!failed) results.finish();
  return failed;
}

/* The k best of one result so far, in rising order of (value, index); entries come in rising order of the index. */
template <class T>
struct Best {
  T *values;
  int64_t *indices;
  int64_t k;

  void start() const {
    for (int64_t c = 0; c < k; ++c) values[c] = std::numeric_limits<T>::infinity(), indices[c] = -1;
  }
  void insert(T value, int64_t index) const {
    int64_t at = k - 1;
    for (; at > 0 && value < values[at - 1]; --at) values[at] = values[at - 1], indices[at] = indices[at - 1];
    values[at] = value, indices[at] = index;
  }
  /* Places left go to entries that are infinitely far, by index. */
  void complete() const {
    int64_t known = 0, next = 0;
    while (known < k && indices[known] >= 0) ++known;
    for (int64_t c = known; c < k; ++next) {
      bool taken = false;
      for (int64_t l = 0; l < known; ++l) taken = taken || indices[l] == next;
      if (!taken) indices[c++] = next;
    }
  }
};

template <class T>
int nearest_of_rows(const howfar_matrix *a) {
  const howfar_pairs pairs = as_pairs(a);
  const Packed<T> columns(&pairs, false, false, false, plain<T>);
  return over_blocks(&pairs, [&](int64_t b, int64_t first, int64_t rows) {
    for (int64_t i = first; i < first + rows; ++i) {
      const Best<T> best{(T *)a->out + (b * a->n + i) * a->k, a->indices + (b * a->n + i) * a->k, a->k};
      const T *row = (const T *)a->c + b * a->c_step + i * a->m;
      alignas(64) T spare[kPanel<T>], gap[kPanel<T>];
      best.start();
      for (int64_t panel = 0; panel < columns.panels; ++panel) {
        const T *c = entries(row, panel, a->m, spare), *h = columns.panel(b, panel);
        Vec<T> lowest = splat(std::numeric_limits<T>::infinity());
        for (int v = 0; v < kVectors; ++v) {
          const Vec<T> t = load(c + v * Lanes<T>::n) - load(h + v * Lanes<T>::n);
          store(gap + v * Lanes<T>::n, t);
          lowest = min(lowest, t);
        }
        if (__builtin_expect(!any_greater(splat(best.values[a->k - 1]), lowest), 1)) continue;
        for (int l = 0; l < kPanel<T>; ++l)
          if (gap[l] < best.values[a->k - 1]) best.insert(gap[l], panel * kPanel<T> + l);
      }
      best.complete();
    }
  });
}

template <class T>
int nearest_of_columns(const howfar_matrix *a) {
  const int64_t strips = (a->end - a->begin + kPanel<T> - 1) / kPanel<T>;
  return in_parallel(a->batch * strips, a->threads, [&](int64_t task) {
    const int64_t b = task / strips, start = a->begin + task % strips * kPanel<T>;
    const int64_t count = least(kPanel<T>, a->end - start);
    const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr;
    const auto best = [&](int64_t l) {
      const int64_t at = (b * a->m + start + l) * a->k;
      return Best<T>{(T *)a->out + at, a->indices + at, a->k};
    };
    alignas(64) T worst[kPanel<T>], spare[kPanel<T>];
    for (int l = 0; l < kPanel<T>; ++l) worst[l] = (l < count ? 1 : -1) * std::numeric_limits<T>::infinity();
    for (int64_t l = 0; l < count; ++l) best(l).start();
    for (int64_t i = 0; i < a->n; ++i) {
      const T *c = entries((const T *)a->c + b * a->c_step + i * a->m + start, 0, a->m - start, spare);
      const T potential = h ? h[i] : T(0);
      bool some = false;
      for (int v = 0; v < kVectors; ++v)
        some = some || any_greater(load(worst + v * Lanes<T>::n), load(c + v * Lanes<T>::n) - splat(potential));
      if (__builtin_expect(!some, 1)) continue;
      for (int64_t l = 0; l < count; ++l) {
        if (!(c[l] - potential < worst[l])) continue;
        best(l).insert(c[l] - potential, i);
        worst[l] = best(l).values[a->k - 1];
      }
    }
    for (int64_t l = 0; l < count; ++l) best(l).complete();
  });
}

template <class T>
int gibbs(const howfar_matrix *a) {
  howfar_pairs pairs = as_pairs(a);
  pairs.y = a->right, pairs.y_step = a->right_step, pairs.d = a->r, pairs.v = nullptr;
  const Packed<T> columns(&pairs, false, false, false, plain<T>);
  return over_blocks(&pairs, [&](int64_t b, int64_t first, int64_t rows) {
    const T k = (T)(a->scale[b] * kLog2E);
    const Vec<T> highest = splat(sizeof(T) == 4 ? T(127) : T(1023));
    const int64_t plain_terms = a->r - (a->tilt ? 1 : 0);
    for (int64_t i = first; i < first + rows; ++i) {
      const T *row = (const T *)a->c + b * a->c_step + i * a->m;
      const T *left = (const T *)a->left + b * a->left_step + i * a->r;
      const Vec<T> own = splat(((const T *)a->f)[b * a->f_step + i]);
      T *out = (T *)a->out + (b * a->n + i) * a->m;
      alignas(64) T spare[kPanel<T>], result[kPanel<T>];
      for (int64_t panel = 0; panel < columns.panels; ++panel) {
        const T *c = entries(row, panel, a->m, spare), *right = columns.panel(b, panel), *h = right + a->r * kPanel<T>;
        for (int v = 0; v < kVectors; ++v) {
          const Vec<T> cost = load(c + v * Lanes<T>::n);
          Vec<T> factor = {};
          for (int64_t p = 0; p < plain_terms; ++p) factor += splat(left[p]) * load(right + p * kPanel<T> + v * Lanes<T>::n);
          if (a->tilt) factor += splat(left[plain_terms]) * cost * load(right + plain_terms * kPanel<T> + v * Lanes<T>::n);
          const Vec<T> score = splat(k) * ((own + load(h + v * Lanes<T>::n)) - cost);
          store(result + v * Lanes<T>::n, factor * exp2_of(min(score, highest)));
        }
        const int64_t there = columns.columns(panel);
        std::memcpy(out + panel * kPanel<T>, result, (size_t)there * sizeof(T));
      }
    }
  });
}

template <class Body>
int guarded(const Body &body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return HOWFAR_NO_MEMORY;
  }
}

template <class T>
int softmin(const howfar_matrix *a) {
  return guarded([&] { return a->over_rows ? softmin_of_columns<T>(a) : softmin_of_rows<T>(a); });
}
template <class T>
int nearest(const howfar_matrix *a) {
  return guarded([&] { return a->over_rows ? nearest_of_columns<T>(a) : nearest_of_rows<T>(a); });
}

}  // namespace

int matrix_softmin_f32(const howfar_matrix *a) { return softmin<float>(a); }
int matrix_softmin_f64(const howfar_matrix *a) { return softmin<double>(a); }
int matrix_nearest_f32(const howfar_matrix *a) { return nearest<float>(a); }
int matrix_nearest_f64(const howfar_matrix *a) { return nearest<double>(a); }
int matrix_gibbs_f32(const howfar_matrix *a) { return guarded([&] { return gibbs<float>(a); }); }
int matrix_gibbs_f64(const howfar_matrix *a) { return guarded([&] { return gibbs<double>(a); }); }

}  // namespace HOWFAR_SET
}  // namespace howfar
