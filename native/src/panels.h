/* How clouds lie in memory, and how rows are spread over threads.
 *
 * Columns y are packed in panels of kPanel columns: feature by feature, then their bias, then whatever else a reduction
 * wants of them. A tile of kRows rows and one panel lives in registers, so the n x m values are never stored. A block of
 * rows meets a chunk of panels that stays in cache. Every row is computed by the same operations in the same order
 * however rows are spread over threads and calls, so results depend on neither.
 *
 * This file and those that include it are compiled once for each instruction set. Everything in them lies in the
 * namespace of its set, and nothing of the standard library that would become a shared symbol is used: the linker keeps
 * one copy of such a symbol, and that copy may hold instructions that another processor has not. */
#ifndef HOWFAR_PANELS_H
#define HOWFAR_PANELS_H

#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "pairs.h"
#include "simd.h"

namespace howfar {
namespace HOWFAR_SET {

constexpr double kLog2E = 1.4426950408889634;
constexpr int kRows = 4;
constexpr int kVectors = kBytes == 64 ? 4 : 2;
constexpr int64_t kBlock = 96;           /* most rows that share one pass over a chunk of columns */
constexpr int64_t kChunkBytes = 1 << 18; /* of packed columns: a quarter of a common second-level cache */
constexpr int64_t kChunkPanels = 32;     /* sums run over a chunk and then over chunks, which halves the digits lost */

template <class T>
using Vec = typename Lanes<T>::V;
template <class T>
constexpr int kPanel = kVectors * Lanes<T>::n;
template <class T>
using Tile = Vec<T>[kRows][kVectors];

/* In place of -inf in scores: far below all others, and differences of it are finite. */
template <class T>
constexpr T kEmpty = -std::numeric_limits<T>::max() / 4;

HOWFAR_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
HOWFAR_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

template <class T>
struct Buffer {
  T *data;
  explicit Buffer(int64_t count) {
    void *p = nullptr;
    const size_t bytes = (size_t)most(count, 1) * sizeof(T);
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

/* body(i) for i = 0 .. count - 1 on the threads asked for. One thread enters no parallel region: a forked child has
 * only one, and the pool of its parent is not there. */
template <class Body>
int in_parallel(int64_t count, int threads, const Body &body) {
  if (threads <= 1 || count <= 1) {
    try {
      for (int64_t i = 0; i < count; ++i) body(i);
    } catch (const std::bad_alloc &) {
      return HOWFAR_NO_MEMORY;
    }
    return 0;
  }
  int failed = 0;
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic) num_threads(threads)
#endif
  for (int64_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (const std::bad_alloc &) {
#if defined(_OPENMP)
#pragma omp atomic write
#endif
      failed = HOWFAR_NO_MEMORY;
    }
  }
  return failed;
}

/* body(problem, first row, rows) over the batch and blocks of rows, which start at multiples of `granule`. */
template <class Body>
int over_blocks(const howfar_pairs *a, const Body &body, int64_t granule = kRows) {
  const int64_t rows = a->row_end - a->row_begin;
  /* Few rows make small blocks, so that every thread has one. */
  const int64_t share = (rows * a->batch + a->threads - 1) / most(a->threads, 1);
  const int64_t block = least(kBlock, most(granule, (share + granule - 1) / granule * granule));
  const int64_t blocks = (rows + block - 1) / block;
  return in_parallel(a->batch * blocks, a->threads, [&](int64_t task) {
    const int64_t first = a->row_begin + (task % blocks) * block;
    body(task / blocks, first, least(block, a->row_end - first));
  });
}

/* Sums over columns are taken over runs of a fixed number of panels and then over runs, so that threads can share the
 * columns of few rows and the bits are the same however they do. `body(problem, first row, rows, run, end, put)` sums the
 * runs from `run` to `end` and calls put(run, i, c, sum) for its rows i and the `width` numbers c of a row, run by run;
 * out is (batch, n, width). */
template <class T, class Body>
int over_runs(const howfar_pairs *a, int64_t width, int64_t most_rows, int64_t runs, const Body &body) {
  const int64_t rows = a->row_end - a->row_begin, threads = most(a->threads, 1);
  const int64_t share = (rows * a->batch + threads - 1) / threads, each = (share + most_rows - 1) / most_rows;
  const int64_t block = most(kRows, ((share + each - 1) / each + kRows - 1) / kRows * kRows);
  const int64_t blocks = (rows + block - 1) / block, tasks = a->batch * blocks;
  T *out = (T *)a->out;
  const auto at = [&](int64_t b, int64_t row) { return out + (b * a->n + row) * width; };
  constexpr int64_t kPartial = 1 << 26; /* bytes that partial sums may take */
  const int64_t partial = a->batch * rows * width;
  if (tasks >= threads || runs == 1 || partial * runs * (int64_t)sizeof(T) > kPartial)
    return in_parallel(tasks, a->threads, [&](int64_t task) {
      const int64_t b = task / blocks, first = a->row_begin + task % blocks * block;
      body(b, first, least(block, a->row_end - first), 0, runs, [&](int64_t run, int64_t i, int64_t c, T sum) {
        T *to = at(b, first + i) + c;
        *to = run ? *to + sum : sum;
      });
    });
  const Buffer<T> sums(runs * partial);
  const int failed = in_parallel(tasks * runs, a->threads, [&](int64_t task) {
    const int64_t run = task % runs, b = task / runs / blocks, begin = task / runs % blocks * block;
    T *to = sums.data + run * partial + (b * rows + begin) * width;
    body(b, a->row_begin + begin, least(block, rows - begin), run, run + 1,
         [&](int64_t, int64_t i, int64_t c, T sum) { to[i * width + c] = sum; });
  });
  for (int64_t b = 0; b < a->batch; ++b)
    for (int64_t i = 0; i < rows * width; ++i) {
      T sum = sums.data[b * rows * width + i];
      for (int64_t run = 1; run < runs; ++run) sum += sums.data[run * partial + b * rows * width + i];
      at(b, a->row_begin)[i] = sum;
    }
  return failed;
}

/* Panels in a run: a multiple of `unit` of them, and about 2^15 columns. */
template <class T>
int64_t run_panels(int64_t unit) {
  return most(1, (1 << 15) / kPanel<T> / unit) * unit;
}

/* How the panels of a problem are cut into parts that are reduced apart and combined in their order. So few rows over
 * many columns keep every thread at work; where the cuts lie depends on the number of columns alone. */
struct Parts {
  static constexpr int64_t kColumns = 1 << 16;
  int64_t panels, each, count;

  Parts(int64_t panels_, int64_t chunk, int64_t width, bool whole = false)
      : panels(panels_),
        each(whole ? most(1, panels_) : most(1, kColumns / width / chunk) * chunk),
        count(most(1, (panels_ + each - 1) / each)) {}
};

/* body(problem, first row, rows, first panel, end of panels, part) over the batch, blocks of rows that start at multiples of
 * `granule`, and parts. */
template <class Body>
int over_parts(const howfar_pairs *a, const Parts &parts, const Body &body, int64_t granule = kRows) {
  const int64_t rows = a->row_end - a->row_begin;
  const int64_t share = (rows * a->batch * parts.count + a->threads - 1) / most(a->threads, 1);
  const int64_t block = least(kBlock, most(granule, (share + granule - 1) / granule * granule));
  const int64_t blocks = (rows + block - 1) / block;
  return in_parallel(a->batch * blocks * parts.count, a->threads, [&](int64_t task) {
    const int64_t part = task % parts.count, first = a->row_begin + task / parts.count % blocks * block;
    body(task / parts.count / blocks, first, least(block, a->row_end - first), part * parts.each,
         least((part + 1) * parts.each, parts.panels), part);
  });
}

HOWFAR_INLINE int64_t padded_rows(int64_t rows) { return (rows + kRows - 1) / kRows * kRows; }

/* What a panel holds: feature y'_k = feature (y_k - centre_k), bias = bias (h - [norm_in_bias] |y'|^2) + offset. */
template <class T>
struct Packing {
  T feature = 1, bias = 0, offset = 0;
  T outside = kEmpty<T>; /* the bias of a column that is not there, or whose h is -inf */
  bool norm_in_bias = false;
};

/* The columns of every problem of the batch, packed before the rows start; one problem where all share their columns. */
template <class T>
struct Packed {
  int64_t d, q, m, problems, panels, lead, stride, chunk;
  Buffer<T> centres, data;

  /* `packing(problem)` says how; `norm_row` adds |y|^2 after the bias, `with_values` the q rows of v after that. The centre
   * is the mean of the columns, or of the rows. */
  template <class How>
  Packed(const howfar_pairs *a, bool centred, bool norm_row, bool with_values, const How &packing, bool on_rows = false)
      : d(a->d),
        q(with_values ? a->q : 0),
        m(a->m),
        problems(shared(a, centred && on_rows) ? 1 : a->batch),
        panels((a->m + kPanel<T> - 1) / kPanel<T>),
        lead(d + 1 + (norm_row ? 1 : 0)),
        stride((lead + q) * kPanel<T>),
        chunk(most(1, least(kChunkPanels, kChunkBytes / (int64_t)(stride * (int64_t)sizeof(T))))),
        centres(problems * d),
        data(problems * panels * stride) {
    for (int64_t i = 0; i < problems * d; ++i) centres.data[i] = T(0);
    if (centred && in_parallel(problems, a->threads, [&](int64_t b) { find_centre(a, b, on_rows); })) throw std::bad_alloc();
    constexpr int64_t kTogether = 16;
    const int64_t groups = (panels + kTogether - 1) / kTogether;
    const int failed = in_parallel(problems * groups, problems * groups > 2 ? a->threads : 1, [&](int64_t task) {
      const int64_t b = task / groups, first = task % groups * kTogether;
      const Packing<T> how = packing(b);
      for (int64_t p = first; p < least(first + kTogether, panels); ++p) pack(a, b, p, how, norm_row);
    });
    if (failed) throw std::bad_alloc();
  }

  const T *panel(int64_t b, int64_t p) const { return data.data + ((problems == 1 ? 0 : b) * panels + p) * stride; }
  const T *values(const T *panel) const { return panel + lead * kPanel<T>; }
  int64_t columns(int64_t panel) const { return least(kPanel<T>, m - panel * kPanel<T>); }

  /* Rows first .. first + rows - 1 of x, centred like the columns and padded with zeros, and their |x|^2. */
  void pack_rows(const howfar_pairs *a, int64_t b, int64_t first, int64_t rows, T *out, T *norms) const {
    const T *x = (const T *)a->x + b * a->x_step + first * d, *centre = centres.data + (problems == 1 ? 0 : b) * d;
    for (int64_t i = 0; i < padded_rows(rows); ++i) {
      T norm = 0;
      for (int64_t k = 0; k < d; ++k) {
        const T value = i < rows ? x[i * d + k] - centre[k] : T(0);
        out[i * d + k] = value;
        norm += value * value;
      }
      norms[i] = norm;
    }
  }

  /* The largest |y'|^2 of a problem, y' as packed by a feature of -2. */
  double highest_norm(int64_t b) const {
    double highest = 0;
    for (int64_t p = 0; p < panels; ++p) {
      Vec<T> sum[kVectors] = {};
      for (int64_t k = 0; k < d; ++k)
        for (int v = 0; v < kVectors; ++v) {
          const Vec<T> y = load(panel(b, p) + k * kPanel<T> + v * Lanes<T>::n);
          sum[v] += y * y;
        }
      for (int v = 0; v < kVectors; ++v) {
        const double top = (double)max_lanes<T>(sum[v]) / 4;
        if (top > highest) highest = top;
      }
    }
    return highest;
  }

 private:
  static bool shared(const howfar_pairs *a, bool with_rows) {
    if (with_rows && a->x_step) return a->batch == 1;
    /* Kernel sums scale their inner products only while packing. */
    if (!a->parts || a->form == HOWFAR_FORM_INNER)
      for (int64_t b = 1; b < a->batch; ++b)
        if (a->scale[b] != a->scale[0]) return false;
    return a->batch == 1 || (a->y_step == 0 && (!a->h || a->h_step == 0) && (!a->v || a->v_step == 0));
  }

  void find_centre(const howfar_pairs *a, int64_t b, bool on_rows) {
    const T *of = on_rows ? (const T *)a->x + b * a->x_step : (const T *)a->y + b * a->y_step;
    const int64_t count = on_rows ? a->n : m;
    T *centre = centres.data + b * d;
    Buffer<double> sum(d);
    for (int64_t k = 0; k < d; ++k) sum.data[k] = 0.0;
    for (int64_t j = 0; j < count; ++j)
      for (int64_t k = 0; k < d; ++k) sum.data[k] += (double)of[j * d + k];
    for (int64_t k = 0; k < d; ++k) centre[k] = (T)(sum.data[k] / (double)count);
  }

  void pack(const howfar_pairs *a, int64_t b, int64_t p, const Packing<T> &how, bool norm_row) {
    constexpr int P = kPanel<T>;
    const T *y = (const T *)a->y + b * a->y_step, *centre = centres.data + b * d;
    const T *h = a->h ? (const T *)a->h + b * a->h_step : nullptr;
    const T *v = q ? (const T *)a->v + b * a->v_step : nullptr;
    T *out = data.data + (b * panels + p) * stride;
    for (int c = 0; c < P; ++c) {
      const int64_t j = p * P + c;
      const bool there = j < m;
      T norm = 0;
      for (int64_t k = 0; k < d; ++k) {
        const T value = there ? y[j * d + k] - centre[k] : T(0);
        norm += value * value;
        out[k * P + c] = how.feature * value;
      }
      const T own = there && h ? h[j] : T(0);
      const bool counts = there && own > -std::numeric_limits<T>::infinity();
      out[d * P + c] = counts ? how.bias * (own - (how.norm_in_bias ? norm : T(0))) + how.offset : how.outside;
      if (norm_row) out[(d + 1) * P + c] = norm;
      for (int64_t k = 0; k < q; ++k) out[(lead + k) * P + c] = there ? v[j * q + k] : T(0);
    }
  }
};

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
