/* The primal network simplex for uncapacitated transportation (Dantzig 1951; strongly feasible trees: Cunningham 1976).
 *
 * A basis is a spanning tree of sources 0..n-1, sinks n..n+m-1 and one artificial root. As no arc has a capacity, only arcs
 * of the tree carry mass, so mass is stored with the node below its arc. Mass is integer: a tree stays strongly feasible
 * (an arc without mass points to the root) by exact comparisons, and no sequence of degenerate pivots can repeat a basis.
 *
 * Nodes and arcs are renumbered so that what is near in the graph is near in memory. A block of arcs is then one
 * neighbourhood, which halves the pivots as well as the time of each. */
#include "howfar_flow.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <vector>

namespace {

typedef int32_t Node;
constexpr Node kNone = -1;

/* A node of the tree with the arc to its parent. The subtree of a node is the run from it to `last` in preorder. */
struct Branch {
  int64_t mass;
  Node parent, after, before, last;
  int32_t depth, arc;
};

}  // namespace

struct howfar_flow {
  int64_t n, m;
  Node root;
  double big;
  std::vector<int64_t> supply; /* positive for sources, negative for sinks */

  /* Arc v < root is the artificial one between node v and the root. It may enter again as any other, so no dual is above
   * half of big, and none is large for the sake of arcs that carry nothing. */
  std::vector<Node> source, sink;
  std::vector<double> cost;

  std::vector<Node> place, origin; /* the number of every node here, and back */

  std::vector<Branch> tree;
  std::vector<double> potential; /* cost + potential[source] - potential[sink] is the reduced cost */
  int64_t position = 0;          /* where the search for an entering arc goes on */
  int64_t pivots = 0;
  double zero = 0; /* reduced costs this small are rounding */

  /* Every arc leaves a source, so the arc of a source points to its parent, and that of a sink away from it. */
  bool up(Node node) const { return node < n; }

  /* Takes the run first..end out of the order; what came before it. */
  Node cut(Node first, Node end) {
    const Node left = tree[first].before, right = tree[end].after;
    tree[left].after = right, tree[right].before = left;
    return left;
  }
  /* Puts the run first..end behind `left`. */
  void insert(Node first, Node end, Node left) {
    const Node right = tree[left].after;
    tree[left].after = first, tree[first].before = left;
    tree[end].after = right, tree[right].before = end;
  }
  /* Puts a tree below the root of another. */
  void hang(Node child, Node above) {
    tree[child].parent = above;
    if (tree[above].last == above) tree[above].last = tree[child].last;
    insert(child, tree[child].last, above);
  }
  /* Potentials summed anew, so that rounding does not pile up; the largest of them, which says how far they are rounded. */
  double refreshed() {
    double largest = big;
    for (Node v = tree[root].after; v != root; v = tree[v].after) {
      const Node above = tree[v].parent;
      tree[v].depth = tree[above].depth + 1;
      potential[v] = potential[above] + (up(v) ? -cost[tree[v].arc] : cost[tree[v].arc]);
      largest = std::max(largest, std::fabs(potential[v]));
    }
    return largest;
  }

  void price_artificial() { std::fill(cost.begin(), cost.begin() + root, 0.5 * big); }
  void renumber(std::vector<int32_t> &order);
  int64_t entering();
  void pivot(int64_t arc_index);
};

/* The order in which single linkage (Kruskal 1956) along the arcs, given in rising order, joins the nodes up. Arcs are
 * sorted by their source then, and `order` names them by their new places. */
void howfar_flow::renumber(std::vector<int32_t> &order) {
  const size_t nodes = (size_t)root, arcs = cost.size();
  std::vector<Node> cluster(nodes), next(nodes, kNone), last(nodes);
  std::iota(cluster.begin(), cluster.end(), 0);
  std::iota(last.begin(), last.end(), 0);
  const auto find = [&cluster](Node v) {
    while (cluster[v] != v) v = cluster[v] = cluster[cluster[v]];
    return v;
  };
  for (const int32_t e : order) {
    const Node left = find(source[e]), right = find(sink[e]);
    if (left == right) continue;
    cluster[right] = left, next[last[left]] = right, last[left] = last[right];
  }
  Node sources = 0, sinks = (Node)n;
  for (Node first = 0; first < root; ++first) {
    if (cluster[first] != first) continue;
    for (Node v = first; v != kNone; v = next[v]) place[v] = v < n ? sources++ : sinks++;
  }
  for (Node v = 0; v < root; ++v) origin[place[v]] = v;

  const std::vector<int64_t> old_supply(supply);
  for (Node v = 0; v < root; ++v) supply[place[v]] = old_supply[v];
  std::vector<int32_t> from(arcs), to(arcs);
  std::iota(from.begin(), from.end(), 0);
  std::sort(from.begin() + root, from.end(), [this](int32_t p, int32_t q) {
    const Node at = place[source[p]], other = place[source[q]];
    return at < other || (at == other && p < q);
  });
  const std::vector<Node> old_source(source), old_sink(sink);
  const std::vector<double> old_cost(cost);
  for (size_t e = nodes; e < arcs; ++e) {
    const int32_t old = from[e];
    to[old] = (int32_t)e;
    source[e] = place[old_source[old]], sink[e] = place[old_sink[old]], cost[e] = old_cost[old];
  }
  for (int32_t &e : order) e = to[e];
}

/* Block search: the most negative reduced cost of the first block that has any. */
int64_t howfar_flow::entering() {
  const int64_t arcs = (int64_t)cost.size();
  const int64_t block = std::max<int64_t>(64, (int64_t)std::sqrt((double)arcs));
  for (int64_t seen = 0; seen < arcs;) {
    if (position == arcs) position = 0;
    const int64_t stop = std::min(position + block, arcs);
    seen += stop - position;
    int64_t best = -1;
    double least = -zero;
    for (; position < stop; ++position) {
      const double reduced = cost[position] + potential[source[position]] - potential[sink[position]];
      if (reduced < least) least = reduced, best = position;
    }
    if (best >= 0) return best;
  }
  return -1;
}

void howfar_flow::pivot(int64_t e) {
  const Node s = source[e], t = sink[e];

  /* Of the arcs that lose mass and block first, the last along the cycle leaves: so the tree stays strongly feasible. */
  constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();
  int64_t source_step = kUnbounded, sink_step = kUnbounded;
  Node source_leaves = kNone, sink_leaves = kNone, left = s, right = t;
  const auto climb_left = [&] {
    const Branch &branch = tree[left];
    if (up(left) && branch.mass < source_step) source_step = branch.mass, source_leaves = left;
    left = branch.parent;
  };
  const auto climb_right = [&] {
    const Branch &branch = tree[right];
    if (!up(right) && branch.mass <= sink_step) sink_step = branch.mass, sink_leaves = right;
    right = branch.parent;
  };
  while (tree[left].depth > tree[right].depth) climb_left();
  while (tree[right].depth > tree[left].depth) climb_right();
  while (left != right) climb_left(), climb_right();
  const Node join = left;
  const bool on_source_side = source_step < sink_step;
  const int64_t step = std::min(source_step, sink_step);
  const Node leaving = on_source_side ? source_leaves : sink_leaves;

  if (step > 0) {
    for (Node v = s; v != join; v = tree[v].parent) tree[v].mass += up(v) ? -step : step;
    for (Node v = t; v != join; v = tree[v].parent) tree[v].mass += up(v) ? step : -step;
  }

  /* The part cut off by the leaving arc is hung up again by its end of the entering arc. On the way from there to the
   * leaving arc every parent becomes a child; what hangs beside the way keeps its order and moves in one piece. */
  const double reduced = cost[e] + potential[s] - potential[t], change = on_source_side ? -reduced : reduced;
  const Node inner = on_source_side ? s : t, outer = on_source_side ? t : s;
  Node node = inner, above = outer, end = tree[inner].last, tail = kNone, kept;
  int32_t node_arc = (int32_t)e, depth = tree[outer].depth + 1;
  int64_t node_mass = step;
  for (;; ++depth) {
    const Branch old = tree[node];
    const int32_t deeper = depth - old.depth;
    for (Node v = node;; v = tree[v].after) {
      tree[v].depth += deeper;
      potential[v] += change;
      if (v == end) break;
    }
    kept = cut(node, end);
    if (tail != kNone) tree[tail].after = node, tree[node].before = tail;
    tail = end;
    tree[node].parent = above, tree[node].arc = node_arc, tree[node].mass = node_mass;
    above = node, node = old.parent, node_arc = old.arc, node_mass = old.mass;
    end = tree[node].last == old.last ? kept : tree[node].last;
    if (above == leaving) {
      for (Node v = node; v != kNone && tree[v].last == old.last; v = tree[v].parent) tree[v].last = kept;
      break;
    }
  }
  for (Node v = leaving; v != outer; v = tree[v].parent) tree[v].last = tail;
  if (tree[outer].last == outer)
    for (Node v = outer; v != kNone && tree[v].last == outer; v = tree[v].parent) tree[v].last = tail;
  insert(inner, tail, outer);
}

extern "C" howfar_flow *howfar_flow_new(int64_t n, int64_t m, const int64_t *a, const int64_t *b, double big) {
  try {
    howfar_flow *flow = new howfar_flow();
    const size_t nodes = (size_t)(n + m + 1);
    flow->n = n, flow->m = m, flow->root = (Node)(n + m), flow->big = big;
    flow->supply.resize(nodes - 1);
    std::copy(a, a + n, flow->supply.begin());
    std::transform(b, b + m, flow->supply.begin() + n, [](int64_t x) { return -x; });
    flow->place.resize(nodes - 1), flow->origin.resize(nodes - 1);
    std::iota(flow->place.begin(), flow->place.end(), 0);
    std::iota(flow->origin.begin(), flow->origin.end(), 0);
    flow->source.resize(nodes - 1), flow->sink.resize(nodes - 1), flow->cost.resize(nodes - 1);
    flow->price_artificial();
    flow->tree.resize(nodes);
    for (Node v = 0; v <= flow->root; ++v) {
      flow->tree[(size_t)v] = Branch{0, kNone, v, v, v, 0, v};
      if (v < flow->root) flow->source[(size_t)v] = v < n ? v : flow->root, flow->sink[(size_t)v] = v < n ? flow->root : v;
    }
    flow->potential.assign(nodes, 0.0);
    return flow;
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
}

extern "C" void howfar_flow_free(howfar_flow *flow) { delete flow; }

extern "C" void howfar_flow_raise(howfar_flow *flow, double big) {
  flow->big = big;
  flow->price_artificial();
  flow->refreshed();
}

extern "C" int32_t howfar_flow_add(howfar_flow *flow, int64_t count, const int32_t *i, const int32_t *j, const double *cost) {
  try {
    const size_t arcs = flow->cost.size() + (size_t)count;
    flow->source.reserve(arcs), flow->sink.reserve(arcs), flow->cost.reserve(arcs);
    flow->cost.insert(flow->cost.end(), cost, cost + count);
    for (int64_t k = 0; k < count; ++k) {
      flow->source.push_back(flow->place[(size_t)i[k]]);
      flow->sink.push_back(flow->place[(size_t)(flow->n + j[k])]);
    }
    return 0;
  } catch (const std::bad_alloc &) {
    return -1;
  }
}

extern "C" int32_t howfar_flow_start(howfar_flow *flow, const double *key) {
  try {
    std::vector<int32_t> order(flow->cost.size() - (size_t)flow->root);
    std::iota(order.begin(), order.end(), (int32_t)flow->root);
    const Node first = flow->root;
    std::sort(order.begin(), order.end(), [key, first](int32_t p, int32_t q) {
      const double left = key[p - first], right = key[q - first];
      return left < right || (left == right && p < q);
    });
    flow->renumber(order);
    std::vector<int64_t> left(flow->supply);
    for (auto &amount : left) amount = std::llabs(amount);

    /* Each shipment exhausts a node, which then hangs below the other end; what is never exhausted hangs at the root. */
    std::vector<char> hung(left.size(), 0);
    for (const int32_t e : order) {
      const Node s = flow->source[(size_t)e], t = flow->sink[(size_t)e];
      const int64_t amount = std::min(left[s], left[t]);
      if (amount <= 0 || flow->cost[(size_t)e] >= flow->big) continue;
      left[s] -= amount, left[t] -= amount;
      /* When both are exhausted the sink hangs below the source: an artificial arc without mass must point up. */
      const bool sink_below = left[t] == 0;
      const Node child = sink_below ? t : s, above = sink_below ? s : t;
      flow->hang(child, above);
      flow->tree[child].arc = e, flow->tree[child].mass = amount;
      hung[child] = 1;
    }
    for (Node v = 0; v < flow->root; ++v) {
      if (hung[v]) continue;
      flow->hang(v, flow->root);
      flow->tree[v].mass = left[v];
    }
    flow->refreshed();
    return 0;
  } catch (const std::bad_alloc &) {
    return -1;
  }
}

extern "C" int32_t howfar_flow_solve(howfar_flow *flow, double seconds, double tolerance) {
  constexpr int64_t kRefresh = 50000, kGlance = 16;
  using Clock = std::chrono::steady_clock;
  const auto stop = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    for (int64_t made = 0; made < kGlance; ++made) {
      /* Potentials are moved by differences; from time to time they are summed anew, so that rounding does not pile up. */
      if (flow->pivots++ % kRefresh == 0) flow->zero = tolerance * flow->refreshed();
      int64_t e = flow->entering();
      if (e < 0) {
        flow->zero = tolerance * flow->refreshed();
        e = flow->entering();
        if (e < 0) return 1;
      }
      flow->pivot(e);
    }
  } while (Clock::now() < stop);
  return 0;
}

extern "C" void howfar_flow_duals(const howfar_flow *flow, double *f, double *g) {
  const Node *const sinks = flow->place.data() + flow->n;
  for (int64_t i = 0; i < flow->n; ++i) f[i] = -flow->potential[(size_t)flow->place[(size_t)i]];
  for (int64_t j = 0; j < flow->m; ++j) g[j] = flow->potential[(size_t)sinks[j]];
}

extern "C" int64_t howfar_flow_read(const howfar_flow *flow, int32_t *i, int32_t *j, int64_t *mass) {
  int64_t count = 0;
  for (Node v = 0; v < flow->root; ++v) {
    const Branch &branch = flow->tree[(size_t)v];
    if (branch.arc < flow->root || branch.mass == 0) continue;
    if (i) {
      const size_t e = (size_t)branch.arc;
      i[count] = flow->origin[(size_t)flow->source[e]];
      j[count] = (int32_t)(flow->origin[(size_t)flow->sink[e]] - flow->n), mass[count] = branch.mass;
    }
    ++count;
  }
  return count;
}

extern "C" int64_t howfar_flow_artificial(const howfar_flow *flow) {
  int64_t amount = 0;
  for (Node v = 0; v < flow->n; ++v)
    if (flow->tree[(size_t)v].arc < flow->root) amount += flow->tree[(size_t)v].mass;
  return amount;
}
