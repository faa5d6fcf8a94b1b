/* The primal network simplex for uncapacitated transportation (Dantzig 1951; strongly feasible trees: Cunningham 1976).
 *
 * A basis is a spanning tree of sources 0..n-1, sinks n..n+m-1 and one artificial root. As no arc has a capacity, only arcs
 * of the tree carry mass, so mass is stored with the node below its arc. Mass is integer: a tree stays strongly feasible
 * (an arc without mass points to the root) by exact comparisons, and no sequence of degenerate pivots can repeat a basis. */
#include "howfar_flow.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <vector>

namespace {

typedef int32_t Node;
constexpr Node kNone = -1;
constexpr int32_t kArtificial = -1;

}  // namespace

struct howfar_flow {
  int64_t n, m;
  Node root;
  double big;
  std::vector<int64_t> supply; /* positive for sources, negative for sinks */
  std::vector<Node> source, sink;
  std::vector<double> cost;

  /* The tree. The arc of a node joins it to its parent; `up` says that it points to the parent. */
  std::vector<Node> parent, first_child, next, previous;
  std::vector<int32_t> depth, arc;
  std::vector<char> up;
  std::vector<int64_t> mass;
  std::vector<double> potential; /* cost + potential[source] - potential[sink] is the reduced cost */
  int64_t position = 0;          /* where the search for an entering arc goes on */

  void link(Node child, Node above) {
    parent[child] = above;
    previous[child] = kNone;
    next[child] = first_child[above];
    if (next[child] != kNone) previous[next[child]] = child;
    first_child[above] = child;
  }
  void unlink(Node child) {
    if (previous[child] != kNone)
      next[previous[child]] = next[child];
    else
      first_child[parent[child]] = next[child];
    if (next[child] != kNone) previous[next[child]] = previous[child];
  }
  double arc_cost(Node node) const { return arc[node] == kArtificial ? 0.5 * big : cost[arc[node]]; }

  /* Visits the subtree below `top`, parents first. */
  template <class Visit>
  void below(Node top, const Visit &visit) {
    Node at = top;
    for (;;) {
      visit(at);
      if (first_child[at] != kNone) {
        at = first_child[at];
        continue;
      }
      while (at != top && next[at] == kNone) at = parent[at];
      if (at == top) return;
      at = next[at];
    }
  }
  void refresh(Node top) {
    below(top, [this](Node node) {
      if (node == root) {
        depth[node] = 0;
        potential[node] = 0;
        return;
      }
      depth[node] = depth[parent[node]] + 1;
      potential[node] = potential[parent[node]] + (up[node] ? -arc_cost(node) : arc_cost(node));
    });
  }

  /* Potentials summed anew; the largest of them, which says how far they are rounded. */
  double refreshed() {
    refresh(root);
    double largest = big;
    for (const double value : potential) largest = std::max(largest, std::fabs(value));
    return largest;
  }

  int64_t entering(double tolerance);
  void pivot(int64_t arc_index);
};

/* Block search: the most negative reduced cost of the first block that has any. */
int64_t howfar_flow::entering(double tolerance) {
  const int64_t arcs = (int64_t)cost.size();
  const int64_t block = std::max<int64_t>(64, (int64_t)std::sqrt((double)arcs));
  int64_t best = -1, left = block;
  double least = -tolerance;
  for (int64_t seen = 0; seen < arcs; ++seen) {
    if (position == arcs) position = 0;
    const double reduced = cost[position] + potential[source[position]] - potential[sink[position]];
    if (reduced < least) least = reduced, best = position;
    ++position;
    if (--left == 0) {
      if (best >= 0) return best;
      left = block;
    }
  }
  return best;
}

void howfar_flow::pivot(int64_t e) {
  const Node s = source[e], t = sink[e];
  Node left = s, right = t;
  while (left != right) {
    if (depth[left] >= depth[right])
      left = parent[left];
    else
      right = parent[right];
  }
  const Node join = left;

  /* Of the arcs that lose mass and block first, the last along the cycle leaves: so the tree stays strongly feasible. */
  int64_t step = std::numeric_limits<int64_t>::max();
  Node leaving = kNone;
  bool on_source_side = true;
  for (Node v = s; v != join; v = parent[v])
    if (up[v] && mass[v] < step) step = mass[v], leaving = v;
  for (Node v = t; v != join; v = parent[v])
    if (!up[v] && mass[v] <= step) step = mass[v], leaving = v, on_source_side = false;

  if (step > 0) {
    for (Node v = s; v != join; v = parent[v]) mass[v] += up[v] ? -step : step;
    for (Node v = t; v != join; v = parent[v]) mass[v] += up[v] ? step : -step;
  }

  /* The part cut off by the leaving arc is hung up again by its end of the entering arc. */
  const double reduced = cost[e] + potential[s] - potential[t];
  const Node inner = on_source_side ? s : t, outer = on_source_side ? t : s;
  Node node = inner, above = outer;
  int32_t node_arc = (int32_t)e;
  char node_up = on_source_side ? 1 : 0;
  int64_t node_mass = step;
  for (;;) {
    const Node old_parent = parent[node];
    const int32_t old_arc = arc[node];
    const char old_up = up[node];
    const int64_t old_mass = mass[node];
    unlink(node);
    link(node, above);
    arc[node] = node_arc, up[node] = node_up, mass[node] = node_mass;
    if (node == leaving) break;
    above = node, node = old_parent;
    node_arc = old_arc, node_up = (char)!old_up, node_mass = old_mass;
  }
  const double change = on_source_side ? -reduced : reduced;
  below(inner, [this, change](Node v) {
    depth[v] = depth[parent[v]] + 1;
    potential[v] += change;
  });
}

extern "C" howfar_flow *howfar_flow_new(int64_t n, int64_t m, const int64_t *a, const int64_t *b, double big) {
  try {
    howfar_flow *flow = new howfar_flow();
    const size_t nodes = (size_t)(n + m + 1);
    flow->n = n, flow->m = m, flow->root = (Node)(n + m), flow->big = big;
    flow->supply.resize(nodes - 1);
    std::copy(a, a + n, flow->supply.begin());
    std::transform(b, b + m, flow->supply.begin() + n, [](int64_t x) { return -x; });
    for (auto *links : {&flow->parent, &flow->first_child, &flow->next, &flow->previous}) links->assign(nodes, kNone);
    flow->depth.assign(nodes, 0), flow->arc.assign(nodes, kArtificial), flow->up.assign(nodes, 1);
    flow->mass.assign(nodes, 0), flow->potential.assign(nodes, 0.0);
    return flow;
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
}

extern "C" void howfar_flow_free(howfar_flow *flow) { delete flow; }

extern "C" void howfar_flow_raise(howfar_flow *flow, double big) {
  flow->big = big;
  flow->refresh(flow->root);
}

extern "C" int32_t howfar_flow_add(howfar_flow *flow, int64_t count, const int32_t *i, const int32_t *j, const double *cost) {
  try {
    flow->source.insert(flow->source.end(), i, i + count);
    flow->cost.insert(flow->cost.end(), cost, cost + count);
    flow->sink.reserve(flow->sink.size() + (size_t)count);
    for (int64_t k = 0; k < count; ++k) flow->sink.push_back((Node)(flow->n + j[k]));
    return 0;
  } catch (const std::bad_alloc &) {
    return -1;
  }
}

extern "C" int32_t howfar_flow_start(howfar_flow *flow, const double *key) {
  try {
    const size_t arcs = flow->cost.size();
    std::vector<int32_t> order(arcs);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [key](int32_t p, int32_t q) { return key[p] < key[q] || (key[p] == key[q] && p < q); });
    std::vector<int64_t> left(flow->supply);
    for (auto &amount : left) amount = std::llabs(amount);

    /* Each shipment exhausts a node, which then hangs below the other end; what is never exhausted hangs at the root. */
    std::vector<char> hung(left.size(), 0);
    for (const int32_t e : order) {
      const Node s = flow->source[(size_t)e], t = flow->sink[(size_t)e];
      const int64_t amount = std::min(left[s], left[t]);
      if (amount <= 0) continue;
      left[s] -= amount, left[t] -= amount;
      /* When both are exhausted the sink hangs below the source: an artificial arc without mass must point up. */
      const bool sink_below = left[t] == 0;
      const Node child = sink_below ? t : s, above = sink_below ? s : t;
      flow->link(child, above);
      flow->arc[child] = e, flow->up[child] = (char)!sink_below, flow->mass[child] = amount;
      hung[child] = 1;
    }
    for (Node v = 0; v < flow->root; ++v) {
      if (hung[v]) continue;
      flow->link(v, flow->root);
      flow->arc[v] = kArtificial, flow->up[v] = (char)(v < flow->n), flow->mass[v] = left[v];
    }
    flow->refresh(flow->root);
    flow->position = 0;
    return 0;
  } catch (const std::bad_alloc &) {
    return -1;
  }
}

extern "C" int64_t howfar_flow_solve(howfar_flow *flow, int64_t max_pivots, double tolerance) {
  /* Potentials are moved by differences; from time to time they are summed anew, so that rounding does not pile up. */
  constexpr int64_t kRefresh = 50000;
  int64_t made = 0;
  double zero = 0;
  for (; made < max_pivots; ++made) {
    if (made % kRefresh == 0) zero = tolerance * flow->refreshed();
    int64_t e = flow->entering(zero);
    if (e < 0) {
      zero = tolerance * flow->refreshed();
      e = flow->entering(zero);
      if (e < 0) break;
    }
    flow->pivot(e);
  }
  return made;
}

extern "C" void howfar_flow_duals(const howfar_flow *flow, double *f, double *g) {
  for (int64_t i = 0; i < flow->n; ++i) f[i] = -flow->potential[(size_t)i];
  for (int64_t j = 0; j < flow->m; ++j) g[j] = flow->potential[(size_t)(flow->n + j)];
}

extern "C" int64_t howfar_flow_read(const howfar_flow *flow, int32_t *i, int32_t *j, int64_t *mass) {
  int64_t count = 0;
  for (Node v = 0; v < flow->root; ++v) {
    if (flow->arc[(size_t)v] == kArtificial || flow->mass[(size_t)v] == 0) continue;
    if (i) {
      const size_t e = (size_t)flow->arc[(size_t)v];
      i[count] = flow->source[e], j[count] = (int32_t)(flow->sink[e] - flow->n), mass[count] = flow->mass[(size_t)v];
    }
    ++count;
  }
  return count;
}

extern "C" int64_t howfar_flow_artificial(const howfar_flow *flow) {
  int64_t amount = 0;
  for (Node v = 0; v < flow->n; ++v)
    if (flow->arc[(size_t)v] == kArtificial) amount += flow->mass[(size_t)v];
  return amount;
}
