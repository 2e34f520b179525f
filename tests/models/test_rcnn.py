"""R-CNN: crops, SVMs and regressors, against scikit-learn and values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.detection.rcnn import CONTEXT, PER_CLASS, RCNN, RULE, _best_of_class, warped_crops
from cvkit.models.detection.rcnn_post_fits import (
    RIDGE,
    NegativesAndBoxes,
    Positives,
    _ClassRidge,
    _ClassSvm,
)
from cvkit.models.detection.roi_heads import Candidates
from cvkit.structures import DetectionTargets

INPUTS = DetectionInputs((32,), 53, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_a_crop_shows_its_box_with_16_of_227_pixels_around_it():
    image = torch.zeros(3, 300, 400)
    image[:, 100:150, 200:300] = 1
    (crop,) = warped_crops(image, torch.tensor([[200.0, 100, 300, 150]]), 227)
    inside = (crop[0] > 0.5).nonzero()
    low, high = inside.min(0).values.tolist(), inside.max(0).values.tolist()
    # 16.4 pixels at a side; the box was rounded to whole pixels of the image.
    assert all(14 <= value <= 18 for value in low) and all(208 <= value <= 212 for value in high)
    assert crop.shape == (3, 227, 227) and crop[0, 5].max() == 0
    assert pytest.approx(16 / 227) == CONTEXT


def test_beyond_the_image_is_the_mean_colour():
    (crop,) = warped_crops(torch.ones(3, 50, 50), torch.tensor([[0.0, 0, 50, 50]]), 64)
    assert crop[:, 0].abs().max() == 0 and crop[:, :, -1].abs().max() == 0
    assert torch.allclose(crop[:, 8:56, 8:56], torch.ones(3, 48, 48))


def test_crops_equal_the_image_where_nothing_is_scaled():
    image = torch.randn(3, 200, 200)
    side = 227 - 32
    (crop,) = warped_crops(image, torch.tensor([[2.0, 3, 2 + side, 3 + side]]), 227)
    # The middle of the crop is the middle of the box.
    assert torch.allclose(crop[:, 100:110, 100:110], image[:, 87:97, 86:96], atol=1e-4)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    positives = (rng.normal(size=(40, 6)) + [2, 0, 0, 0, 0, 0]).astype(np.float32)
    negatives = (rng.normal(size=(900, 6)) - [2, 0, 0, 0, 0, 0]).astype(np.float32)
    return 5 * positives, 5 * negatives


def test_mining_ends_where_fitting_everything_ends(problem):
    positives, negatives = problem
    svm = _ClassSvm(positives, 0)
    for part in np.array_split(negatives, 9):
        svm.add(part)
    svm.fit()
    everything = LinearSVC(
        C=1e-3, loss="hinge", intercept_scaling=10, class_weight={1: 2}, max_iter=20000
    )
    labels = np.repeat([1, 0], [len(positives), len(negatives)])
    everything.fit(np.concatenate([positives, negatives]), labels)
    assert len(svm.negatives) < 0.9 * len(negatives)
    assert np.allclose(svm.weight, everything.coef_[0], atol=0.02)
    assert ((positives @ svm.weight + svm.bias) > 0).mean() > 0.9
    assert ((negatives @ svm.weight + svm.bias) < 0).mean() > 0.9


def test_easy_negatives_are_neither_added_nor_kept(problem):
    positives, negatives = problem
    svm = _ClassSvm(positives, 0)
    svm.add(negatives[:100])
    assert svm.fits == 1 and (svm.negatives @ svm.weight + svm.bias >= -1.2).all()
    before = len(svm.negatives)
    easy = negatives[negatives @ svm.weight + svm.bias < -1.0001]
    svm.add(easy)
    assert len(svm.negatives) == before and len(easy) > 0


def test_regressors_solve_the_ridge_problem_whitened_or_not():
    rng = np.random.default_rng(0)
    grids = rng.normal(size=(300, 7)) * 20
    targets = grids[:, :4] * 0.02 + rng.normal(size=(300, 4)) * 0.1 + [0.3, 0, -0.1, 0]
    ridge = _ClassRidge(7)
    for part in np.array_split(np.arange(300), 4):
        ridge.add(grids[part], targets[part])
    weight, mean = ridge.solve()
    ones = np.concatenate([grids, np.ones((300, 1))], 1)
    found = ones @ weight.T + mean
    # As R-CNN writes it: centred and whitened targets, a bias that is regularised too.
    centre = targets.mean(0)
    values, vectors = np.linalg.eigh(np.cov((targets - centre).T, bias=True))
    whiten = vectors @ np.diag(1 / np.sqrt(values + 0.001)) @ vectors.T
    solver = Ridge(alpha=RIDGE, fit_intercept=False).fit(ones, (targets - centre) @ whiten)
    wanted = solver.predict(ones) @ np.linalg.inv(whiten) + centre
    assert np.allclose(found, wanted, atol=1e-8)
    assert np.abs(found - targets).mean() < np.abs(targets - centre).mean()


@pytest.fixture
def setting():
    """A network, and images of a bright square among regions around and beside it."""
    torch.manual_seed(0)
    model = RCNN("mobilenet_v3_small", 2, INPUTS).eval()
    generator = torch.Generator().manual_seed(1)
    images = []
    for number in range(6):
        image = torch.randint(0, 60, (3, 80, 100), generator=generator, dtype=torch.uint8)
        x, y = 10 + 8 * number, 20 + 3 * number
        image[number % 2, y : y + 30, x : x + 30] = 255
        box = torch.tensor([[x, y, x + 30, y + 30]], dtype=torch.float32)
        shifts = torch.randint(-8, 9, (30, 4), generator=generator)
        far = torch.tensor([[0.0, 0, 20, 15], [70, 60, 100, 80], [0, 50, 9, 80]])
        images.append((image, box, torch.tensor([1 + number % 2]), torch.cat((box + shifts, far))))
    return model, images


def test_stages_fill_the_buffers_and_find_the_objects(setting):
    model, images = setting
    first = Positives(model)
    second = NegativesAndBoxes(model, first, 0)
    with torch.no_grad():
        for stage in (first, second):
            for sample in images:
                stage.see(*sample)
            stage.finish()
        norms = [model.describe(image, r)[0].norm(dim=1).mean() for image, _, _, r in images]
        assert np.mean(norms) == pytest.approx(20, rel=0.2)
        assert model.fitted == 1 and [len(e) for e in first.examples] == [3, 3]
        hits = 0
        for image, _, label, regions in images:
            (found,) = model.detect([image], [regions])
            assert found.boxes.shape[1] == 4 and (found.scores <= 1).all()
            hits += int(found.labels[0] == label[0])
        assert hits >= 5


def test_a_class_without_examples_is_never_found(setting):
    model, images = setting
    only = [sample for sample in images if sample[2] == 1]
    first = Positives(model)
    second = NegativesAndBoxes(model, first, 0)
    with torch.no_grad():
        for stage in (first, second):
            for sample in only:
                stage.see(*sample)
            stage.finish()
        labels = torch.cat([model.detect([s[0]], [s[3]])[0].labels for s in images])
    assert len(labels) and (labels == 1).all()


def test_an_image_without_objects_and_regions_changes_no_stage(setting):
    model, images = setting
    nothing = (images[0][0], torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    fitted = []
    for samples in (images, [*images[:3], (*nothing, torch.zeros(0, 4)), *images[3:]]):
        first = Positives(model)
        second = NegativesAndBoxes(model, first, 0)
        with torch.no_grad():
            for stage in (first, second):
                for sample in samples:
                    stage.see(*sample)
                stage.finish()
        fitted.append(model.svm_weight.clone())
    assert fitted[0].any()
    torch.testing.assert_close(fitted[0], fitted[1])


def test_training_samples_a_quarter_of_objects():
    model = RCNN("mobilenet_v3_small", 2, INPUTS, replace(RULE, samples=8))
    regions = torch.tensor([[0.0, 0, 10, 10]] * 20 + [[50.0, 50, 60, 60]] * 20)
    chosen, labels = model.sample(regions, torch.tensor([[0.0, 0, 10, 9]]), torch.tensor([2]))
    assert len(chosen) == 8 and labels.tolist().count(2) == 2 and labels.tolist().count(0) == 6
    nothing, empty = model.sample(regions, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert len(nothing) == 8 and not empty.any()


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11", "densenet121", "vit_b_32", "swin_t"])
def test_any_classifier_serves(backbone):
    side = {"vit_b_32": 64, "alexnet": 64}.get(backbone, 48)
    inputs = DetectionInputs((side,), 80, (0.5,) * 3, (0.25,) * 3)
    model = RCNN(backbone, 3, inputs, replace(RULE, samples=8, min_score=0.0))
    image = torch.rand(3, 60, 70)
    box, regions = (
        torch.tensor([[5.0, 5, 40, 40]]),
        torch.tensor([[6.0, 4, 41, 44], [30, 30, 60, 50]]),
    )
    loss = model([image], DetectionTargets([box], [torch.tensor([1])], [regions]))
    loss = loss["loss_classifier"]
    loss.backward()
    with torch.no_grad():
        (found,) = model.eval().detect([image], [regions])
    assert len(found.boxes) and found.scores.max() <= 1
    (none,) = model.detect([image], [torch.zeros(0, 4)])
    assert len(none.boxes) == 0
    model.train()
    labels = torch.zeros(0, dtype=torch.int64)
    nothing = model([image], DetectionTargets([box[:0]], [labels], [regions[:0]]))
    assert nothing["loss_classifier"] == 0


def test_negatives_and_near_regions_are_chosen_by_their_overlap(setting, monkeypatch):
    model, images = setting
    added, learned = [], []
    monkeypatch.setattr(_ClassSvm, "add", lambda self, rows: added.append(len(rows)))
    monkeypatch.setattr(
        _ClassRidge, "add", lambda self, rows, t: learned.append(t.round(3).tolist())
    )
    first = Positives(model)
    second = NegativesAndBoxes(model, first, 0)
    box = torch.tensor([[10.0, 20, 30, 40]])
    regions = torch.tensor(
        [[10.0, 20, 30, 40], [10, 20, 30, 36], [10, 20, 30, 30], [10, 20, 30, 25], [60, 50, 90, 70]]
    )  # IoU 1, 0.8, 0.5, 0.25, 0
    with torch.no_grad():
        for stage in (first, second):
            stage.see(images[0][0], box, torch.tensor([2]), regions)
            if stage is first:
                stage.finish()
    assert added == [5, 2]
    assert learned == [[[0, 0, 0, 0], [0, 0.125, 0, 0.223]]]


def test_boxes_are_moved_by_the_regressors_of_their_class():
    with torch.device("meta"):
        model = RCNN("mobilenet_v3_small", 2, INPUTS)
    model.ridge_weight = torch.zeros(2, 4, 3)
    model.ridge_weight[0, 0, 0], model.ridge_weight[1, 1, 1] = 0.1, 0.2  # dx and dy, of a cell
    model.ridge_weight[1, 1, 2] = 0.3  # the constant cell
    model.ridge_mean = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    boxes, grids = torch.tensor([[0.0, 0, 10, 20]] * 2), torch.tensor([[3.0, 9], [9, 2]])
    found = model.correct(boxes, grids, torch.tensor([1, 2]))
    wanted = torch.tensor([[3.0, 0, 13, 20], [5, 14, 15, 34]])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("count", [0, 1, 6000])
def test_only_the_best_of_each_class_reach_nms(count):
    generator = torch.Generator().manual_seed(count)
    scores = (torch.rand(count, generator=generator) * 500).round() / 500  # many are equal
    labels = 1 + (torch.rand(count, generator=generator) ** 2 * 20).long()
    images = torch.randint(2, (count,), generator=generator).sort().values
    ranked = sorted(range(count), key=lambda place: -scores[place].item())
    groups = [(image, label) for image in range(2) for label in range(1, 21)]
    of = {group: [p for p in ranked if (images[p], labels[p]) == group] for group in groups}
    wanted = [place for group in groups for place in of[group][:PER_CLASS]]
    assert len(wanted) == min(count, 1) or len(wanted) < count
    assert _best_of_class(Candidates(labels, labels, scores, images)).tolist() == wanted
