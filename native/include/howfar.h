/* The C interface of howfar's compiled library. It knows neither Python nor torch: pointers, sizes and numbers only,
 * so one build serves every Python and every torch. src/howfar/_native.py is its one caller. */
#ifndef HOWFAR_H
#define HOWFAR_H

#include <stdint.h>

/* Raise it with every change to a signature below; _native.py refuses a library of another number. */
#define HOWFAR_ABI_VERSION 7

#if defined(_WIN32)
#define HOWFAR_API __declspec(dllexport)
#else
#define HOWFAR_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Instruction sets that a kernel may be compiled for. A bit is set when this processor and this operating system run it. */
enum howfar_isa_bit {
  HOWFAR_ISA_PORTABLE = 1 << 0,
  HOWFAR_ISA_AVX2 = 1 << 1,   /* AVX2 with FMA */
  HOWFAR_ISA_AVX512 = 1 << 2, /* AVX-512 F, DQ, BW, VL */
  HOWFAR_ISA_NEON = 1 << 3
};

HOWFAR_API int32_t howfar_abi_version(void);

HOWFAR_API uint32_t howfar_isa(void);

/* The sum of n doubles with one rounding's error (Neumaier 1974); an infinity or NaN among them comes through. */
HOWFAR_API double howfar_sum_f64(const double *values, int64_t n);

/* What a pair of points is reduced to before anything else: the base quantity u(x, y). */
enum howfar_form {
  HOWFAR_FORM_PRODUCT = 0,    /* |x - y|^2 as |x|^2 + |y|^2 - 2 <x, y>, clouds centred: one multiply-add a feature */
  HOWFAR_FORM_DIFFERENCE = 1, /* |x - y|^2 as the sum of squared differences: two operations, no cancellation */
  HOWFAR_FORM_CITYBLOCK = 2,  /* sum |x - y| */
  HOWFAR_FORM_MINKOWSKI = 3,  /* sum |x - y|^p */
  HOWFAR_FORM_INNER = 4       /* <x, y> as it is; kernel sums only */
};

/* What a kernel sum makes of u; s is the scale and e the exponent of a part, c the offset of the arguments. */
enum howfar_profile {
  HOWFAR_PROFILE_EXP = 0,        /* exp(-s u^e) */
  HOWFAR_PROFILE_RATIONAL = 1,   /* (1 + s u)^-e */
  HOWFAR_PROFILE_POWER = 2,      /* u^e; 0 where u is 0, whatever e */
  HOWFAR_PROFILE_POLYNOMIAL = 3, /* (s u + c)^e, e a positive integer; u an inner product */
  HOWFAR_PROFILE_EXP_SLOPE = 4   /* u^(e - 1) exp(-s u^e); 0 where u is 0 */
};

/* A summand of a kernel sum: factor profile(u), added to one of the results. */
typedef struct howfar_part {
  double exponent;
  int32_t profile;
  int32_t result;
} howfar_part;

/* One call: a batch of problems over all pairs of n rows x and m columns y. Arrays are dense and row-major, float or
 * double by the function's name; a step of 0 repeats one problem for the whole batch. Rows row_begin..row_end - 1 are
 * computed, so that a caller can split a long call. */
typedef struct howfar_pairs {
  const void *x, *y;       /* (batch, n, d), (batch, m, d) */
  const void *h;           /* (batch, m): softmin and nearest, in units of the cost; may be -inf. gibbs: idem */
  const void *f;           /* (batch, n): gibbs, in units of the cost */
  const void *v;           /* (batch, m, q): values to average or to sum; null when q = 0 */
  void *out;               /* softmin (batch, n); gibbs (batch, n, q) or (batch, n, 1 + d); kernel_sum (batch, n, results, q); nearest (batch, n, k) */
  void *averages;          /* softmin (batch, n, q + rest), or (batch, n, d + rest) */
  int64_t *indices;        /* nearest (batch, n, k) */
  const double *scale;     /* (batch): 1 / eps; kernel_sum (batch, parts): s of each part */
  const double *factor;    /* kernel_sum (batch, parts) */
  const howfar_part *part; /* kernel_sum (parts), results in rising order; a part of an inner product is alone */
  int64_t batch, n, m, d, q, k;
  int64_t x_step, y_step, h_step, f_step, v_step;
  int64_t row_begin, row_end;
  double exponent;         /* cost = u^exponent: softmin, gibbs, nearest */
  double p;                /* Minkowski's p, or the polynomial's offset c */
  int32_t form, threads;
  int32_t parts, results;  /* kernel_sum */
  int32_t slope;           /* gibbs: every weight times the slope e u^(e - 1) of the cost in u, 0 where u is 0 */
  const void *left, *right; /* gibbs: (batch, n, r), (batch, m, r): every weight times <left_i, right_j>; null when r = 0 */
  int64_t r, left_step, right_step;
  int32_t tilt;            /* gibbs: that factor, 0 when r = 0, less scale c_ij; not with PRODUCT */
  int32_t pull;            /* softmin: averages (batch, n, d) of dc_ij / dx_i, with q = 0.
                            * gibbs: with q = 1, after the sum also those of weight_ij v_j slope_ij du_ij / dx_i */
  int32_t rest;            /* softmin: whether averages end with what a weight 2^(score + log2(e) scale out_i) misses in its
                            * exponent, since out is rounded */
} howfar_pairs;

/* One call on an explicit matrix c, dense and row-major; reduced over its columns, or over its rows, without a copy.
 * "Own" is the side that has results, "other" the one that is reduced over. Results begin .. end - 1 are computed. */
typedef struct howfar_matrix {
  const void *c;           /* (batch, n, m) */
  const void *h;           /* (batch, other): in units of the cost; may be -inf */
  const void *f;           /* gibbs: (batch, own) */
  const void *v;           /* softmin: (batch, other, q) */
  const void *left, *right; /* gibbs: (batch, own, r), (batch, other, r) */
  void *out;               /* softmin (batch, own); nearest (batch, own, k); gibbs (batch, n, m) */
  void *averages;          /* softmin (batch, own, q + cost) */
  int64_t *indices;        /* nearest (batch, own, k) */
  const double *scale;     /* (batch) */
  int64_t batch, n, m, q, k, r;
  int64_t c_step, h_step, f_step, v_step, left_step, right_step;
  int64_t begin, end;
  int32_t over_rows;       /* whether results belong to columns */
  int32_t cost;            /* softmin: whether the average of c comes after those of v */
  int32_t tilt;            /* gibbs: whether the last term of <left_i, right_j> is times c_ij */
  int32_t threads;
} howfar_matrix;

/* Chooses the kernels' instruction set by one bit of howfar_isa(), 0 for the best there is; returns the bit in use, or 0
 * when the library holds no kernels of that set for this processor. */
HOWFAR_API uint32_t howfar_use(uint32_t isa_bit);

#define HOWFAR_NO_MEMORY (-1)
#define HOWFAR_NO_KERNELS (-2)

/* Each returns 0, or why it could not. */

/* out_i = -(1/scale) log sum_j exp(scale (h_j - c_ij)); averages_i = the averages of v_j under those weights. */
HOWFAR_API int32_t howfar_softmin_f32(const howfar_pairs *args);
HOWFAR_API int32_t howfar_softmin_f64(const howfar_pairs *args);

/* out_i = sum_j exp(scale (f_i + h_j - c_ij)) v_j, q columns. With y and h = out of a soft minimum for x and h here, and its
 * h for f, the scores are its scores to the bit, so that weights are normalised as they were there. A slope of exponent 1 is 1 and needs no asking. Weights may
 * be multiplied by a slope and by a factor of the pair, and be met by the derivative of u: what gradients are made of. */
HOWFAR_API int32_t howfar_gibbs_f32(const howfar_pairs *args);
HOWFAR_API int32_t howfar_gibbs_f64(const howfar_pairs *args);

/* out_ir = sum_j k_r(u_ij) v_j, q columns, k_r the sum of the parts of result r. */
HOWFAR_API int32_t howfar_kernel_sum_f32(const howfar_pairs *args);
HOWFAR_API int32_t howfar_kernel_sum_f64(const howfar_pairs *args);

/* The k smallest c_ij - h_j of each row in rising order, ties by the smaller index; computed as if in double. */
HOWFAR_API int32_t howfar_nearest_f32(const howfar_pairs *args);
HOWFAR_API int32_t howfar_nearest_f64(const howfar_pairs *args);

/* The most that a reduction could do here: each thread evaluates `rounds` tiles of pairs in registers, for each pair
 * `features` multiply-adds, then the 2^t of the kernels and an addition, or without `exponential` a maximum. Returns
 * the pairs of all threads; sums (threads) are what they add up to, or the maxima added up over the lanes. */
HOWFAR_API int64_t howfar_ceiling_f32(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums);
HOWFAR_API int64_t howfar_ceiling_f64(int64_t features, int64_t rounds, int32_t exponential, int32_t threads, double *sums);

/* The tile of pairs that the kernels in use hold in registers: its rows, its columns in float, and in double. */
HOWFAR_API int32_t howfar_tile(int32_t shape[3]);
/* A ragged batch: problem b pairs rows x_offsets[b] .. x_offsets[b + 1] - 1 of x, and of all that belongs to x, with those
 * of y between its offsets. One thread takes one problem; steps, n, m and the rows to compute are not read. Indices count
 * from the first column of the problem. */
enum howfar_reduction { HOWFAR_SOFTMIN = 0, HOWFAR_GIBBS = 1, HOWFAR_KERNEL_SUM = 2, HOWFAR_NEAREST = 3 };
HOWFAR_API int32_t howfar_ragged_f32(int32_t reduction, const howfar_pairs *args, const int64_t *x_offsets,
                                     const int64_t *y_offsets);
HOWFAR_API int32_t howfar_ragged_f64(int32_t reduction, const howfar_pairs *args, const int64_t *x_offsets,
                                     const int64_t *y_offsets);

/* The soft minimum and the nearest neighbours of howfar_pairs, of a matrix. */
HOWFAR_API int32_t howfar_matrix_softmin_f32(const howfar_matrix *args);
HOWFAR_API int32_t howfar_matrix_softmin_f64(const howfar_matrix *args);
HOWFAR_API int32_t howfar_matrix_nearest_f32(const howfar_matrix *args);
HOWFAR_API int32_t howfar_matrix_nearest_f64(const howfar_matrix *args);

/* out = exp(scale (f + h - c)) <left, right>, a matrix: the derivative of a reduction in c. Own are the rows. */
HOWFAR_API int32_t howfar_matrix_gibbs_f32(const howfar_matrix *args);
HOWFAR_API int32_t howfar_matrix_gibbs_f64(const howfar_matrix *args);

/* A batch of entropic transport problems that fit in cache, each alternated by one thread: f from g, then g from f, or
 * f = (f + its update) / 2 for one measure against itself. cost = factor u^exponent of the clouds of `pairs` (of which h,
 * f, v, out and the rows asked for are not used), or an explicit matrix. */
typedef struct howfar_alternation {
  howfar_pairs pairs;
  const void *cost;        /* (batch, n, m), or null */
  const void *a, *b;       /* (batch, n), (batch, m): weights, zeros allowed */
  void *f, *g;             /* (batch, n), (batch, m): g as it starts, then the potentials that were measured */
  const double *start;     /* (batch): the first temperature, halved at each step until eps; none where symmetric */
  const double *eps;       /* (batch) */
  double *error;           /* (batch): L1 distance of the marginals from those promised, relative to the mass */
  int64_t *iterations;     /* (batch): at eps; -1 where the potentials left the range of this method, f and g undefined */
  int64_t cost_step, a_step, b_step;
  int64_t count;           /* most iterations at eps; fewer where the error falls too slowly to reach tol in them */
  double factor, tol;      /* tol 0 asks for all of count */
  double rho;              /* weight of the marginal penalties; 0 for hard marginals */
  int32_t symmetric;
} howfar_alternation;

HOWFAR_API int32_t howfar_alternate_f32(const howfar_alternation *args);
HOWFAR_API int32_t howfar_alternate_f64(const howfar_alternation *args);

/* One iteration of entropic transport in one pass over the pairs: f = the update of g, then the soft minimum over that f,
 * from the same weights exp(scale (f' + g - c)) about an f' that is near. `pairs` brings x, y, h = g, f = f' and the scale;
 * a potential of -inf is one without mass, and the results there are 0. A call takes the rows of whole parts, and of each
 * of them the blocks that start from part_begin to part_end; a part is begun at 0. The last one writes `soft`. */
typedef struct howfar_sweep {
  howfar_pairs pairs;
  const void *a, *b;       /* (batch, n), (batch, m): weights */
  void *f, *soft;          /* (batch, n), (batch, m) */
  void *partial;           /* (batch, parts, columns): working space, kept between the calls of one sweep */
  int64_t *good;           /* (batch, parts): the first is 0 in the end where f' was not near enough, and f and soft undefined */
  int64_t a_step, b_step;
  int64_t part, columns;   /* rows of a part, the last may have fewer; m rounded up to a multiple of 64 */
  int64_t part_begin, part_end;
  const double *damping;   /* (batch): the update of a soft minimum s is damping s, */
  double bound;            /* and no further from 0 than this */
  int32_t truncate;        /* whether points lie in spatial order, and pairs of no weight may be left out */
} howfar_sweep;

HOWFAR_API int32_t howfar_sweep_f32(const howfar_sweep *args);
HOWFAR_API int32_t howfar_sweep_f64(const howfar_sweep *args);

#ifdef __cplusplus
}
#endif

#endif
