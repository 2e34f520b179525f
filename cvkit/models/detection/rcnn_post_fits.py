"""The post-fits of R-CNN: SVMs with hard negatives, and ridge regressors."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from cvkit.models.detection.rcnn import RCNN
from cvkit.models.detection.rpn import UNWEIGHTED
from cvkit.ops.boxes import box_iou, encode_boxes

NORM = 20.0
"""Mean norm to which features are scaled."""
NEGATIVE_IOU = 0.3
"""Regions whose IoU with every object of a class is below this are its negatives."""
HARD, EASY = -1.0001, -1.2
"""Margins above which a negative is added, and below which one is dropped."""
RETRAIN = 2000
"""Number of new negatives after which an SVM is fitted again."""
NEAR = 0.6
"""Regions whose IoU with an object exceeds this are used to fit the regressors."""
RIDGE = 1000.0


class Positives:
    """First pass: the features of all objects, and the scale of all features."""

    def __init__(self, model: RCNN) -> None:
        self.model = model
        self.features: list[list[np.ndarray]] = [[] for _ in model.svm_bias]
        self.norms: list[list[float]] = [[], []]

    def see(self, image: Tensor, boxes: Tensor, labels: Tensor, regions: Tensor) -> None:
        """Add an image: its objects, and a few of its regions for the scale."""
        if not self.norms[0]:  # a model with earlier post-fits already has its scales
            self.model.feature_scale.fill_(1)
            self.model.grid_scale.fill_(1)
        few = regions[:: max(1, len(regions) // 16)]
        features, grids = self.model.describe(image, torch.cat((boxes, few)))
        for norms, part in zip(self.norms, (features, grids), strict=True):
            norms += part[len(boxes) :].norm(dim=1).tolist()
        for row, label in zip(features.cpu().numpy(), labels.tolist(), strict=False):
            self.features[label - 1].append(row)

    def finish(self) -> None:
        """Set the scales."""
        for scale, norms in zip(
            (self.model.feature_scale, self.model.grid_scale), self.norms, strict=True
        ):
            scale.fill_(NORM / max(float(np.mean(norms)), 1e-12) if norms else 1.0)
        factor = self.model.feature_scale.item()
        width = self.model.svm_weight.shape[1]
        self.examples = [
            np.stack(rows) * factor if rows else np.zeros((0, width), np.float32)
            for rows in self.features
        ]


class _ClassSvm:
    """The SVM of a class while its negatives are collected."""

    def __init__(self, positives: np.ndarray, seed: int) -> None:
        self.positives, self.seed = positives, seed
        self.negatives = np.zeros((0, positives.shape[1]), np.float32)
        self.weight, self.bias, self.new = np.zeros(positives.shape[1]), 0.0, 0
        self.fits = 0

    def add(self, features: np.ndarray) -> None:
        """Add the hard negatives of an image; of the first image all negatives."""
        if not len(self.positives):
            return
        if self.fits:
            features = features[features @ self.weight + self.bias > HARD]
        self.negatives = np.concatenate([self.negatives, features])
        self.new += len(features)
        if len(self.negatives) and (not self.fits or self.new >= RETRAIN):
            self.fit()

    def fit(self) -> None:
        """Fit again and drop the negatives that have become easy."""
        svm = LinearSVC(
            C=1e-3,
            loss="hinge",
            intercept_scaling=10,
            class_weight={1: 2},
            max_iter=2000,
            random_state=self.seed,
        )
        examples = np.concatenate([self.positives, self.negatives])
        labels = np.repeat([1, 0], [len(self.positives), len(self.negatives)])
        with warnings.catch_warnings():
            # The default limit of liblinear is far more than mining needs.
            warnings.simplefilter("ignore", ConvergenceWarning)
            svm.fit(examples, labels)
        self.weight, self.bias = svm.coef_[0], float(svm.intercept_[0])
        self.negatives = self.negatives[self.negatives @ self.weight + self.bias >= EASY]
        self.new, self.fits = 0, self.fits + 1


class _ClassRidge:
    """Sums from which the regressor of a class is computed."""

    def __init__(self, cells: int) -> None:
        self.gram = np.zeros((cells + 1, cells + 1))
        self.cross = np.zeros((cells + 1, 4))
        self.total, self.targets, self.count = np.zeros(cells + 1), np.zeros(4), 0

    def add(self, grids: np.ndarray, targets: np.ndarray) -> None:
        """Add [R, G] grids and their target deltas [R, 4]."""
        ones = np.concatenate([grids, np.ones((len(grids), 1))], 1).astype(np.float64)
        self.gram += ones.T @ ones
        self.cross += ones.T @ targets
        self.total += ones.sum(0)
        self.targets += targets.sum(0)
        self.count += len(grids)

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the [4, G + 1] weights and the [4] means of the targets.

        R-CNN also whitens the targets. With one penalty for all four, that changes nothing: the
        solution is linear in the targets, and the transform is undone afterwards.
        """
        mean = self.targets / max(self.count, 1)
        right = self.cross - np.outer(self.total, mean)
        system = self.gram + RIDGE * np.eye(len(self.gram))
        return np.linalg.solve(system, right).T, mean


class NegativesAndBoxes:
    """Second pass: hard negatives for the SVMs, near regions for the regressors."""

    def __init__(self, model: RCNN, positives: Positives, seed: int) -> None:
        self.model, self.seed, self.first = model, seed, positives
        self.svms: list[_ClassSvm] = []
        cells = model.ridge_weight.shape[2] - 1
        self.ridges = [_ClassRidge(cells) for _ in model.svm_bias]

    def see(self, image: Tensor, boxes: Tensor, labels: Tensor, regions: Tensor) -> None:
        """Add an image: its regions against the objects of each class."""
        if not self.svms:
            self.svms = [_ClassSvm(rows, self.seed) for rows in self.first.examples]
        described, grids = (part.cpu() for part in self.model.describe(image, regions))
        iou = box_iou(boxes, regions).cpu()  # [M, R]
        kinds = labels.cpu()
        features = described.numpy()
        for number, (svm, ridge) in enumerate(zip(self.svms, self.ridges, strict=True), 1):
            overlap = iou[kinds == number]
            best = overlap.max(0).values if len(overlap) else torch.zeros(len(regions))
            svm.add(features[(best < NEGATIVE_IOU).numpy()])
            near = torch.where(best > NEAR)[0]
            if len(near):
                truth = boxes[labels == number][overlap[:, near].argmax(0)]
                target = encode_boxes(truth, regions[near], UNWEIGHTED)
                ridge.add(grids[near].numpy(), target.cpu().double().numpy())

    def finish(self) -> None:
        """Fit with the remaining negatives and store everything in the model."""
        model = self.model
        for number, (svm, ridge) in enumerate(zip(self.svms, self.ridges, strict=True)):
            if (svm.new or not svm.fits) and len(svm.positives) and len(svm.negatives):
                svm.fit()
            if svm.fits:
                model.svm_weight[number] = torch.from_numpy(svm.weight)
                model.svm_bias[number] = svm.bias
            else:
                model.svm_bias[number] = -100.0  # a class without examples is never detected
            weight, mean = ridge.solve()
            model.ridge_weight[number] = torch.from_numpy(weight)
            model.ridge_mean[number] = torch.from_numpy(mean)
        model.fitted.fill_(1)
