"""Gradient ascent on images against formulas written out, and dreams of small networks."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cvkit.crafting.dream import Maps
from cvkit.ops import ascent
from cvkit.ops.ascent import Settings, blurred, climb, octave_sizes, to_image, to_spectrum

SEED = 4


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def photo(size_hw=(24, 31)):
    return torch.rand(1, 3, *size_hw, generator=generator(1)) * 0.8 + 0.1


def test_a_spectrum_is_the_discrete_fourier_transform_of_the_logits_divided_by_the_gains():
    image = photo((6, 7))
    found = torch.view_as_complex(to_spectrum(image))[0, 1]
    logits = torch.logit(image[0, 1]).double() * 4
    for u, v in ((0, 0), (1, 0), (4, 2), (3, 3)):
        total = 0j
        for y in range(6):
            for x in range(7):
                angle = -2 * math.pi * (u * y / 6 + v * x / 7)
                total += logits[y, x].item() * complex(math.cos(angle), math.sin(angle))
        frequency = math.hypot(min(u, 6 - u) / 6, v / 7)
        gain = math.sqrt(42) / max(frequency, 1 / 7)
        assert abs(complex(found[u, v]) - total / gain) < 1e-3, (u, v)
    assert torch.allclose(to_image(to_spectrum(image), (6, 7)), image, atol=1e-5)


def test_blur_is_a_gaussian_and_keeps_the_mean():
    image = torch.zeros(1, 1, 33, 40)
    image[..., 16, 20] = 1
    row = blurred(image, 2.0)[0, 0, 16]
    at = torch.arange(40) - 20
    wanted = torch.exp(-(at**2) / 8) / (2 * math.pi * 4)
    assert torch.allclose(row, wanted, atol=1e-5)
    assert blurred(image, 2.0).sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(blurred(image, 0.0), image)


def test_total_variation_by_hand():
    image = torch.tensor([[[[0.0, 1.0, 1.0], [0.5, 0.5, 0.0]]]])
    down, along = (0.5 + 0.5 + 1) / 3, (1 + 0 + 0 + 0.5) / 4
    assert ascent.total_variation(image).item() == pytest.approx(down + along)


def test_octaves_grow_by_the_scale_to_the_full_size():
    assert octave_sizes((100, 200), 3, 2.0) == [(25, 50), (50, 100), (100, 200)]
    assert octave_sizes((30, 60), 4, 2.0) == [(30, 60)]  # smaller ones have less than 16 rows
    assert octave_sizes((8, 8), 1, 2.0) == [(8, 8)]


def made(**more):
    return Settings(**{"space": "pixels", "steps": 3, "rate": 0.02} | more)


def test_steps_on_pixels_by_hand():
    """The gradient of sum(w x) is w: each step adds rate * w / mean |w|, cut off at 0 and 1."""
    weights = torch.randn(1, 3, 24, 31, generator=generator(2))
    start, seen = photo(), []
    found = climb(
        lambda x: (x * weights).sum(), start, made(), generator(), lambda *each: seen.append(each)
    )
    wanted = start.clone()
    for image, value in seen:
        assert value == pytest.approx((wanted * weights).sum().item(), rel=1e-4)
        wanted = (wanted + 0.02 * weights / weights.abs().mean()).clamp(0, 1)
        assert torch.allclose(image, wanted, atol=1e-6)
    assert torch.allclose(found, wanted, atol=1e-6) and len(seen) == 3


def test_the_first_step_in_fourier_is_that_of_adam():
    """It moves every number of the spectrum by the rate, along the sign of the gradient."""
    start = photo()
    before = to_spectrum(start)
    found = to_spectrum(
        climb(lambda x: x.mean(), start, made(space="fourier", steps=1), generator(), quiet)
    )
    moved = (found - before)[..., 0, 0, 0]  # the mean of each colour
    assert torch.allclose(moved, torch.full((1, 3), 0.02), atol=1e-4)


def quiet(*_):
    pass


@pytest.mark.parametrize("space", ascent.SPACES)
def test_every_objective_rises_and_the_seed_decides(space):
    pattern = torch.sin(torch.arange(31) / 2)

    def objective(image):
        return (image.mean((0, 1, 2)) * pattern).sum()

    def run(seed, **more):
        grey = torch.full((1, 3, 24, 31), 0.5)
        settings = made(space=space, steps=20, jitter=2, **more)
        return climb(objective, grey, settings, generator(seed), quiet, noisy=True)

    one, again, other = run(1), run(1), run(2)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert objective(one) > objective(torch.full((1, 3, 24, 31), 0.5)) + 0.1
    assert one.min() >= 0 and one.max() <= 1
    plain = ascent.total_variation(one)
    smooth = ascent.total_variation(run(1, tv=1e4))
    assert smooth < 0.8 * plain
    assert ascent.total_variation(run(1, blur=2.0)) < plain
    assert (run(1, decay=0.5) - 0.5).abs().mean() < (one - 0.5).abs().mean() / 2


@pytest.mark.parametrize("space", ascent.SPACES)
def test_octaves_keep_the_photo_and_blur_does_not_touch_it(space):
    start = photo((64, 80))
    sizes = []

    def objective(image):
        sizes.append(tuple(image.shape[-2:]))
        return 0 * image.sum()  # nothing to climb

    settings = made(space=space, steps=1, blur=3.0, decay=0.5, octaves=3, octave_scale=1.5)
    found = climb(objective, start, settings, generator(), quiet)
    assert sizes == octave_sizes((64, 80), 3, 1.5)
    assert torch.allclose(found, start, atol=1e-3)


def test_jitter_shifts_what_the_objective_sees_and_not_the_image():
    start, seen = photo(), []

    def objective(image):
        seen.append(image.detach().clone())
        return 0 * image.sum()

    found = climb(objective, start, made(steps=8, jitter=3), generator(), quiet)
    assert torch.equal(found, start)
    shifts = set()
    for image in seen:
        fits = [
            (y, x)
            for y in range(-3, 4)
            for x in range(-3, 4)
            if torch.equal(image, start.roll((y, x), (-2, -1)))
        ]
        shifts |= {*fits}
        assert fits
    assert len(shifts) > 3


@pytest.mark.parametrize("channel", [0, 2, None])
def test_the_wish_for_a_channel_is_its_mean_and_for_a_layer_its_mean_square(channel):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    maps = Maps(net, SimpleNamespace(mapped=net), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    scaled = (photo() - torch.tensor([[[0.4]], [[0.5]], [[0.6]]])) / torch.tensor(
        [[[0.2]], [[0.3]], [[0.4]]]
    )
    with torch.no_grad():
        output = net[0](scaled)
        found = maps.wish("0", channel).objective(photo())
    wanted = output.square().mean() if channel is None else output[:, channel].mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


QUICK = ("--steps", 3, "--out")


def dreamt(cvkit, *more, code=0):
    done = cvkit("dream", *more, "--json")
    assert done.code == code, done.err
    return done.json


CLASSES = {"classify": "all", "segment": "circle,ring", "video": "down,grows"}


@pytest.mark.parametrize("task", CLASSES)
def test_each_class_gets_an_image_whose_score_rises(cvkit, run_of, tmp_path, task):
    out = tmp_path / "out"
    weights = "scenes" if task == "segment" else run_of(task)  # one epoch leaves it no slope
    found = dreamt(
        cvkit,
        *("--weights", weights, "--target", CLASSES[task], "--gif", "--steps", 41, "--size", 32),
        *("--out", out),
    )
    assert len(found["dreams"]) >= 2 and (out / "dreams.png").is_file()
    risen = {row["wish"]: (row["start"], row["end"]) for row in found["dreams"]}
    assert all(end > start for start, end in risen.values()), risen
    for row in found["dreams"]:
        with Image.open(out / row["ascent"]) as film:
            assert 12 < film.n_frames <= 40
        assert ("clip" in row) == (task == "video")
    assert json.loads((out / "dream.json").read_text())["dreams"] == found["dreams"]


@pytest.mark.parametrize("task", ["classify", "segment", "detect", "instance", "video"])
def test_layers_and_channels_of_every_task(cvkit, run_of, tmp_path, task):
    wrong = dreamt(cvkit, "--weights", run_of(task), "--layer", "nowhere", code=2)["error"]
    assert wrong["code"] == "layer.unknown" and wrong["hint"].startswith("known: ")
    layer = wrong["hint"].removeprefix("known: ").split(", ")[0]
    found = dreamt(
        cvkit,
        *("--weights", run_of(task), "--layer", layer, "--channel", "0,1", "--size", 64),
        *("--rate", 0.02, *QUICK, tmp_path / "out"),
    )
    assert [row["wish"] for row in found["dreams"]] == [f"{layer}-0", f"{layer}-1"]
    pictures = [np.asarray(Image.open(tmp_path / "out" / r["picture"])) for r in found["dreams"]]
    assert (pictures[0] != pictures[1]).any() and max(pictures[0].shape[:2]) >= 48
    far = ("--weights", run_of(task), "--layer", layer, "--channel", "99999")
    assert dreamt(cvkit, *far, code=2)["error"]["code"] == "channel.unknown"


def test_a_photo_keeps_its_size_and_its_content(cvkit, run_of, tmp_path):
    rng = np.random.default_rng(1)
    picture = rng.integers(60, 190, (40, 56, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    found = dreamt(
        cvkit,
        *(tmp_path / "photo.png", tmp_path / "torn.png", "--weights", run_of("segment")),
        *(*QUICK, tmp_path / "out"),
        code=3,
    )
    (row,) = found["dreams"]
    made_of = np.asarray(Image.open(tmp_path / "out" / row["picture"])).astype(int)
    assert made_of.shape == picture.shape and row["input"] == "photo"
    assert 0 < abs(made_of - picture).mean() < 60
    assert np.corrcoef(made_of.ravel(), picture.ravel())[0, 1] > 0.6
    assert found["counts"] == {"dreamt": 1, "failed": 1}
    assert found["failures"][0]["path"] == "torn.png"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--weights", "shapes"), "target.missing"),
        (("--target", "all"), "weights.missing"),
        (("--weights", "shapes", "--target", "circel"), "target.unknown"),
        (("--weights", "shapes", "--target", "circle", "--channel", "1"), "target.combined"),
        (("--weights", "boxes", "--target", "all"), "attack.task"),
        (("--weights", "shapes", "--target", "all", "--overwrite"), "overwrite.idle"),
        (("--weights", "shapes", "--target", "all", "--octave-scale", 2), "octave_scale.idle"),
        (("a.png", "--weights", "motions"), "inputs.task"),
    ],
)
def test_what_cannot_be_dreamt_is_refused(cvkit, tmp_path, monkeypatch, flags, code):
    monkeypatch.chdir(tmp_path)
    done = cvkit("dream", *flags, "--json")
    assert done.code == 2 and done.json["error"]["code"] == code, done.json
    assert not list(tmp_path.iterdir())
