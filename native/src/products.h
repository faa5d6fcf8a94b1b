/* A block of values in cache times many columns of weights, at the speed of a matrix product.
 *
 * Values lie row by row, kDepth columns of them; the weights of those columns are packed in slivers as wide as a few
 * vectors, so that kTall rows times one sliver stay in registers while the columns go by. An element is the sum over a
 * block's columns in order, added to what came before: the same operations whatever block its row lies in. */
#ifndef HOWFAR_PRODUCTS_H
#define HOWFAR_PRODUCTS_H

#include "panels.h"

namespace howfar {
namespace HOWFAR_SET {

constexpr int kTall = kBytes == 64 ? 8 : 4;
constexpr int kWide = kBytes == 16 ? 2 : 3;
template <class T>
constexpr int64_t kDepth = 1024 / sizeof(T);
template <class T>
constexpr int64_t kStride = kDepth<T> + kBytes / sizeof(T); /* off the powers of two, whose rows share cache sets */

template <class T>
struct Product {
  static constexpr int L = Lanes<T>::n;
  static constexpr int64_t kPacked = 10 * kWide * L; /* columns of weights packed at a time */
  int64_t rows, q, wide;
  Buffer<T> values, weights, sums;

  /* `rows` of them, a multiple of kRows. */
  Product(int64_t rows_, int64_t q_)
      : rows(rows_),
        q(q_),
        wide((q_ + L - 1) / L * L),
        values(rows_ * kStride<T>),
        weights(kDepth<T> * least(kPacked, wide)),
        sums(rows_ * wide) {}

  void clear() {
    for (int64_t i = 0; i < rows * wide; ++i) sums.data[i] = T(0);
  }

  /* sums += values v, over `depth` columns and their rows of v (depth, q). */
  void add(const T *v, int64_t depth) {
    for (int64_t begin = 0; begin < wide; begin += kPacked) {
      const int64_t end = least(begin + kPacked, wide);
      for (int64_t c = begin; c < end; c += kWide * L)
        pack(v + c, depth, least(kWide * L, end - c), least(kWide * L, q - c), c - begin);
      for (int64_t c = begin; c < end; c += kWide * L) {
        const T *w = weights.data + (c - begin) * depth;
        switch ((int)(least(kWide * L, end - c) / L)) {
          case 1: sliver<1>(w, depth, c); break;
          case 2: sliver<2>(w, depth, c); break;
          default: sliver<kWide>(w, depth, c);
        }
      }
    }
  }

 private:
  void pack(const T *v, int64_t depth, int64_t width, int64_t there, int64_t at) {
    T *out = weights.data + at * depth;
    for (int64_t j = 0; j < depth; ++j, out += width) {
      std::memcpy(out, v + j * q, there * sizeof(T));
      for (int64_t c = there; c < width; ++c) out[c] = T(0);
    }
  }

  template <int N>
  __attribute__((noinline)) void sliver(const T *w, int64_t depth, int64_t c) {
    int64_t row = 0;
    for (; row + kTall <= rows; row += kTall) tile<kTall, N>(w, depth, row, c);
    for (; row < rows; row += kRows) tile<kRows, N>(w, depth, row, c);
  }

  template <int R, int N>
  HOWFAR_INLINE void tile(const T *w, int64_t depth, int64_t row, int64_t c) {
    const T *value = values.data + row * kStride<T>;
    T *out = sums.data + row * wide + c;
    Vec<T> sum[R][N] = {};
    for (int64_t j = 0; j < depth; ++j) {
      Vec<T> weight[N];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) weight[v] = load(w + (j * N + v) * L);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Vec<T> own = splat(value[r * kStride<T> + j]);
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) sum[r][v] += own * weight[v];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) store(out + r * wide + v * L, load(out + r * wide + v * L) + sum[r][v]);
  }
};

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
