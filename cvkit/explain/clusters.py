"""Clusters of rows of features, and how well they agree with labels."""

from collections.abc import Sequence

import numpy as np

STARTS = 10
"""Random starts of k-means, of which the best one counts."""
MANY = 20_000
"""From this number of rows on, k-means works on batches of them."""


def cluster(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the [N] clusters that k-means finds, numbered from 0 by decreasing size.

    Args:
        rows: [N, D]; of length 1 their distances follow from their cosines.
        count: of clusters, at most N.
        seed: of the random starts.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if len(rows) < MANY else MiniBatchKMeans
    found = kind(count, n_init=STARTS, random_state=seed).fit_predict(rows)
    sizes = np.bincount(found, minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(count)
    return rank[found]


def mutual_information(clusters: Sequence[int], labels: Sequence[str]) -> float:
    """Return the mutual information of clusters and labels, divided by their mean entropy.

    0 if the clusters say nothing about the labels, 1 if they are the same division.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(list(labels), list(clusters)))


def clustering_accuracy(clusters: Sequence[int], labels: Sequence[str]) -> float:
    """Return the share of rows that are right when each cluster stands for at most one label.

    Clusters and labels are matched so that the share is largest (Hungarian algorithm).
    """
    from scipy.optimize import linear_sum_assignment

    names, which = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.zeros((max(clusters) + 1, len(names)), np.int64)
    np.add.at(counts, (np.asarray(clusters), which), 1)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(labels))
