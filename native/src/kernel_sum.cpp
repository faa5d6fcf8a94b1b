#include "products.h"
#include "profiles.h"

namespace howfar {
namespace HOWFAR_SET {
namespace {

constexpr int64_t kFewColumns = 8;
constexpr int64_t kTallBlock = 384;     /* rows of values in cache, all results together, before many columns */
constexpr int64_t kMostSums = 1 << 20;  /* sums of a block of rows */

enum Profiles { kGaussians, kOthers };

/* What is summed for one problem of the batch: the base quantity of a tile, and the kernel of each result on it. */
template <class T, int KIND, int PROFILES>
struct Kernel {
  const howfar_pairs *a;
  General<T> general;
  Buffer<Part<T>> parts;
  Buffer<int32_t> ends; /* of each result's parts */

  Kernel(const howfar_pairs *a_, int64_t b)
      /* Minkowski's root belongs to the profile. */
      : a(a_), general{a_->form, a_->d, (T)a_->p, T(1), T(1)}, parts(a_->parts), ends(a_->results) {
    for (int32_t p = 0; p < a->parts; ++p) {
      parts.data[p] = Part<T>(a, b, p);
      ends.data[a->part[p].result] = p + 1;
    }
  }

  /* Squared distances, <x, y'> + bias, or the sum over features. */
  HOWFAR_INLINE void base(const T *x, const T *norms, const T *y, Tile<T> &u) const {
    if constexpr (KIND == kGeneral) {
      alignas(64) T memory[kRows * kPanel<T>];
      general.tile(x, norms, y, memory, nullptr);
      Scores<T, kGeneral>::fetch(memory, u);
    } else {
      start(y, u);
      accumulate_any<T, KIND == kDifference>(x, y, general.d, u);
      if (KIND == kFolded && general.form == HOWFAR_FORM_PRODUCT)
        for (int r = 0; r < kRows; ++r)
          for (int v = 0; v < kVectors; ++v) u[r][v] = max(u[r][v] + splat(norms[r]), Vec<T>{});
    }
  }

  /* The kernel of the parts `begin` .. `end` - 1; a part that is alone is left without its factor. */
  HOWFAR_INLINE void combine(const Tile<T> &u, int32_t begin, int32_t end, Tile<T> &t) const {
    if constexpr (PROFILES == kGaussians) {
      const Part<T> *part = parts.data + begin;
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) t[r][v] = exp2_of(u[r][v] * splat(part->rate));
      if (begin + 1 == end) return;
      for_each<T>(t, [part](Vec<T> k) { return k * splat(part->factor); });
      for (int32_t p = begin + 1; p < end; ++p) {
        const T rate = parts.data[p].rate, factor = parts.data[p].factor;
        for (int r = 0; r < kRows; ++r)
          for (int v = 0; v < kVectors; ++v) t[r][v] += splat(factor) * exp2_of(u[r][v] * splat(rate));
      }
    } else {
      alignas(64) T memory[kRows * kPanel<T>], total[kRows * kPanel<T>];
      put<T>(u, memory);
      mix(memory, begin, end, total);
      Scores<T, kGeneral>::fetch(total, t);
    }
  }

  T factor(int32_t result) const {
    const int32_t begin = result ? ends.data[result - 1] : 0;
    return begin + 1 == ends.data[result] ? parts.data[begin].factor : T(1);
  }

  /* Calls use(result, kernel values of the tile) for each result. */
  template <class Use>
  HOWFAR_INLINE void each(const T *x, const T *norms, const T *y, const Use &use) const {
    Tile<T> u, t;
    base(x, norms, y, u);
    for (int32_t result = 0; result < a->results; ++result) {
      combine(u, result ? ends.data[result - 1] : 0, ends.data[result], t);
      use(result, t);
    }
  }

 private:
  HOWFAR_INLINE void start(const T *y, Tile<T> &u) const {
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> own = KIND == kFolded ? load(y + general.d * kPanel<T> + v * Lanes<T>::n) : Vec<T>{};
      for (int r = 0; r < kRows; ++r) u[r][v] = own;
    }
  }

  __attribute__((noinline)) void mix(const T *u, int32_t begin, int32_t end, T *total) const {
    Tile<T> t;
    Scores<T, kGeneral>::fetch(u, t);
    apply<T>(parts.data[begin], t);
    if (begin + 1 == end) return put<T>(t, total);
    const T first = parts.data[begin].factor;
    for_each<T>(t, [first](Vec<T> k) { return k * splat(first); });
    put<T>(t, total);
    for (int32_t p = begin + 1; p < end; ++p) {
      Scores<T, kGeneral>::fetch(u, t);
      apply<T>(parts.data[p], t);
      const Vec<T> factor = splat(parts.data[p].factor);
      for (int i = 0; i < kRows * kVectors; ++i) {
        T *sum = total + i * Lanes<T>::n;
        store(sum, load(sum) + factor * t[i / kVectors][i % kVectors]);
      }
    }
  }
};

template <class T>
Packing<T> packing(const howfar_pairs *a, int64_t b) {
  Packing<T> how;
  how.outside = T(0);
  if (a->form == HOWFAR_FORM_PRODUCT) how.feature = -2, how.bias = -1, how.norm_in_bias = true;
  if (a->form == HOWFAR_FORM_INNER) how.feature = (T)a->scale[b * a->parts], how.offset = (T)a->p;
  return how;
}

/* Adds a chunk of panels to the sums of one group of rows. Apart from all else, so that tiles stay in registers. */
template <class T, class K>
__attribute__((noinline)) void add_chunk(const K &kernel, const Packed<T> &columns, const T *x, const T *norms, int64_t b,
                                         int64_t start, int64_t stop, Vec<T> *sums) {
  const int64_t q = columns.q;
  for (int64_t panel = start; panel < stop; ++panel) {
    const T *y = columns.panel(b, panel), *packed = columns.values(y);
    kernel.each(x, norms, y, [&](int32_t result, const Tile<T> &t) {
      for (int64_t c = 0; c < q; ++c) {
        Vec<T> weight[kVectors], *sum = sums + (result * q + c) * kRows;
        for (int v = 0; v < kVectors; ++v) weight[v] = load(packed + c * kPanel<T> + v * Lanes<T>::n);
        for (int r = 0; r < kRows; ++r) {
          Vec<T> total = sum[r];
          for (int v = 0; v < kVectors; ++v) total += t[r][v] * weight[v];
          sum[r] = total;
        }
      }
    });
  }
}

/* The kernel values of one group of rows, results `step` apart. */
template <class T, class K>
__attribute__((noinline)) void put_chunk(const K &kernel, const Packed<T> &columns, const T *x, const T *norms, int64_t b,
                                         int64_t start, int64_t stop, T *out, int64_t step) {
  for (int64_t panel = start; panel < stop; ++panel)
    kernel.each(x, norms, columns.panel(b, panel), [&](int32_t result, const Tile<T> &t) {
      T *to = out + result * step + (panel - start) * kPanel<T>;
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) store(to + r * kStride<T> + v * Lanes<T>::n, t[r][v]);
    });
}

/* Few columns of weights: lane by lane, over chunks and then over runs. */
template <class T, int KIND, int PROFILES>
int few_columns(const howfar_pairs *a) {
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, false, true, [a](int64_t b) { return packing<T>(a, b); });
  const int64_t d = a->d, q = a->q, width = a->results * q, length = run_panels<T>(columns.chunk);
  const int64_t runs = (columns.panels + length - 1) / length;
  const auto sums_of = [&](int64_t b, int64_t first, int64_t rows, int64_t run, int64_t end, const auto &write) {
    const int64_t padded = padded_rows(rows);
    const Kernel<T, KIND, PROFILES> kernel(a, b);
    Buffer<T> x(padded * d), norms(padded);
    Buffer<Vec<T>> sums(padded * width), chunk(width * kRows);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    for (; run < end; ++run) {
      const int64_t run_end = least((run + 1) * length, columns.panels);
      for (int64_t i = 0; i < padded * width; ++i) sums.data[i] = Vec<T>{};
      for (int64_t start = run * length; start < run_end; start += columns.chunk) {
        const int64_t stop = least(start + columns.chunk, run_end);
        for (int64_t row = 0; row < padded; row += kRows) {
          for (int64_t i = 0; i < width * kRows; ++i) chunk.data[i] = Vec<T>{};
          add_chunk<T>(kernel, columns, x.data + row * d, norms.data + row, b, start, stop, chunk.data);
          for (int64_t c = 0; c < width; ++c)
            for (int r = 0; r < kRows; ++r) sums.data[(row + r) * width + c] += chunk.data[c * kRows + r];
        }
      }
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t c = 0; c < width; ++c)
          write(run, i, c, kernel.factor((int32_t)(c / q)) * sum_lanes<T>(sums.data[i * width + c]));
    }
  };
  return over_runs<T>(a, width, kBlock, runs, sums_of);
}

/* Many columns of weights: kernel values of a block of rows and kDepth columns, then their product with the weights. */
template <class T, int KIND, int PROFILES>
int many_columns(const howfar_pairs *a) {
  const Packed<T> columns(a, a->form == HOWFAR_FORM_PRODUCT, false, false, [a](int64_t b) { return packing<T>(a, b); });
  constexpr int64_t together = kDepth<T> / kPanel<T>;
  const int64_t d = a->d, q = a->q, results = a->results, length = run_panels<T>(together);
  const int64_t runs = (columns.panels + length - 1) / length;
  const int64_t block = most(kRows, least(kTallBlock, kMostSums / q) / results);
  const auto sums_of = [&](int64_t b, int64_t first, int64_t rows, int64_t run, int64_t end, const auto &write) {
    const int64_t padded = padded_rows(rows);
    const Kernel<T, KIND, PROFILES> kernel(a, b);
    const T *v = (const T *)a->v + b * a->v_step;
    Buffer<T> x(padded * d), norms(padded);
    Product<T> product(results * padded, q);
    columns.pack_rows(a, b, first, rows, x.data, norms.data);
    for (; run < end; ++run) {
      const int64_t run_end = least((run + 1) * length, columns.panels);
      product.clear();
      for (int64_t start = run * length; start < run_end; start += together) {
        const int64_t stop = least(start + together, run_end);
        for (int64_t row = 0; row < padded; row += kRows)
          put_chunk<T>(kernel, columns, x.data + row * d, norms.data + row, b, start, stop,
                       product.values.data + row * kStride<T>, padded * kStride<T>);
        product.add(v + start * kPanel<T> * q, least(stop * kPanel<T>, a->m) - start * kPanel<T>);
      }
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t r = 0; r < results; ++r) {
          const T factor = kernel.factor((int32_t)r), *sums = product.sums.data + (r * padded + i) * product.wide;
          for (int64_t c = 0; c < q; ++c) write(run, i, r * q + c, factor * sums[c]);
        }
    }
  };
  return over_runs<T>(a, results * q, block, runs, sums_of);
}

template <class T, int KIND, int PROFILES>
int kernel_sum_as(const howfar_pairs *a) {
  return a->q <= kFewColumns ? few_columns<T, KIND, PROFILES>(a) : many_columns<T, KIND, PROFILES>(a);
}

template <class T>
int kernel_sum(const howfar_pairs *a) try {
  bool gaussians = true;
  for (int32_t p = 0; p < a->parts; ++p)
    gaussians = gaussians && a->part[p].profile == HOWFAR_PROFILE_EXP && a->part[p].exponent == 1.0;
  switch (a->form) {
    case HOWFAR_FORM_PRODUCT:
    case HOWFAR_FORM_INNER:
      return gaussians ? kernel_sum_as<T, kFolded, kGaussians>(a) : kernel_sum_as<T, kFolded, kOthers>(a);
    case HOWFAR_FORM_DIFFERENCE:
      return gaussians ? kernel_sum_as<T, kDifference, kGaussians>(a) : kernel_sum_as<T, kDifference, kOthers>(a);
    default: return kernel_sum_as<T, kGeneral, kOthers>(a);
  }
} catch (const std::bad_alloc &) {
  return HOWFAR_NO_MEMORY;
}

}  // namespace

int kernel_sum_f32(const howfar_pairs *a) { return kernel_sum<float>(a); }
int kernel_sum_f64(const howfar_pairs *a) { return kernel_sum<double>(a); }

}  // namespace HOWFAR_SET
}  // namespace howfar
