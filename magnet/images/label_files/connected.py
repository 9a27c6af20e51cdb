"""Connected components of a graph, in arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["components", "followed"]


def components(nodes: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest node that each node is connected to.

    Args:
        nodes: how many there are.
        first, second: (n,) nodes at both ends of each edge.

    Returns:
        (nodes,) int64.
    """
    root = np.arange(nodes)
    while True:
        a, b = root[first], root[second]
        apart = a != b
        if not apart.any():
            return root
        first, second, a, b = first[apart], second[apart], a[apart], b[apart]
        # each tree is hung below its smallest neighbour that is smaller, so that no circle can come about
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        root = followed(root)


def followed(parent: np.ndarray) -> np.ndarray:
    """The root above each node, where ``parent`` of a root is itself."""
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return parent
        parent = above
