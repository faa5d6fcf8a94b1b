#include <cmath>

#include "howfar.h"

extern "C" double howfar_sum_f64(const double *values, int64_t n) {
  double sum = 0.0, lost = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = values[i];
    const double next = sum + value;
    /* The smaller operand lost its low bits; subtracting back from the larger recovers them exactly. */
    lost += std::fabs(sum) >= std::fabs(value) ? (sum - next) + value : (value - next) + sum;
    sum = next;
  }
  /* Once `sum` is infinite, `lost` is inf - inf. */
  return std::isfinite(sum) ? sum + lost : sum;
}
