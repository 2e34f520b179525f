"""Average precision: COCO's against pycocotools, VOC's against hand-made and published numbers."""

import json
from collections import defaultdict
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import coco as reference_coco
from pycocotools import cocoeval as reference_eval

from cvkit.data.annotated import make_truth, no_objects
from cvkit.data.classes import make_classes
from cvkit.metrics import box_errors, coco, voc
from cvkit.metrics.boxes import Pairs, box_iou, flatten, overlaps
from cvkit.metrics.coco import (
    CLASS_COLUMNS,
    METRICS,
    CocoMetric,
    evaluate_coco,
    per_class,
    summary,
)
from cvkit.metrics.voc import VocMetric, average_precision
from cvkit.structures import Instances


class Reference:
    COCO, COCOeval = reference_coco.COCO, reference_eval.COCOeval


CLASSES = make_classes(["cat", "dog", "cow"])


def detections(*rows):
    """Return detections of (label, score, x1, y1, x2, y2), best first."""
    rows = sorted(rows, key=lambda row: -row[1])
    return Instances(
        boxes=np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
        labels=np.array([row[0] for row in rows], np.int64),
        scores=np.array([row[1] for row in rows], np.float32),
    )


def objects(*rows, **own):
    """Return objects of (label, x1, y1, x2, y2)."""
    return make_truth(np.array([r[1:] for r in rows], float), [r[0] for r in rows], **own)


def filled(metric, *pairs):
    for result, truth in pairs:
        metric.update(result, truth)
    return metric


side = st.integers(0, 12).map(lambda value: value * 8.0)
box = st.tuples(side, side, side, side).map(
    lambda b: (b[0], b[1], b[0] + b[2] + 8, b[1] + b[3] + 8)
)
score = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.75, 0.9])


@st.composite
def image(draw, difficult=False):
    count = draw(st.integers(0, 5))
    truth = no_objects()
    if count:
        boxes = [draw(box) for _ in range(count)]
        areas = [draw(st.sampled_from([None, 1024.0, 9216.0])) for _ in boxes]
        real = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
        truth = make_truth(
            np.array(boxes),
            [draw(st.integers(1, 3)) for _ in boxes],
            areas=[a if given is None else given for a, given in zip(real, areas, strict=True)],
            crowd=[draw(st.integers(0, 4)) == 0 for _ in boxes],
            difficult=[difficult and draw(st.integers(0, 3)) == 0 for _ in boxes],
        )
    rows = [
        (draw(st.integers(1, 3)), draw(score), *draw(box)) for _ in range(draw(st.integers(0, 6)))
    ]
    return detections(*rows), truth


@settings(max_examples=150, deadline=None)
@given(st.lists(image(), min_size=1, max_size=4))
def test_the_fast_engine_equals_pycocotools_to_the_last_bit(pairs):
    results, truths = zip(*pairs, strict=True)
    own = evaluate_coco(results, truths, 3)
    other = evaluate_coco(results, truths, 3, engine=Reference)
    assert own.stats.tolist() == other.stats.tolist()
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(getattr(own, name), getattr(other, name)), name


def test_perfect_detections_score_1_by_every_rule():
    truth = objects((1, 0, 0, 50, 50), (2, 10, 10, 200, 100), (3, 5, 5, 30, 30))
    perfect = Instances(truth.boxes, truth.labels, scores=np.full(3, 0.9, np.float32))
    found = filled(CocoMetric(CLASSES), (perfect, truth)).compute()
    # Pycocotools does not count an annotation whose id is 0.
    assert evaluate_coco([perfect], [truth], 3, engine=Reference).stats[0] == pytest.approx(1)
    assert all(found[name] == pytest.approx(1) for name in ("AP", "AP50", "AR100", "APs", "APl"))
    for eleven in (True, False):
        metric = filled(VocMetric(CLASSES, eleven), (perfect, truth))
        assert metric.compute()[metric.name] == pytest.approx(1)


def test_no_detections_score_0_and_no_objects_score_nothing():
    truth = objects((1, 0, 0, 50, 50))
    found = filled(CocoMetric(CLASSES), (detections(), truth)).compute()
    assert found["AP"] == found["AR100"] == 0 and found["APs"] is None
    assert json.dumps(found)
    nothing = filled(CocoMetric(CLASSES), (detections((1, 0.9, 0, 0, 5, 5)), no_objects()))
    assert set(nothing.compute().values()) == {None}
    for eleven in (True, False):
        assert list(
            filled(VocMetric(CLASSES, eleven), (detections(), truth)).compute().values()
        ) == [0]
        empty = filled(VocMetric(CLASSES, eleven), (detections(), no_objects()))
        assert list(empty.compute().values()) == [None]


def test_an_image_without_detections_counts():
    good = (detections((1, 0.9, 0, 0, 50, 50)), objects((1, 0, 0, 50, 50)))
    missed = (detections(), objects((1, 0, 0, 50, 50)))
    assert filled(CocoMetric(CLASSES), good).compute()["AP"] == pytest.approx(1)
    assert filled(CocoMetric(CLASSES), good, missed).compute()["AR100"] == 0.5


def test_per_class_numbers_belong_to_their_classes():
    metric = filled(
        CocoMetric(CLASSES),
        (detections((1, 0.9, 0, 0, 50, 50)), objects((1, 0, 0, 50, 50), (2, 0, 0, 9, 9))),
    )
    rows = per_class(metric.accumulate(), metric)
    assert rows["cat"]["AP"] == pytest.approx(1) and rows["dog"]["AP"] == 0
    assert rows["cat"]["recall"] == 1 and rows["dog"]["recall"] == 0
    assert rows["cow"] == dict.fromkeys(CLASS_COLUMNS) | {"objects": 0}
    assert list(summary(metric.accumulate())) == list(METRICS)


def test_recalls_are_those_of_as_many_detections_as_they_say():
    rows = [(1, 20 * n, 0, 20 * n + 10, 10) for n in range(20)] + [(2, 0, 50, 10, 60)]
    truth = objects(*rows)
    result = detections(*((row[0], 0.9 - 0.01 * n, *row[1:]) for n, row in enumerate(rows)))
    metric = filled(CocoMetric(CLASSES), (result, truth))
    found = metric.accumulate()
    values = summary(found)
    assert values["AR1"] == pytest.approx((1 / 20 + 1) / 2)
    assert values["AR10"] == pytest.approx((10 / 20 + 1) / 2)
    assert values["AR100"] == values["AP"] == values["APs"] == values["ARs"] == 1
    assert values["APm"] is values["ARl"] is None
    rows = per_class(found, metric)
    assert (rows["cat"]["AR100"], rows["cat"]["recall"], rows["cat"]["AP"]) == (1, 1, 1)


@pytest.mark.parametrize(("height", "limits"), [(7.8, (1, 1)), (7.2, (1, 0)), (4.9, (0, 0))])
def test_every_column_is_read_at_its_own_iou(height, limits):
    pair = detections((1, 0.9, 0, 0, 10, height)), objects((1, 0, 0, 10, 10))
    metric = filled(CocoMetric(CLASSES), pair)
    found = metric.accumulate()
    row, values = per_class(found, metric)["cat"], summary(found)
    for source in (row, values):
        assert (source["AP50"], source["AP75"]) == pytest.approx(limits)
    steps = np.arange(0.5, 1, 0.05) <= height / 10
    assert row["AP"] == pytest.approx(values["AP"]) == pytest.approx(steps.mean())
    assert row["recall"] == limits[0]


def test_objects_have_the_size_that_is_annotated():
    """A polygon of 500 square pixels in a box of 10 000 is small."""
    truth = objects((1, 0, 0, 100, 100), areas=[500.0])
    found = filled(CocoMetric(CLASSES), (detections((1, 0.9, 0, 0, 100, 100)), truth)).compute()
    assert found["APs"] == pytest.approx(1) and found["APm"] is found["APl"] is None


@pytest.mark.parametrize("upper", [10.0, 10.0001])
def test_an_overlap_of_one_half_fits_by_cocos_rule(upper):
    """A detection of twice the object's area has an IoU of 0.5 exactly, or a little less."""
    metric = filled(
        CocoMetric(CLASSES), (detections((1, 0.9, 0, 0, 20, upper)), objects((1, 0, 0, 10, 10)))
    )
    fits = upper == 10.0
    assert metric.compute()["AP50"] == pytest.approx(float(fits))
    assert [list(each >= 0) for each in metric.matched] == [[fits]]
    assert box_errors.analyse(metric).counts["correct"] == fits
    assert box_errors.analyse(metric).matrix[1, 1] == fits


def test_merging_restores_the_order_of_the_images():
    pairs = [(detections((1, 0.5, 0, 0, n + 1, 9)), objects((1, 0, 0, n + 1, 9))) for n in range(5)]
    parts = [filled(CocoMetric(CLASSES), *pairs[rank::2]) for rank in range(2)]
    parts[0].merge([part.state() for part in parts], [[0, 2, 4], [1, 3]])
    widths = [result.boxes[0, 2] for result in parts[0].results]
    assert widths == [1, 2, 3, 4, 5]
    assert len(list(zip_longest(parts[0].truths, pairs))) == 5


@pytest.mark.parametrize(
    "name, eleven, wanted", [("07", True, 0.6331169), ("12", False, 0.6142857)]
)
def test_voc_average_precision_gives_the_goldens(name, eleven, wanted):
    hits = np.array([1, 0, 1, 1, 0, 0, 1])
    right = np.cumsum(hits)
    found = average_precision(right / 5, right / np.arange(1, 8), eleven)
    assert found == pytest.approx(wanted, abs=1e-7), name


def test_voc_counts_neither_difficult_objects_nor_what_covers_them():
    truth = objects((1, 0, 0, 50, 50), (1, 100, 100, 150, 150), difficult=[False, True])
    result = detections((1, 0.9, 100, 100, 150, 150), (1, 0.8, 0, 0, 50, 50))
    assert filled(VocMetric(CLASSES, False), (result, truth)).compute() == {"voc12_map": 1.0}


def test_voc_takes_the_best_object_before_it_asks_whether_it_is_free():
    truth = objects((1, 0, 0, 100, 100), (1, 0, 0, 100, 60))
    result = detections((1, 0.9, 0, 0, 100, 100), (1, 0.8, 0, 0, 100, 90))
    curve = filled(VocMetric(CLASSES, False), (result, truth)).accumulate()[0.5][0]
    # The second one overlaps the first object most, which is taken; COCO would give it the other.
    assert curve.recall.tolist() == [0.5, 0.5]
    assert filled(CocoMetric(CLASSES), (result, truth)).compute()["AR100"] > 0.5


def test_voc_takes_the_first_of_equal_objects():
    """A difficult object and one that counts in the same place: the first one decides."""
    result = detections((1, 0.9, 0, 0, 10, 10))
    for difficult, wanted in (([True, False], 0.0), ([False, True], 1.0)):
        truth = objects((1, 0, 0, 10, 10), (1, 0, 0, 10, 10), difficult=difficult)
        assert filled(VocMetric(CLASSES, False), (result, truth)).compute() == {"voc12_map": wanted}


def test_voc_asks_for_more_than_the_limit():
    truth = objects((1, 0, 0, 10, 10))
    half = detections((1, 0.9, 0, 0, 10, 5))
    assert filled(VocMetric(CLASSES, True), (half, truth)).compute() == {"voc07_map": 0}
    assert filled(VocMetric(CLASSES, True, iou=0.49), (half, truth)).compute()["voc07_map"] > 0


def kit_curve(pairs, label, limit):
    """Return precision, recall and objects of a class as VOC's development kit loops over them."""
    rows = [
        (float(result.scores[d]), image, d)
        for image, (result, _) in enumerate(pairs)
        for d in range(len(result))
        if result.labels[d] == label
    ]
    rows.sort(key=lambda row: -row[0])  # stable
    spare = [truth.difficult | truth.crowd for _, truth in pairs]
    counted = [(t.labels == label) & ~s for (_, t), s in zip(pairs, spare, strict=True)]
    objects = sum(int(marks.sum()) for marks in counted)
    taken, hits = set(), []
    for _, image, d in rows:
        result, truth = pairs[image]
        iou = overlaps(result, truth)[d]
        own = [g for g in range(len(truth)) if truth.labels[g] == label]
        best = max(own, key=lambda g: iou[g], default=None)  # the first one of equals
        fits = best is not None and iou[best] > limit
        if fits and spare[image][best]:
            continue
        hits.append(fits and (image, best) not in taken)
        if fits:
            taken.add((image, best))
    right = np.cumsum(np.array(hits, float))
    return right / np.arange(1, len(hits) + 1), right / max(objects, 1), objects


@settings(max_examples=100, deadline=None)
@given(st.lists(image(difficult=True), min_size=1, max_size=4), st.sampled_from([0.0, 0.3, 0.5]))
def test_voc_curves_equal_the_kits_own_loop(pairs, limit):
    metric = filled(VocMetric(CLASSES, True, limit), *pairs)
    found = metric.accumulate()
    assert set(found) == {limit, 0.5, 0.75}
    for iou, curves in found.items():
        for label, curve in enumerate(curves, 1):
            precision, recall, objects = kit_curve(pairs, label, iou)
            assert curve.objects == objects
            assert np.array_equal(curve.precision, precision)
            assert np.array_equal(curve.recall, recall)


def test_voc_compares_each_image_once_however_many_classes_there_are(monkeypatch):
    """The boxes of every image were compared anew for every class, three times."""
    classes = make_classes([str(number) for number in range(20)])
    rows = [(label, 0, 10 * label, 8, 10 * label + 8) for label in range(1, 21)]
    truth = objects(*rows)
    result = detections(*((label, 0.9, *box) for label, *box in rows))
    metric = filled(VocMetric(classes, False), (result, truth), (result, truth))
    compared, averaged = [], []
    monkeypatch.setattr(
        coco, "box_iou", lambda first, *more: compared.append(len(first)) or box_iou(first, *more)
    )
    monkeypatch.setattr(
        voc, "average_precision", lambda *curve: averaged.append(1) or average_precision(*curve)
    )
    found = metric.report(classes)
    assert found.metrics == {"voc12_map": 1.0}
    assert len(found.per_class) == len(found.curves) == 20
    assert compared == [40]  # each detection with the object of its class
    assert len(averaged) == 2 * 20  # at an IoU of 0.5 and 0.75


@pytest.mark.parametrize("pairs", [1, 2, 7])
def test_voc_compares_many_boxes_in_parts_with_the_same_result(monkeypatch, pairs):
    spots = [(label, 7 * n, 0, 7 * n + 10, 10) for label in (1, 2) for n in range(4)]
    truth = objects(*spots)
    result = detections(*((label, n % 5 / 5, *box) for n, (label, *box) in enumerate(spots)))
    metric = filled(VocMetric(CLASSES, False, 0.1), (result, truth), (detections(), truth))
    whole = metric.report(CLASSES)
    monkeypatch.setattr(voc, "PAIRS", pairs)
    assert metric.report(CLASSES).per_class == whole.per_class
    assert 0 < whole.metrics["voc12_map"] < 1


def test_voc_says_of_each_class_what_coco_says():
    truth = objects((1, 0, 0, 10, 10), (2, 0, 0, 10, 10))
    result = detections((1, 0.9, 0, 0, 10, 10), (2, 0.8, 0, 0, 10, 6))
    for eleven in (True, False):
        metric = filled(VocMetric(CLASSES, eleven, 0.7), (result, truth))
        rows = metric.per_class(metric.accumulate())
        assert rows["cat"] == pytest.approx(
            {"AP": 1, "AP50": 1, "AP75": 1, "AR100": None, "recall": 1, "objects": 1}
        )
        # An IoU of 0.6 is over 0.5, but not over 0.7 or 0.75.
        assert rows["dog"] == pytest.approx(
            {"AP": 0, "AP50": 1, "AP75": 0, "AR100": None, "recall": 0, "objects": 1}
        )
        assert rows["cow"] == dict.fromkeys(CLASS_COLUMNS) | {"objects": 0}
        assert all(tuple(row) == CLASS_COLUMNS for row in rows.values())


def half_found():
    """Of three cats one is found, and a detection is of nothing: recall is not precision."""
    truth = objects(*((1, 20 * n, 0, 20 * n + 10, 10) for n in range(3)), (2, 0, 50, 10, 60))
    return detections((1, 0.9, 0, 0, 10, 10), (1, 0.8, 70, 70, 80, 80)), truth


@pytest.mark.parametrize("eleven", [None, True, False], ids=["coco", "voc07", "voc12"])
def test_recall_is_the_share_of_the_objects_and_precision_of_the_detections(eleven):
    metric = filled(CocoMetric(CLASSES) if eleven is None else VocMetric(CLASSES, eleven))
    metric.update(*half_found())
    found = metric.accumulate()
    rows = per_class(found, metric) if eleven is None else metric.per_class(found)
    assert rows["cat"]["recall"] == pytest.approx(1 / 3)
    assert (rows["cat"]["objects"], rows["dog"]["objects"]) == (3, 1)
    assert (rows["dog"]["recall"], rows["dog"]["AP"]) == (0, 0)
    shown = coco.curves(found, CLASSES) if eleven is None else metric.curves(found)
    assert list(shown) == ["cat", "dog"]  # a class without objects has none
    recall, precision = shown["cat"]
    if eleven is None:
        # One precision for each of COCO's own recalls: 1 up to a third, nothing beyond.
        assert recall.tolist() == Reference.COCOeval(iouType="bbox").params.recThrs.tolist()
        assert precision.tolist() == pytest.approx([1.0] * 34 + [0.0] * 67)
    else:
        assert recall.tolist() == pytest.approx([1 / 3, 1 / 3])
        assert precision.tolist() == [1.0, 0.5]
        assert [len(part) for part in shown["dog"]] == [0, 0]


def test_coco_curves_are_those_at_one_half():
    """A detection with an IoU of 0.6 with one of two objects."""
    truth = objects((1, 0, 0, 10, 10), (1, 50, 0, 60, 10))
    metric = filled(CocoMetric(CLASSES), (detections((1, 0.9, 0, 0, 10, 6)), truth))
    (precision,) = (
        precision for _, precision in coco.curves(metric.accumulate(), CLASSES).values()
    )
    assert precision.tolist() == pytest.approx([1.0] * 51 + [0.0] * 50)


def test_overlaps_with_crowds_are_shares_of_the_detection():
    truth = objects((1, 0, 0, 100, 100), (1, 0, 0, 100, 100), crowd=[False, True])
    found = overlaps(detections((1, 0.9, 0, 0, 50, 100)), truth)
    assert found.tolist() == [[0.5, 1.0]]


def test_detections_take_objects_once_and_by_score():
    truth = objects((1, 0, 0, 10, 10), (2, 0, 0, 10, 10), crowd=[False, False])
    result = detections((1, 0.5, 0, 0, 10, 10), (1, 0.9, 0, 0, 10, 9), (3, 0.7, 0, 0, 10, 10))
    metric = filled(CocoMetric(CLASSES), (result, truth))
    assert metric.matched[0].tolist() == [0, -1, -1]


def test_errors_and_confusion_are_told_apart():
    truth = objects(
        (1, 0, 0, 100, 100),
        (2, 200, 0, 300, 100),
        (3, 0, 200, 100, 300),
        *((1, 0, y, 100, y + 100) for y in (500, 700)),
    )
    result = detections(
        *((1, y / 1000, 0, y, 100, y + 100) for y in (500, 700)),  # correct
        (1, 0.99, 0, 0, 100, 100),  # correct
        (1, 0.98, 0, 0, 100, 95),  # again
        (1, 0.97, 200, 0, 300, 100),  # a dog taken for a cat
        (3, 0.96, 60, 200, 160, 300),  # beside the cow
        (2, 0.95, 400, 400, 450, 450),  # nothing there
        (3, 0.94, 0, 200, 100, 300),
    )
    found = box_errors.analyse(filled(CocoMetric(CLASSES), (result, truth)))
    assert found.score == pytest.approx(0.5)
    assert found.counts == {
        "correct": 4,
        "duplicate": 1,
        "class": 1,
        "localisation": 1,
        "background": 1,
        "missed": 1,
    }
    wanted = [[0, 1, 1, 1], [0, 3, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert found.matrix.tolist() == wanted
    nothing = box_errors.analyse(filled(CocoMetric(CLASSES), (detections(), truth)))
    assert nothing.counts["missed"] == 5 and nothing.matrix[1:, 0].tolist() == [3, 1, 1]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.25, 0.5, 0.75]), st.booleans()), max_size=12),
    st.integers(0, 3),
)
@example([(0.5, True), (0.25, True), *[(0.25, False)] * 4], 0)  # 2/3, 4/4 amid the rest, 4/8
def test_no_other_score_has_a_larger_f1(found, missed):
    """Of detections with equal scores all count or none."""
    rows, places = [], [(1, 20 * n, 0, 20 * n + 10, 10) for n in range(missed)]
    for n, (score, right) in enumerate(found):
        rows.append((1, score, 20 * n, 50, 20 * n + 10, 60))
        places += [(1, *rows[-1][2:])] * right
    truth = objects(*places) if places else no_objects()
    analysed = box_errors.analyse(filled(CocoMetric(CLASSES), (detections(*rows), truth)))

    def f1(limit):
        kept = [right for score, right in found if score >= limit]
        return 2 * sum(kept) / max(len(kept) + len(places), 1)

    assert f1(analysed.score) == max((f1(score) for score, _ in found), default=0)
    assert analysed.counts["correct"] == sum(
        right for score, right in found if score >= analysed.score
    )


def test_a_second_detection_is_a_duplicate_before_it_is_of_another_class():
    """It fits a cat that is found already, and a dog; another one fits the dog alone."""
    alone = [(1, 500, 0, 520, 20), (3, 300, 0, 400, 100)]
    truth = objects((1, 0, 0, 100, 100), (2, 0, 0, 100, 90), *alone)
    result = detections(
        (1, 0.9, 0, 0, 100, 100),
        (1, 0.8, 0, 0, 100, 95),
        (3, 0.7, 0, 0, 100, 90),
        (3, 0.6, 300, 0, 400, 20),  # an IoU of 0.2 with the cow
        (3, 0.5, 300, 90, 400, 190),  # of 10 / 190
        (3, 0.45, 500, 0, 520, 6),  # of 0.3 with a cat alone
        *((label, 0.4, *box) for label, *box in alone),
    )
    counts = box_errors.analyse(filled(CocoMetric(CLASSES), (result, truth))).counts
    assert counts == {
        "correct": 3,
        "duplicate": 1,
        "class": 1,
        "localisation": 1,
        "background": 2,
        "missed": 1,
    }


def test_objects_are_confused_with_what_overlaps_them_most_and_crowds_with_nothing():
    truth = objects(
        (1, 0, 0, 100, 100),
        (2, 0, 200, 100, 300),
        (3, 0, 400, 100, 500),
        crowd=[False, False, True],
    )
    result = detections(
        (2, 0.9, 0, 0, 100, 60),  # the surer one overlaps less
        (1, 0.8, 0, 0, 100, 90),
        (1, 0.7, 0, 200, 100, 280),
        (3, 0.7, 0, 210, 100, 300),
        (1, 0.6, 0, 420, 100, 460),  # in the crowd
    )
    found, there = flatten([result]), flatten([truth])
    near = overlaps(result, truth)
    rows, columns = np.nonzero(near)
    pairs = Pairs(rows, columns, near[rows, columns])
    matrix = box_errors._confuse(found, there, pairs, np.ones(5, bool), 3)
    # A dog on nothing and a cat on nothing; a cat is a cat, a dog is a cow.
    assert matrix.tolist() == [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("right", "missed", "wanted"),
    [
        # F1 after each detection: 2/3, 2/4, 4/5, with the number of detections counted from 0
        # 2/2, 2/3, 4/4.
        ([1, 0, 1], 0, 0.7),
        ([1, 0, 1, 0, 0], 0, 0.7),  # 4/6 and 4/7 follow
        ([1, 0, 0, 1], 0, 0.9),  # 2/3, 2/4, 2/5, 4/6: the first of equals
        ([0, 0, 1], 3, 0.7),  # 0, 0, 2/7
        ([1, 0, 0, 1], 3, 0.6),  # 2/6, 2/7, 2/8, 4/9
        ([0, 0], 1, 0.9),
        ([1], 0, 0.9),
    ],
)
def test_errors_are_counted_where_f1_is_largest(right, missed, wanted):
    places = [(1, 20 * n, 0, 20 * n + 10, 10) for n in range(len(right) + missed)]
    there = [*right, *[1] * missed]
    # Among them a crowd, which is no object, and a detection of it, which is neither right nor
    # wrong.
    crowd = (1, 0, 100, 200, 200)
    truth = objects(
        *(place for place, here in zip(places, there, strict=True) if here),
        crowd,
        crowd=[False] * sum(there) + [True],
    )
    rows = [(1, 0.9 - 0.1 * n, *place[1:]) for n, place in enumerate(places[: len(right)])]
    result = detections(*rows, (1, 0.85, 50, 120, 90, 160))
    found = box_errors.analyse(filled(CocoMetric(CLASSES), (result, truth)))
    assert found.score == pytest.approx(wanted)
    kept = right[: round((0.9 - wanted) / 0.1) + 1]
    assert found.counts["correct"] == sum(kept)
    assert found.counts["background"] == len(kept) - sum(kept)
    assert found.counts["missed"] == sum(there) - sum(kept)
    assert found.matrix.sum() == len(kept) + sum(there) - sum(kept)


@pytest.mark.parametrize("iou", ["0.1", "0.3", "0.5", "0.75"])
def test_voc_equals_published_numbers(real_data, iou):
    folder = real_data / "evalcases" / "voc_ap_7img"
    wanted = json.loads((folder / "expected.json").read_text())
    images = defaultdict(lambda: ([], []))
    for kind, place in (("gts", 1), ("dets", 0)):
        for path in sorted((folder / kind).glob("*.txt")):
            for line in path.read_text().splitlines():
                values = [float(value) for value in line.split()[1:]]
                *rest, x, y, w, h = values
                # Their x + w is the last pixel, which is inside.
                images[path.stem][place].append((1, *rest, x, y, x + w + 1, y + h + 1))
    for eleven, key in ((True, "AP_11point"), (False, "AP_allpoint")):
        metric = VocMetric(make_classes(["object"]), eleven, float(iou))
        for _, (found, true) in sorted(images.items()):
            metric.update(detections(*found), objects(*true) if true else no_objects())
        assert metric.compute()[metric.name] == pytest.approx(wanted[key][iou], abs=1e-9)


@pytest.mark.parametrize(
    "truth, found, wanted",
    [
        ("coco_fake100/gt_instances_val2014_100.json", "coco_fake100/dt_bbox.json", "bbox"),
        ("coco_ignore/gt.json", "coco_ignore/dt.json", None),
        ("coco_ignore/gt_string_ids.json", "coco_ignore/dt.json", None),
    ],
)
def test_coco_equals_published_numbers(real_data, cvkit, truth, found, wanted):
    folder = real_data / "evalcases"
    expected = json.loads((folder / truth).with_name("expected.json").read_text())
    flags = ["--predictions", folder / found, "--truth", folder / truth, "--no-files", "--json"]
    done = cvkit("detect", "eval", *flags)
    assert done.code == 0
    metrics = done.json["metrics"]
    if wanted is None:
        assert metrics["AP"] == pytest.approx(0.7099009900990099, abs=1e-12)
        return
    names = {"small": "s", "medium": "m", "large": "l"}
    for name, value in expected[wanted].items():
        if name != "per_class":
            for long, short in names.items():
                name = name.replace(long, short)
            assert metrics[name] == value, name
    rows = {row["name"]: row for row in expected[wanted]["per_class"].values()}
    for name, row in done.json["per_class"].items():
        for key in ("AP", "AP50"):
            assert (-1 if row[key] is None else row[key]) == pytest.approx(
                rows[name][key], abs=1e-12
            )
