"""Classifiers on features of a frozen network, which measure what the features tell."""

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from cvkit.models.classify import NearestNeighbours

MAX_STEPS = 1000
"""Of the solver of the linear classifier (L-BFGS)."""


def linear_probabilities(
    features: Tensor, labels: Tensor, others: Tensor, num_classes: int, regularization: float
) -> Tensor:
    """Return the [M, K] class probabilities of features by multinomial logistic regression.

    The features are standardised by mean and deviation of the first ones; constant ones count 0.

    Args:
        features: [N, D] to fit on.
        labels: [N] of them.
        others: [M, D] to classify.
        num_classes: K.
        regularization: factor of half the sum of squared weights, beside the mean loss.
    """
    mean, deviation = features.mean(0), features.std(0, correction=0)
    scale = torch.where(deviation > 0, 1 / deviation, 0.0)
    strength = 1 / (regularization * len(features)) if regularization else float("inf")
    fit = LogisticRegression(C=strength, max_iter=MAX_STEPS)
    fit.fit(((features - mean) * scale).double().numpy(), labels.numpy())
    found = torch.from_numpy(fit.predict_proba(((others - mean) * scale).double().numpy()))
    probabilities = torch.zeros(len(others), num_classes)
    probabilities[:, torch.from_numpy(fit.classes_)] = found.float()
    return probabilities


def neighbour_probabilities(
    features: Tensor, labels: Tensor, others: Tensor, num_classes: int, neighbors: int
) -> Tensor:
    """Return the [M, K] shares of the votes of the nearest features by cosine; see above."""
    count, width = features.shape
    network = NearestNeighbours(
        nn.Identity(),
        width,
        num_classes,
        examples=count,
        neighbors=neighbors,
        distance="cosine",
        weighted=False,
    )
    network.store(features, labels)
    return network.probabilities(others)
