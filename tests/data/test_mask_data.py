"""Readers of masks, what they refuse, and that augmentation keeps everything in step."""

import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from cvkit.data.annotated import make_truth, trainable
from cvkit.data.boxes import read_boxes
from cvkit.data.datasets import BoxDataset
from cvkit.data.decode import read_image
from cvkit.data.formats.coco import read_coco
from cvkit.data.scan import scan_boxes
from cvkit.data.synthetic.samples import write_detection
from cvkit.data.transforms.boxes import POLICIES, BoxTransform, mosaic
from cvkit.errors import DataError
from cvkit.ops.rle import decode, encode, layer_boxes, mask_areas, mask_boxes
from cvkit.structures import Instances

POLYGON = [[10.0, 20, 40, 20, 40, 60, 10, 60]]
"""A rectangle of 30 x 40 pixels."""


def runs_of(mask, as_list=False):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    if not as_list:
        return {"size": list(mask.shape), "counts": rle["counts"].decode()}
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    ends = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(ends).tolist()
    return {"size": list(mask.shape), "counts": ([0] if flat[0] else []) + counts}


def rectangle():
    mask = np.zeros((80, 100), bool)
    mask[20:60, 10:40] = True
    return mask


def write(tmp_path, *segmentations, size=True, picture=(100, 80), **own):
    """Write a COCO dataset with one image; return its annotation file."""
    tmp_path.joinpath("images").mkdir(exist_ok=True)
    Image.new("RGB", picture).save(tmp_path / "images" / "a.png")
    rows = [
        {"id": n, "image_id": 1, "category_id": 5, "segmentation": s} | own
        for n, s in enumerate(segmentations, 1)
    ]
    image = {"id": 1, "file_name": "a.png"} | ({"width": 100, "height": 80} if size else {})
    content = {"images": [image], "categories": [{"id": 5, "name": "cell"}], "annotations": rows}
    path = tmp_path / "instances_train.json"
    path.write_text(json.dumps(content))
    return path


def read(path, **own):
    return read_coco(path, path.parent / "images", path.parent, masks=True, **own)


def test_polygons_and_run_lengths_say_the_same(tmp_path):
    mask = rectangle()
    kinds = [POLYGON, runs_of(mask), runs_of(mask, as_list=True)]
    parts = [[POLYGON[0][:4] + [40, 40, 10, 40], [10.0, 40, 40, 40, 40, 60, 10, 60]]]
    found = read(write(tmp_path, *kinds, *parts))
    assert not found.defects
    truth = found.images[0].truth
    assert len(set(truth.masks.codes)) == 1 and len(truth) == 4
    assert np.array_equal(decode(truth.masks)[0], mask)
    assert truth.areas.tolist() == [1200.0] * 4  # of the mask, where the file says none
    assert truth.boxes.tolist() == [[10, 20, 40, 60]] * 4


def test_a_size_that_the_file_does_not_say_is_the_images(tmp_path):
    found = read(write(tmp_path, POLYGON, size=False))
    assert found.images[0].truth.masks.size_hw == (80, 100)


def test_without_being_asked_for_masks_are_not_read(tmp_path):
    path = write(tmp_path, POLYGON)
    found = read_coco(path, tmp_path / "images", tmp_path)
    assert found.images[0].truth.masks is None


@pytest.mark.parametrize(
    "segmentation, code",
    [
        (None, "segm.missing"),
        ([], "segm.missing"),
        ("text", "segm.missing"),
        ([[1, 2, 3, 4]], "segm.odd_or_short"),
        ([[1, 2, 3, 4, 5, 6, 7]], "segm.odd_or_short"),
        ([[1, 2, 3, 4, 5, "6"]], "segm.odd_or_short"),
        ([1, 2, 3, 4, 5, 6], "segm.odd_or_short"),
        ([[1, 2, 3, 4, 5, 1e9]], "segm.outside"),
        ({"size": [100, 80], "counts": [8000]}, "rle.size_mismatch"),
        ({"counts": [8000]}, "rle.size_mismatch"),
        ({"size": [80, 100], "counts": [7999]}, "rle.invalid"),
        ({"size": [80, 100], "counts": [-1, 8001]}, "rle.invalid"),
        ({"size": [80, 100], "counts": [4000.0, 4000.0]}, "rle.invalid"),
        ({"size": [80, 100], "counts": "nonsense!"}, "rle.invalid"),
        ({"size": [80, 100], "counts": "\u00e9"}, "rle.invalid"),
        ({"size": [80, 100]}, "rle.invalid"),
    ],
)
def test_unusable_segmentations_are_named(tmp_path, segmentation, code):
    path = write(tmp_path, POLYGON, segmentation, bbox=[10, 20, 30, 40])
    found = read(path)
    assert [defect.code for defect in found.defects] == [code]
    assert f"{path}: annotations[1] (id 2)" in str(found.defects[0])


def write_index(root, split="train", kind=np.uint8, table=None):
    index = np.zeros((80, 100), kind)
    index[20:60, 10:40] = 1
    index[:10, 50:] = 3 if kind == np.uint8 else 3000
    for folder, name, content in (
        ("images", "sub/a.jpg", np.zeros((80, 100, 3), np.uint8)),
        ("masks", "sub/a.png", index),
        ("images", "b.png", np.zeros((80, 100, 3), np.uint8)),
        ("masks", "b.png", np.zeros((80, 100), kind)),
    ):
        path = root / folder / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
    if table is not None:
        (root / "instances.csv").write_text(table)
    return index


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_index_maps_are_read(tmp_path, kind):
    index = write_index(tmp_path, kind=kind)
    data = read_boxes(tmp_path, "auto", ["train"], masks=True)
    assert data.layout == "index" and data.classes.names == ("object",) and not data.defects
    empty, full = sorted(data.splits["train"], key=lambda image: image.key)
    assert (empty.key, full.key) == ("images/train/b.png", "images/train/sub/a.jpg")
    assert len(empty.truth) == 0 and len(empty.truth.masks) == 0
    assert np.array_equal(decode(full.truth.masks)[0], index == 1)
    assert full.truth.areas.tolist() == [1200, 500]
    assert full.truth.boxes.tolist() == [[10, 20, 40, 60], [50, 0, 100, 10]]


def test_a_table_gives_classes(tmp_path):
    rows = "path,instance,class\nimages/train/sub/a.jpg,1,dog\nimages/train/sub/a.jpg,3,cat\n"
    write_index(tmp_path, table=rows)
    data = read_boxes(tmp_path, "index", ["train"], masks=True)
    assert data.classes.names == ("cat", "dog") and data.classes.ids == (1, 2)
    labels = {image.key: image.truth.labels.tolist() for image in data.splits["train"]}
    assert labels["images/train/sub/a.jpg"] == [2, 1]
    (tmp_path / "classes.txt").write_text("dog\ncat\ncow\n")
    assert read_boxes(tmp_path, "index", ["train"], masks=True).classes.names[0] == "dog"


@pytest.mark.parametrize(
    "table, code",
    [
        ("path,instance\n", "list.column"),
        ("path,instance,class\nimages/train/sub/a.jpg,one,dog\n", "instances.row"),
        ("path,instance,class\nimages/train/sub/a.jpg,1,\n", "list.bad_line"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path, table, code):
    write_index(tmp_path, table=table)
    with pytest.raises(DataError) as caught:
        read_boxes(tmp_path, "index", ["train"], masks=True)
    assert caught.value.code == code


def test_an_object_without_a_row_is_a_defect(tmp_path):
    write_index(tmp_path, table="path,instance,class\nimages/train/sub/a.jpg,1,dog\n")
    data = read_boxes(tmp_path, "index", ["train"], masks=True)
    assert [defect.code for defect in data.defects] == ["mask.instance_unknown"]
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match="'dog' is not in"):
        read_boxes(tmp_path, "index", ["train"], masks=True)


@pytest.mark.parametrize(
    "content, name, code",
    [
        (np.zeros((80, 90), np.uint8), "b.png", "mask.size_mismatch"),
        (np.zeros((80, 100, 3), np.uint8), "b.png", "mask.rgb_not_index"),
        (np.zeros((80, 100), np.uint8), "b.jpg", "mask.lossy"),
    ],
)
def test_unusable_index_maps_are_named(tmp_path, content, name, code):
    write_index(tmp_path)
    (tmp_path / "masks" / "train" / "b.png").unlink()
    Image.fromarray(content).save(tmp_path / "masks" / "train" / name)
    data = read_boxes(tmp_path, "index", ["train"], masks=True)
    assert [defect.code for defect in data.defects] == [code]
    assert name in str(data.defects[0])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_turn_upright_with_their_images(tmp_path, orientation):
    """An annotation of the stored pixels; the file says that they are turned."""
    mask = np.zeros((80, 100), bool)
    mask[10:30, 5:50] = True
    mask[30:50, 5:15] = True
    path = write(tmp_path, runs_of(mask), bbox=[5, 10, 45, 40])
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, 2)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png", exif=exif)
    scan = scan_boxes(read(path).images)
    assert not scan.defects
    truth = scan.images[0].truth
    shown = read_image(tmp_path / "images" / "a.png")[..., 0] > 0
    assert np.array_equal(decode(truth.masks)[0], shown)
    x, y, w, h = mask_boxes(truth.masks)[0]
    assert truth.boxes.tolist() == [[x, y, x + w, y + h]]


def scene(seed=0, size_hw=(90, 120), count=6):
    """An image in which each object's pixels have a colour of their own, and its truth."""
    rng = np.random.default_rng(seed)
    image = np.full((*size_hw, 3), 10, np.uint8)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    masks = np.zeros((count, *size_hw), bool)
    for number in range(count):
        row, column = divmod(number, 3)
        cy = size_hw[0] * (row + rng.uniform(0.45, 0.55)) / 2
        cx = size_hw[1] * (column + rng.uniform(0.45, 0.55)) / 3
        h, w = size_hw[0] * rng.uniform(0.12, 0.2), size_hw[1] * rng.uniform(0.07, 0.13)
        masks[number] = ((y - cy) / h) ** 2 + ((x - cx) / w) ** 2 < 1
        image[masks[number]] = 60 + 30 * number
    assert masks.sum(0).max() == 1
    codes = encode(masks)
    xywh = mask_boxes(codes)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    return image, make_truth(corners, np.arange(1, count + 1), masks=codes)


def still_colored(policy):
    """Return a transform that moves pixels as the policy does, and leaves their colours."""
    transform = BoxTransform(policy)
    for step in transform._pipeline.transforms:
        if type(step).__name__ in ("ColorJitter", "OneOf"):
            step.p = 0
    return transform


def assert_in_step(image, objects):
    """Check image, masks, boxes and labels against each other."""
    for place, label in enumerate(objects.labels):
        shown = objects.masks.maps[objects.masks.layers[place]] == objects.masks.values[place]
        assert shown.any()
        # Nearest and bilinear resizing differ at edges only.
        color = 60 + 30 * (int(label) - 1)
        inner = shown & (np.abs(image[..., 0].astype(int) - color) <= 3)
        if shown.sum() > 80:  # of tiny ones all is edge
            assert inner.sum() > 0.5 * shown.sum(), (label, inner.sum(), shown.sum())
        ys, xs = np.nonzero(shown)
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert objects.boxes[place].tolist() == box


@pytest.mark.parametrize("policy", POLICIES)
def test_augmentation_keeps_masks_boxes_and_labels_in_step(policy):
    transform = still_colored(policy)
    seen = 0
    for seed in range(25):
        image, truth = scene(seed)
        own = trainable(truth, image.shape[:2])
        shown, objects, _ = transform(image, own, None, seed)
        assert objects.masks.maps.shape[1:] == shown.shape[:2]
        assert_in_step(shown, objects)
        seen += len(objects)
    assert seen > 40


@pytest.mark.parametrize("policy", POLICIES)
def test_augmentation_keeps_boxes_and_labels_in_step_without_masks(policy):
    """The middle of a box has the colour of its object, but for a few that are cut."""
    transform, right, dropped = still_colored(policy), [], 0
    for seed in range(25):
        image, truth = scene(seed)
        own = replace(trainable(truth, image.shape[:2]), masks=None)
        shown, objects, _ = transform(image, own, None, seed)
        dropped += len(own) - len(objects)
        for box, label in zip(objects.boxes, objects.labels, strict=True):
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            right.append(abs(int(shown[y, x, 0]) - (60 + 30 * (int(label) - 1))) <= 6)
    assert len(right) > 40 and np.mean(right) > 0.9
    assert dropped or policy == "none"


def test_a_pipeline_of_the_user_keeps_them_in_step(tmp_path):
    import albumentations as A

    steps = [A.Rotate((-40, 40), p=1.0), A.RandomResizedCrop((80, 100), (0.4, 1.0), p=1.0), A.D4()]
    A.save(A.Compose(steps), tmp_path / "own.yaml", data_format="yaml")
    transform = BoxTransform(str(tmp_path / "own.yaml"))
    for seed in range(20):
        image, truth = scene(seed)
        shown, objects, _ = transform(image, trainable(truth, image.shape[:2]), None, seed)
        assert_in_step(shown, objects)


def test_mosaics_keep_them_in_step():
    parts = []
    for seed in range(4):
        image, truth = scene(seed, size_hw=(90 + 7 * seed, 120 - 9 * seed))
        parts.append((image, trainable(truth, image.shape[:2]), None))
    canvas, objects, _ = mosaic(parts, seed=3)
    assert len(objects) == sum(len(part[1]) for part in parts) == len(objects.masks)
    around = layer_boxes(objects.masks)
    assert np.abs(around - objects.boxes).max() <= 1.5
    plain = BoxTransform("none")
    shown, objects, _ = plain(canvas, objects, None, 0)
    assert_in_step(shown, objects)


def test_mirroring_twice_is_nothing(tmp_path):
    import albumentations as A

    A.save(A.Compose([A.HorizontalFlip(p=1.0)]), tmp_path / "own.yaml", data_format="yaml")
    mirror = BoxTransform(str(tmp_path / "own.yaml"))
    image, truth = scene()
    own = trainable(truth, image.shape[:2])
    once = mirror(image, own, None, 0)
    twice = mirror(once[0], once[1], None, 0)
    assert np.array_equal(twice[0], image) and np.array_equal(twice[1].boxes, own.boxes)
    assert np.array_equal(twice[1].masks.maps, own.masks.maps)
    assert not np.array_equal(once[1].masks.maps, own.masks.maps)


def test_an_object_whose_pixels_are_gone_is_dropped():
    """Its box says that it is there, its mask is empty."""
    masks = np.zeros((2, 40, 50), bool)
    masks[0, 5:20, 5:20] = True
    truth = make_truth([[5, 5, 20, 20], [30, 10, 45, 30]], [1, 2], masks=encode(masks))
    own = trainable(truth, (40, 50))
    _, objects, _ = BoxTransform("none")(np.zeros((40, 50, 3), np.uint8), own, None, 0)
    assert objects.labels.tolist() == [1]


def test_crowds_and_difficult_objects_are_not_trained_on():
    _, truth = scene()
    crowd = np.zeros(len(truth), bool)
    crowd[1] = True
    own = trainable(
        make_truth(truth.boxes, truth.labels, crowd=crowd, masks=truth.masks), (90, 120)
    )
    assert 2 not in own.labels and len(own.masks) == len(truth) - 1


def test_300_objects_cost_a_map_or_two_not_300(tmp_path):
    """Masks stay codes in memory; a sample holds layers."""
    size_hw = (1080, 1920)
    index = np.zeros(size_hw, np.uint16)
    for number in range(300):
        y, x = 50 * (number // 20), 90 * (number % 20)
        index[y : y + 40, x : x + 60] = number + 1
    for folder, content in (("images", np.zeros((*size_hw, 3), np.uint8)), ("masks", index)):
        (tmp_path / folder / "train").mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / folder / "train" / "a.png")
    data = read_boxes(tmp_path, "auto", ["train"], masks=True).splits["train"]
    assert len(data[0].truth) == 300
    assert sum(len(code) for code in data[0].truth.masks.codes) < 300 * 400
    dataset = BoxDataset(data, BoxTransform("light"))
    tracemalloc.start()
    sample = dataset.read(0, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sample.boxes) > 50 and len(sample.boxes.masks.maps) == 1
    # 300 masks of 2 megapixels alone would be 600 MB.
    assert peak < 100e6


def test_sample_scenes_have_exact_masks(tmp_path):
    write_detection(tmp_path, {"train": 3}, seed=1, size_hw=(96, 96))
    data = read_boxes(tmp_path, "auto", ["train"], masks=True)
    for image in data.splits["train"]:
        truth = image.truth
        assert mask_areas(truth.masks).tolist() == truth.areas.tolist()
        assert mask_boxes(truth.masks).tolist() == truth.xywh.tolist()
        assert len(truth) and isinstance(truth, Instances)


@pytest.fixture
def nuclei():
    place = os.environ.get("CVKIT_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("CVKIT_DATA does not name the folder of real data")
    return Path(place) / "instance"


def test_three_files_of_real_masks_say_the_same(nuclei):
    found = []
    for kind in ("polygon", "rle", "rle_uncompressed"):
        path = nuclei / "annotations" / f"instances_val_{kind}.json"
        data = read_coco(path, None, nuclei, "val", masks=True)
        assert not data.defects and len(data.images) == 55
        found.append([image.truth for image in data.images])
    for one, two, three in zip(*found, strict=True):
        assert list(one.masks.codes) == list(two.masks.codes) == list(three.masks.codes)
        assert mask_areas(one.masks).tolist() == one.areas.tolist()
        assert mask_boxes(one.masks).tolist() == one.xywh.tolist()
    assert sum(len(truth) for truth in found[0]) == 1650
