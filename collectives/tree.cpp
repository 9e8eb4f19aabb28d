#include <algorithm>

#include "collectives/topology.hpp"

namespace gradwire::collectives {
namespace {

struct BinaryTree {
  explicit BinaryTree(int size)
      : parent(static_cast<std::size_t>(size), -1),
        depth(static_cast<std::size_t>(size), 0),
        height(static_cast<std::size_t>(size), 0) {}
  int root = 0;
  std::vector<int> parent;
  std::vector<int> depth;
  std::vector<int> height;  ///< hops down to the deepest leaf below
};

// Places [begin, end) in order, so that every inner node sits at an odd position. Left subtrees always have
// an odd size, which keeps the parity of positions on the right. Returns the root.
int place(BinaryTree& tree, int begin, int end, int parent, int depth) {
  const int size = end - begin;
  if (size == 0) return -1;
  const int inner = size / 2;
  const int left_inner = size % 2 == 0 ? inner / 2 : (inner - 1) / 2;
  const int root = size == 1 ? begin : begin + 2 * left_inner + 1;
  const auto r = static_cast<std::size_t>(root);
  tree.parent[r] = parent;
  tree.depth[r] = depth;
  if (size == 1) return root;
  for (const int child :
       {place(tree, begin, root, root, depth + 1), place(tree, root + 1, end, root, depth + 1)}) {
    if (child >= 0)
      tree.height[r] = std::max(tree.height[r], tree.height[static_cast<std::size_t>(child)] + 1);
  }
  return root;
}

BinaryTree in_order_tree(int size) {
  BinaryTree tree(size);
  tree.root = place(tree, 0, size, -1, 0);
  return tree;
}

}  // namespace

// The double binary tree of Sanders, Speck and Traff: two trees, each for half of the elements, arranged so
// that no rank is an inner node of both. In the first, ranks stand in order and the odd ones are inner nodes;
// the second is the first mirrored for an even number of ranks and shifted by one for an odd number, which
// makes the even ones (but 0) inner nodes.
Topology tree_topology(int ranks) {
  if (ranks == 1) return binomial_topology(1, 0);
  const auto size = static_cast<std::size_t>(ranks);
  const BinaryTree shape = in_order_tree(ranks);
  const int in_rounds = shape.height[static_cast<std::size_t>(shape.root)];

  Topology topology{.ranks = ranks, .chunk_count = 2, .layers = 1, .chunks = {}};
  for (int chunk = 0; chunk < 2; ++chunk) {
    const auto rank_at = [&](int position) {
      if (chunk == 0) return position;
      return ranks % 2 == 0 ? ranks - 1 - position : (position + 1) % ranks;
    };
    Tree in{.owner = rank_at(shape.root),
            .parent = std::vector<int>(size, -1),
            .round = std::vector<int>(size, -1)};
    Tree out = in;
    for (std::size_t position = 0; position < size; ++position) {
      if (shape.parent[position] < 0) continue;
      const auto r = static_cast<std::size_t>(rank_at(static_cast<int>(position)));
      in.parent[r] = out.parent[r] = rank_at(shape.parent[position]);
      in.round[r] = shape.height[position];
      out.round[r] = in_rounds + shape.depth[position] - 1;
    }
    topology.chunks.push_back({ChunkTrees{.layer = 0, .in = std::move(in), .out = std::move(out)}});
  }
  return topology;
}

}  // namespace gradwire::collectives
