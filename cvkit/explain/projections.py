"""Maps of features: places in a plane at which similar rows are close to each other."""

from collections.abc import Callable

import numpy as np

COMPONENTS = 50
"""Principal components that t-SNE begins with: distances among more are mostly noise."""
LEAST = 4
"""Fewest rows of a map."""


def principal(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the [N, count] places of rows along their directions of largest variance.

    The sign of a direction is that of its largest part, so that it does not depend on the machine.
    """
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:count]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    found = centred @ (axes * np.where(largest < 0, -1.0, 1.0)).T
    return np.pad(found, ((0, 0), (0, count - found.shape[1])))


def by_pca(rows: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Return the places along the first two principal components."""
    return principal(rows, 2)


def by_tsne(rows: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Return the places that t-SNE finds from those of the principal components, without chance.

    Source: Visualizing Data using t-SNE, 2008, JMLR 9.
    """
    from sklearn.manifold import TSNE

    small = principal(rows, min(COMPONENTS, *rows.shape)).astype(np.float32)
    nearby = min(perplexity, (len(rows) - 1) / 3)
    return TSNE(perplexity=nearby, init="pca", random_state=seed).fit_transform(small)


def by_umap(rows: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Return the places that UMAP finds; the perplexity is its number of neighbours.

    Source: UMAP: Uniform Manifold Approximation and Projection, 2018, arXiv:1802.03426.
    """
    from umap import UMAP

    nearby = max(2, min(round(perplexity), len(rows) - 1))
    start = "spectral" if len(rows) > 2 * LEAST else "random"
    made = UMAP(n_neighbors=nearby, metric="cosine", random_state=seed, n_jobs=1, init=start)
    return made.fit_transform(rows)


PROJECTIONS: dict[str, Callable[[np.ndarray, float, int], np.ndarray]] = {
    "tsne": by_tsne,
    "umap": by_umap,
    "pca": by_pca,
}
"""[N, D] rows, a perplexity and a seed to [N, 2] places."""


def project(rows: np.ndarray, how: str, perplexity: float, seed: int) -> np.ndarray:
    """Return [N, 2] float32 places in [0, 1]; the longer side of the map has length 1.

    Args:
        rows: [N, D], at least `LEAST`.
        how: key of `PROJECTIONS`.
        perplexity: number of neighbours that count as near.
        seed: of random choices.
    """
    found = np.asarray(PROJECTIONS[how](rows, perplexity, seed), np.float64)
    low, high = found.min(0), found.max(0)
    longest = max((high - low).max(), np.finfo(np.float32).tiny)
    centred = found - (low + high) / 2
    return (centred / longest + 0.5).astype(np.float32)
