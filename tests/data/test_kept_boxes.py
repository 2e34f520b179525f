"""Which objects a training crop keeps, by hand."""

import albumentations as A
import numpy as np
import pytest

from cvkit.data.annotated import box_defect, make_truth
from cvkit.data.transforms.boxes import BoxTransform
from cvkit.ops.rle import encode, to_layers

BOXES = np.array(
    [
        [10.0, 10.0, 30.0, 30.0],  # inside
        [45.0, 10.0, 95.0, 30.0],  # a tenth of it stays
        [30.0, 20.0, 80.0, 40.0],  # two fifths of it
        [60.0, 60.0, 90.0, 90.0],  # nothing
        [0.0, 38.0, 20.0, 90.0],  # less than a quarter
    ],
    np.float32,
)
KEPT = [[10, 10, 30, 30], [30, 20, 50, 40]]


@pytest.fixture
def crop(tmp_path):
    """The upper left quarter of an image of 100 x 100."""
    path = tmp_path / "crop.yaml"
    A.save(A.Compose([A.Crop(x_min=0, y_min=0, x_max=50, y_max=50)]), path, data_format="yaml")
    return BoxTransform(str(path))


def test_objects_and_proposals_almost_outside_are_dropped_and_others_cut(crop):
    image = np.zeros((100, 100, 3), np.uint8)
    made, objects, regions = crop(image, make_truth(BOXES, [1, 2, 3, 4, 5]), BOXES.copy(), 0)
    assert made.shape == (50, 50, 3)
    assert np.allclose(objects.boxes, KEPT)
    assert objects.labels.tolist() == [1, 3]
    assert np.allclose(regions, KEPT)


def test_masks_of_dropped_objects_go_with_them(crop):
    masks = np.zeros((5, 100, 100), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    truth = make_truth(BOXES, [1, 2, 3, 4, 5], masks=to_layers(encode(masks)))
    _, objects, _ = crop(np.zeros((100, 100, 3), np.uint8), truth, None, 0)
    assert objects.labels.tolist() == [1, 3]
    assert objects.boxes.tolist() == KEPT


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((0, 0, 1, 1), None),
        ((-5, 0, 0, 5), "bbox.outside"),
        ((-5, 0, 0.5, 5), None),
        ((20, 0, 25, 5), "bbox.outside"),
        ((19.5, 0, 25, 5), None),
        ((0, -5, 5, 0), "bbox.outside"),
        ((0, 10, 5, 12), "bbox.outside"),
        ((0, 9.5, 5, 12), None),
        ((3, 3, 3, 3), None),
        ((5, 0, 4, 5), "bbox.nonpositive"),
    ],
)
def test_a_box_that_only_touches_the_image_lies_outside(box, code):
    found = box_defect(box, (20, 10), "here", "bbox")
    assert (found.code if found else None) == code
