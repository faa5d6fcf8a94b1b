/* Sums of weighted values for one block of rows: lane by lane while they are few, else by small matrix products. */
#ifndef HOWFAR_VALUES_H
#define HOWFAR_VALUES_H

#include "panels.h"

namespace howfar {
namespace HOWFAR_SET {

constexpr int64_t kFewValues = 8;

template <class T>
struct ValueSums {
  int64_t q;
  bool few;
  Buffer<Vec<T>> lanes; /* few: (rows, q), then (kRows, q) of the chunk that is being summed */
  Buffer<T> dense;      /* many: (rows, q) */
  Vec<T> *chunk;

  ValueSums(int64_t q_, int64_t rows)
      : q(q_), few(q_ <= kFewValues), lanes(few ? (rows + kRows) * q_ : 1), dense(few ? 1 : rows * q_) {
    if (few)
      for (int64_t i = 0; i < (rows + kRows) * q; ++i) lanes.data[i] = Vec<T>{};
    else
      for (int64_t i = 0; i < rows * q; ++i) dense.data[i] = T(0);
    chunk = lanes.data + (few ? rows * q : 0);
  }

  /* Adds the weights w of a tile; `packed` are the panel's values by column of v, `values` the same as rows of v. */
  HOWFAR_INLINE void add(int64_t row, const Tile<T> &w, const T *packed, const T *values, int64_t columns) {
    constexpr int L = Lanes<T>::n;
    if (few) {
      for (int64_t c = 0; c < q; ++c) {
        Vec<T> value[kVectors];
        for (int v = 0; v < kVectors; ++v) value[v] = load(packed + c * kPanel<T> + v * L);
        for (int r = 0; r < kRows; ++r) {
          Vec<T> sum = chunk[r * q + c];
          for (int v = 0; v < kVectors; ++v) sum += w[r][v] * value[v];
          chunk[r * q + c] = sum;
        }
      }
      return;
    }
    alignas(64) T weights[kRows * kPanel<T>];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) store(weights + r * kPanel<T> + v * L, w[r][v]);
    multiply(weights, values, columns, dense.data + row * q);
  }

  /* Ends a chunk for the kRows rows that it was summed for. */
  HOWFAR_INLINE void flush(int64_t row) {
    if (!few) return;
    for (int64_t i = 0; i < kRows * q; ++i) {
      lanes.data[row * q + i] += chunk[i];
      chunk[i] = Vec<T>{};
    }
  }

  /* Multiplies all that row `row` + r holds. */
  void scale(int64_t row, int r, T factor) {
    if (few)
      for (int64_t c = 0; c < q; ++c) {
        lanes.data[(row + r) * q + c] *= splat(factor);
        chunk[r * q + c] *= splat(factor);
      }
    else
      for (int64_t c = 0; c < q; ++c) dense.data[(row + r) * q + c] *= factor;
  }

  T total(int64_t row, int64_t c) const { return few ? sum_lanes<T>(lanes.data[row * q + c]) : dense.data[row * q + c]; }

 private:
  template <int N>
  HOWFAR_INLINE void multiply_vectors(const T *weights, const T *values, int64_t columns, T *out) {
    constexpr int L = Lanes<T>::n;
    Vec<T> sum[kRows][N];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < N; ++v) sum[r][v] = load(out + r * q + v * L);
    for (int64_t j = 0; j < columns; ++j) {
      Vec<T> value[N];
      for (int v = 0; v < N; ++v) value[v] = load(values + j * q + v * L);
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < N; ++v) sum[r][v] += splat(weights[r * kPanel<T> + j]) * value[v];
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < N; ++v) store(out + r * q + v * L, sum[r][v]);
  }

  __attribute__((noinline)) void multiply(const T *weights, const T *values, int64_t columns, T *out) {
    constexpr int L = Lanes<T>::n;
    int64_t c = 0;
    for (; c + kVectors * L <= q; c += kVectors * L) multiply_vectors<kVectors>(weights, values + c, columns, out + c);
    for (; c + 2 * L <= q; c += 2 * L) multiply_vectors<2>(weights, values + c, columns, out + c);
    for (; c + L <= q; c += L) multiply_vectors<1>(weights, values + c, columns, out + c);
    for (; c < q; ++c)
      for (int r = 0; r < kRows; ++r) {
        T sum = out[r * q + c];
        for (int64_t j = 0; j < columns; ++j) sum += weights[r * kPanel<T> + j] * values[j * q + c];
        out[r * q + c] = sum;
      }
  }
};

}  // namespace HOWFAR_SET
}  // namespace howfar
#endif
