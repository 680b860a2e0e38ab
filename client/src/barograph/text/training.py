"""Training of a codebook: k-means on the unit sphere, and the threshold of the topic `new` from held-out texts."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from barograph.text.codebook import FORMAT_VERSION, MAX_CLUSTERS, Codebook, CodebookHeader, unit_rows
from barograph.text.embedding import EmbeddingName, Vectors
from barograph.text.errors import TextError

HELD_OUT_SHARE = 0.2
"""Share of the texts that only set the threshold."""
QUANTILE = 0.99
"""Quantile of the held-out texts' distances that becomes the threshold: about 1 % of the same traffic is `new`."""
MIN_TEXTS_PER_CLUSTER = 5
RESTARTS, MAX_ITERATIONS = 4, 100


def train_codebook(
    vectors: Vectors, embedding: EmbeddingName, *, n_clusters: int, seed: int = 0, quantile: float = QUANTILE
) -> Codebook:
    """Train a codebook; equal arguments give an equal codebook.

    Args:
        vectors: A row per text.
        seed: Of the split, of the first centroids.
        quantile: Of the held-out texts' distances, the threshold of `new`.

    Raises:
        TextError: There are too few texts, or vectors that are not usable.
    """
    if not 2 <= n_clusters <= MAX_CLUSTERS:
        raise TextError(f"{n_clusters} clusters: write 2 to {MAX_CLUSTERS}")
    if not 0.5 <= quantile < 1:
        raise TextError(f"the quantile {quantile:g} is outside [0.5, 1): write 0.99")
    if vectors.ndim != 2 or vectors.shape[1] != embedding.dimensions:
        raise TextError(f"the vectors have the shape {vectors.shape}, not a row of {embedding.dimensions} per text")
    rows = unit_rows(vectors)
    if not np.any(rows, axis=1).all():
        raise TextError("some vectors are zero or not finite; remove their texts")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    n_held_out = round(len(rows) * HELD_OUT_SHARE)
    held_out, training = rows[order[:n_held_out]], rows[order[n_held_out:]]
    if len(training) < MIN_TEXTS_PER_CLUSTER * n_clusters:
        needed = -(-MIN_TEXTS_PER_CLUSTER * n_clusters * 5 // 4)
        raise TextError(f"{len(rows)} texts are too few for {n_clusters} clusters; take {needed} or fewer clusters")
    runs = [_cluster(training, n_clusters, rng) for _ in range(RESTARTS)]
    centroids, _ = max(runs, key=lambda run: run[1])
    distances = 1 - (held_out @ centroids.T).max(axis=1)
    header = CodebookHeader(
        format=FORMAT_VERSION,
        embedding=embedding,
        names=tuple(f"t{cluster}" for cluster in range(n_clusters)),
        threshold=min(2.0, max(float(np.quantile(distances, quantile)), 1e-6)),
        quantile=quantile,
        n_training=len(training),
        n_held_out=n_held_out,
        seed=seed,
    )
    return Codebook(header, centroids)


def _cluster(rows: Vectors, n_clusters: int, rng: Generator) -> tuple[Vectors, float]:
    """Return centroids and the mean cosine of rows to their nearest; the largest clusters come first."""
    centroids = _first_centroids(rows, n_clusters, rng)
    assigned = np.full(len(rows), -1)
    for _ in range(MAX_ITERATIONS):
        similarities = rows @ centroids.T
        nearest = similarities.argmax(axis=1)
        if np.array_equal(nearest, assigned):
            break
        assigned = nearest
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, rows)
        empty = np.flatnonzero(~np.any(sums, axis=1))
        if len(empty):
            # An empty cluster takes the rows that fit worst.
            sums[empty] = rows[np.argsort(similarities.max(axis=1), kind="stable")[: len(empty)]]
        centroids = unit_rows(sums)
    sizes = np.bincount(assigned, minlength=n_clusters)
    centroids = centroids[np.argsort(-sizes, kind="stable")]
    return centroids, float((rows @ centroids.T).max(axis=1).mean())


def _first_centroids(rows: Vectors, n_clusters: int, rng: Generator) -> Vectors:
    """Choose rows far from each other, as k-means++ does."""
    chosen = [int(rng.integers(len(rows)))]
    distances = np.full(len(rows), np.inf)
    for _ in range(n_clusters - 1):
        distances = np.minimum(distances, np.maximum(0.0, 1 - rows @ rows[chosen[-1]]).astype(np.float64))
        total = distances.sum()
        if total <= 0:
            chosen.append(int(rng.integers(len(rows))))
            continue
        chosen.append(
            int(np.searchsorted(np.cumsum(distances), rng.random() * total, side="right").clip(0, len(rows) - 1))
        )
    return rows[chosen].copy()
