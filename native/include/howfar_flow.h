/* Transportation on a sparse set of arcs: part of the C interface, see howfar.h. */
#ifndef HOWFAR_FLOW_H
#define HOWFAR_FLOW_H

#include "howfar.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct howfar_flow howfar_flow;

/* Ships the supplies a (n) to the demands b (m), non-negative integers of equal sum. Every source also reaches every sink
 * through one artificial node at the cost `big`, so that a solution exists from the start; at an optimum over all arcs that
 * path carries nothing, provided that big exceeds every cost. Null when memory could not be had. */
HOWFAR_API howfar_flow *howfar_flow_new(int64_t n, int64_t m, const int64_t *a, const int64_t *b, double big);
HOWFAR_API void howfar_flow_free(howfar_flow *flow);

/* Another cost of the artificial path, when mass still takes it at an optimum. */
HOWFAR_API void howfar_flow_raise(howfar_flow *flow, double big);

/* Adds arcs i -> j with their costs. 0, or -1 when memory could not be had. */
HOWFAR_API int32_t howfar_flow_add(howfar_flow *flow, int64_t count, const int32_t *i, const int32_t *j, const double *cost);

/* The first basis: mass is sent greedily along the arcs in rising order of `key` (one for each arc). Once, before solve. */
HOWFAR_API int32_t howfar_flow_start(howfar_flow *flow, const double *key);

/* Pivots of the network simplex for about so many seconds; arcs enter while their reduced cost is below -tolerance times
 * the largest dual. 1 when the basis is optimal over the arcs that there are, 0 when it is to be called again: the pivots
 * are the same, however they are shared out among calls. */
HOWFAR_API int32_t howfar_flow_solve(howfar_flow *flow, double seconds, double tolerance);

/* Duals f (n), g (m) with f_i + g_j <= cost_ij + tolerance on every arc. */
HOWFAR_API void howfar_flow_duals(const howfar_flow *flow, double *f, double *g);

/* The arcs that carry mass, at most n + m - 1 of them: their number, and as many i, j, mass where those are not null.
 * Mass that still takes the artificial path is not among them; howfar_flow_artificial is its amount. */
HOWFAR_API int64_t howfar_flow_read(const howfar_flow *flow, int32_t *i, int32_t *j, int64_t *mass);
HOWFAR_API int64_t howfar_flow_artificial(const howfar_flow *flow);

#ifdef __cplusplus
}
#endif

#endif
