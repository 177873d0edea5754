"""Forests as plain numbers: what a fitted forest of scikit-learn knows, and how it decides, without its classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN

LEAF = -1


class Tree(BaseModel):
    """A binary tree: node i sends values up to `threshold[i]` of `feature[i]` to `left[i]`, others to `right[i]`.

    Leaves have left = -1; `values` holds the answer of each leaf (leaf, outputs) and `leaf[i]` its row, -1 elsewhere.
    """

    model_config = FROZEN
    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    leaf: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]

    def answer(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values (n, outputs) of the leaves that features (n, columns) fall into."""
        # scikit-learn compares single precision values with double precision thresholds.
        exact = features.astype(np.float32)
        left, right = np.array(self.left), np.array(self.right)
        feature, threshold = np.array(self.feature), np.array(self.threshold)
        node = np.zeros(len(features), dtype=np.int64)
        while (open_ := left[node] != LEAF).any():
            goes_left = exact[np.arange(len(node)), feature[node]] <= threshold[node]
            node = np.where(open_, np.where(goes_left, left[node], right[node]), node)
        return np.asarray(np.array(self.values)[np.array(self.leaf)[node]])


def plain_tree(fitted: Any, values: NDArray[np.float64]) -> Tree:
    """The tree inside a fitted estimator of scikit-learn (its `tree_`), with `values` (node, outputs) to answer."""
    leaves = fitted.children_left == LEAF
    row = np.where(leaves, np.cumsum(leaves) - 1, LEAF)
    return Tree(
        feature=tuple(max(int(index), 0) for index in fitted.feature),
        threshold=tuple(float(value) for value in fitted.threshold),
        left=tuple(int(node) for node in fitted.children_left),
        right=tuple(int(node) for node in fitted.children_right),
        leaf=tuple(int(index) for index in row),
        values=tuple(tuple(float(value) for value in answer) for answer in values[leaves]),
    )


def forest_answer(trees: Sequence[Tree], features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean answer (n, outputs) of the trees."""
    return np.asarray(np.mean([tree.answer(features) for tree in trees], axis=0))
