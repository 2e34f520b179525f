"""Random transforms follow their seed, keep image and mask together, and undo nothing."""

import albumentations as A
import numpy as np
import pytest

from cvkit.catalog import AUGMENTATIONS
from cvkit.data.resize import input_size_hw, prepare, resize_mask
from cvkit.data.transforms.classes import (
    CLASSIFY_POLICIES,
    ClassifyTransform,
    ClipTransform,
    RandomArea,
)
from cvkit.data.transforms.lecture import RandomAffine, affine_matrix
from cvkit.data.transforms.masks import POLICIES, ScaleCrop, TrainTransform
from cvkit.data.transforms.pipelines import FILL_RGB
from cvkit.errors import UsageError


def pair(height=60, width=80):
    """An image whose red channel says, everywhere, which class the mask has there."""
    _, x = np.mgrid[:height, :width]
    mask = (x * 8 // width).astype(np.uint8)  # eight vertical bands
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = mask * 25 + 20
    return image, mask


@pytest.mark.parametrize("augment", POLICIES)
def test_a_transform_is_a_function_of_its_seed(augment):
    transform = TrainTransform(augment, (48, 40), "fit", (0.5, 2.0))
    image, mask = pair()
    image[...] = np.random.default_rng(0).integers(0, 255, image.shape)
    first = transform(image, mask, 7)
    transform(image, mask, 8)  # what happens in between must not matter
    again = transform(image, mask, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape == (40, 48, 3)
    assert first[1].shape == (40, 48)
    if augment != "none":
        others = [transform(image, mask, seed)[0] for seed in range(20)]
        assert len({other.tobytes() for other in others}) > 15


def test_image_and_mask_move_together_and_padding_is_ignored(monkeypatch):
    monkeypatch.setattr(A, "ColorJitter", lambda **_: A.NoOp())
    transform = TrainTransform("light", (48, 40), "fit", (0.5, 2.0))
    image, mask = pair(120, 144)
    padded = flipped = 0
    for seed in range(60):
        moved, labels = transform(image, mask, seed)
        known = labels != 255
        padded += (~known).any()
        assert (np.abs(moved[~known].astype(int) - FILL_RGB) == 0).all()
        inner = known & (np.abs(moved[..., 0].astype(int) - (labels * 25.0 + 20)) < 1)
        assert inner.sum() > 0.7 * known.sum()  # all but the blended borders between classes
        row = labels[known.any(1)][0]
        row = row[row != 255].astype(int)
        flipped += row[0] > row[-1]
    assert 5 < padded < 55
    assert 15 < flipped < 45


def test_evaluation_size_keeps_the_aspect_ratio_in_both_orientations():
    assert input_size_hw((360, 480), (240, 180), "fit") == (180, 240)
    assert input_size_hw((480, 360), (240, 180), "fit") == (240, 180)
    assert input_size_hw((100, 400), (240, 180), "fit") == (60, 240)
    assert input_size_hw((33, 47), (240, 180), "native") == (33, 47)
    image, geometry = prepare(np.zeros((7, 301, 3), np.uint8), (30, 30), "fit")
    assert image.shape == (1, 30, 3)
    assert (geometry.original_hw, geometry.input_hw) == ((7, 301), (1, 30))


def test_masks_are_resized_at_pixel_centres():
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert resize_mask(mask, (8, 8))[::2, ::2].tolist() == mask.tolist()
    assert resize_mask(resize_mask(mask, (12, 12)), (4, 4)).tolist() == mask.tolist()


def test_own_pipelines_are_loaded_from_yaml_and_json(tmp_path):
    image, mask = pair()
    for kind in ("yaml", "json"):
        A.save(A.Compose([A.HorizontalFlip(p=1.0)]), tmp_path / f"p.{kind}", data_format=kind)
        transform = TrainTransform(str(tmp_path / f"p.{kind}"), (80, 60), "fit", (1, 1))
        moved, labels = transform(image, mask, 0)
        assert np.array_equal(moved, image[:, ::-1])
        assert np.array_equal(labels, mask[:, ::-1])


@pytest.mark.parametrize(
    "content", ["", "[1", "a: 1", "transform: {__class_fullname__: os.system}"]
)
def test_unusable_pipelines_are_refused(tmp_path, content):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"p\.yaml"):
        TrainTransform(str(tmp_path / "p.yaml"), (80, 60), "fit", (1, 1))
    with pytest.raises(UsageError, match=r"none, light, strong"):
        TrainTransform(str(tmp_path / "missing"), (80, 60), "fit", (1, 1))


@pytest.mark.parametrize("augment", AUGMENTATIONS["video"])
@pytest.mark.parametrize("side", [32, 80])
def test_every_frame_of_a_clip_is_transformed_alike(augment, side):
    frame = np.random.default_rng(3).integers(0, 255, (90, 120, 3), np.uint8)
    transform = ClipTransform(augment, side, erasing=0.5)
    made = [transform(np.stack([frame] * 4), seed) for seed in range(6)]
    for clip in made:
        assert clip.shape == (4, side, side, 3)
        assert (clip == clip[0]).all()
    assert len({clip.tobytes() for clip in made}) > 1, "the seed decides"


@pytest.mark.parametrize("make", [ClassifyTransform, ClipTransform])
@pytest.mark.parametrize("augment", sorted({*CLASSIFY_POLICIES} - {"none", "lecture"}))
def test_a_training_sample_of_a_class_shows_a_quarter_of_the_image_or_more(make, augment):
    (step,) = (s for s in make(augment, 80)._pipeline if isinstance(s, RandomArea))
    step.set_random_seed(0)
    shares, ratios = [], []
    for _ in range(500):
        (rows, columns) = step.get_params_dependent_on_data({"shape": (400, 400, 3)}, {})["box"]
        assert 0 <= rows.start < rows.stop <= 400 and 0 <= columns.start < columns.stop <= 400
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        shares.append(high * wide / 400**2)
        ratios.append(wide / high)
    assert 0.245 < min(shares) < 0.27 and max(shares) > 0.95
    assert 0.74 < min(ratios) < 0.78 and 1.28 < max(ratios) < 1.35
    assert 0.44 < (np.array(ratios) < 1).mean() < 0.56  # wide ones are as likely as high ones


@pytest.mark.parametrize("make", [ClassifyTransform, ClipTransform])
@pytest.mark.parametrize("side", [32, 64])
def test_small_images_are_shifted_by_up_to_an_eighth(make, side):
    y, x = np.mgrid[:side, :side]
    image = np.stack([x, y, 0 * x], -1).astype(np.uint8)
    transform, middle, seen = make("light", side, flip=0.0), side // 2, []
    for seed in range(400):
        made = transform(image if make is ClassifyTransform else image[None], seed)
        column, row, _ = made.reshape(side, side, 3)[middle, middle].tolist()
        seen.append((column - middle, row - middle))
    reach = side // 8
    for shifts in zip(*seen, strict=True):
        assert set(shifts) == set(range(-reach, reach + 1))


@pytest.mark.parametrize("make", [ClassifyTransform, ClipTransform])
@pytest.mark.parametrize("side", [32, 80])
@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_samples_are_mirrored_as_often_as_asked_for(make, side, flip):
    image = np.arange(120, dtype=np.uint8)[None, :, None].repeat(90, 0).repeat(3, 2)
    transform, mirrored = make("light", side, flip=flip), 0
    for seed in range(300):
        made = transform(image if make is ClassifyTransform else image[None], seed)
        row = made.reshape(side, side, 3)[side // 2, :, 0].astype(int)
        mirrored += row[side // 4] > row[-side // 4]
    assert mirrored / 300 == pytest.approx(flip, abs=0.06 if 0 < flip < 1 else 0)


def test_scales_are_drawn_log_uniformly_around_the_evaluation_scale():
    step = ScaleCrop((48, 40), (0.5, 2.0), "fit")
    step.set_random_seed(0)
    drawn = [step.get_params_dependent_on_data({"shape": (800, 960, 3)}, {}) for _ in range(400)]
    factors = np.array([each["scaled_hw"][0] / 40 for each in drawn])
    assert factors.min() >= 0.5 and factors.max() <= 2 and len(set(factors)) > 30
    assert 0.44 < (factors < 1).mean() < 0.56  # as often smaller as larger


def drawn_maps(count=400, size_hw=(48, 64)):
    """The maps of the preset, taken apart: rotation, shear, both scales, both shifts."""
    step, parts = RandomAffine(), []
    step.set_random_seed(0)
    centre = (np.array(size_hw[::-1]) - 1) / 2
    for _ in range(count):
        matrix = step.get_params_dependent_on_data({"shape": (*size_hw, 3)}, {})["matrix"]
        linear = matrix[:, :2]
        angle = np.arctan2(linear[1, 0], linear[0, 0])
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        upper = turned @ linear
        assert upper[1, 0] == pytest.approx(0, abs=1e-12)
        shift = matrix @ [*centre, 1] - centre
        shear = np.degrees(np.arctan(-upper[0, 1] / upper[1, 1]))
        parts.append([np.degrees(angle) % 360, shear, upper[0, 0], upper[1, 1], *shift])
    return np.array(parts).T


def test_the_lecture_preset_draws_from_the_published_ranges():
    angle, shear, wide, high, right, down = drawn_maps()
    zoom, stretch = np.sqrt(wide * high), np.sqrt(wide / high)
    for found, low, high in (
        *((angle, 0, 360), (shear, -20, 20), (right, -10, 10), (down, -10, 10)),
        *((np.log(zoom), -np.log(1.6), np.log(1.6)), (np.log(stretch), -np.log(1.3), np.log(1.3))),
    ):
        assert low <= found.min() < low + 0.03 * (high - low)
        assert high - 0.03 * (high - low) < found.max() <= high
        assert found.mean() == pytest.approx((low + high) / 2, abs=0.06 * (high - low))


def test_its_map_is_the_one_of_skimage():
    from skimage.transform import AffineTransform, SimilarityTransform

    size_hw = (40, 60)
    centre = (np.array(size_hw[::-1]) - 1) / 2
    ours = affine_matrix(size_hw, rotation=30, shear=10, scale_xy=(1.2, 0.8), shift_xy=(3.0, -2.0))
    there = SimilarityTransform(translation=-centre)
    inner = AffineTransform(scale=(1.2, 0.8), rotation=np.radians(30), shear=np.radians(10))
    back = SimilarityTransform(translation=centre + (3.0, -2.0))
    np.testing.assert_allclose(ours, (there + inner + back).params[:2], atol=1e-12)


def test_the_lecture_preset_moves_image_and_mask_together(monkeypatch):
    for name in ("GaussNoise", "GaussianBlur"):
        monkeypatch.setattr(A, name, lambda **_: A.NoOp())
    transform = TrainTransform("lecture", (64, 48), "fit", (1, 1))
    image, mask = pair(48, 64)
    outside = 0
    for seed in range(40):
        moved, labels = transform(image, mask, seed)
        known = labels != 255
        outside += (~known).any()
        right = np.abs(moved[..., 0].astype(int) - (labels * 25.0 + 20)) < 1
        assert right[known].mean() > 0.6  # all but the blended borders between classes
    assert outside > 20
