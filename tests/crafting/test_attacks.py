"""Attacks against steps done by hand, on small networks and through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cvkit.crafting.adversarial import as_bytes, difference, gain_of
from cvkit.data.synthetic.samples import write_classification, write_segmentation
from cvkit.errors import UsageError
from cvkit.ops.attacks import losses_each, signed_steps, within
from cvkit.options.robust import Attack, parse_attack
from cvkit.options.tree import task_options
from cvkit.structures import IGNORE
from cvkit.tasks.attackable import attacked_pixels, scores_of
from cvkit.tasks.trained import load_trained

TASKS = ("classify", "segment", "video")
"""Those whose models are attacked."""


class Scores:
    """A small network with smooth scores, or one that adds up weighted pixels."""

    def __init__(self, weights=None):
        torch.manual_seed(1)
        self.weights = weights
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(4),
        )
        self.net(torch.zeros(1, 3, 12, 12))
        self.net.requires_grad_(False)

    def logits(self, pixels):
        if self.weights is not None:
            return pixels.flatten(1) @ self.weights.T / 255
        return self.net(pixels / 64 - 2)


def random_pixels(count=3):
    return torch.randint(0, 256, (count, 3, 12, 12), generator=torch.Generator().manual_seed(5))


def test_one_step_by_hand():
    """The gradient of the cross-entropy of W x is W^T (p - onehot)."""
    weights = torch.randn(4, 3 * 12 * 12, generator=torch.Generator().manual_seed(2))
    pixels, truth = random_pixels().float(), torch.tensor([0, 3, 1])
    scores = Scores(weights)
    found = attacked_pixels(scores, pixels, truth, parse_attack("fgsm:eps=7"), [0, 0, 0])
    p = scores.logits(pixels).softmax(1)
    slope = (p - F.one_hot(truth, 4)) @ weights
    wanted = (pixels + 7 * slope.sign().view_as(pixels)).clamp(0, 255)
    assert torch.equal(found, wanted)
    assert (found == 0).any() and (found == 255).any() and (found != pixels).float().mean() > 0.9


def test_two_steps_by_hand_are_projected():
    pixels = torch.tensor([[100.0, 3.0, 252.0]])
    found = signed_steps(
        lambda x: (x * torch.tensor([1.0, -1.0, 1.0])).sum(1),
        *(pixels,),
        eps=5.0,
        steps=2,
        step=3.0,
        start=torch.tensor([[-4.0, 5.0, 0.0]]),
    )
    assert found.tolist() == [[102.0, 2.0, 255.0]]
    far = signed_steps(lambda x: x.sum(1), pixels, eps=5.0, steps=9, step=3.0)
    assert far.tolist() == [[105.0, 8.0, 255.0]]


@pytest.mark.parametrize("eps", [0.5, 2.0, 8.0])
def test_pgd_stays_in_the_ball_and_raises_the_loss_as_far_as_one_step_or_more(eps):
    scores, pixels, truth = Scores(), random_pixels().float(), torch.tensor([0, 3, 1])
    before = losses_each(scores.logits(pixels), truth)
    after = {}
    for text in (f"fgsm:eps={eps}", f"pgd:eps={eps},steps=20"):
        moved = attacked_pixels(scores, pixels, truth, parse_attack(text), [1, 2, 3])
        assert (moved - pixels).abs().max() <= eps + 1e-4
        assert moved.min() >= 0 and moved.max() <= 255
        after[text] = losses_each(scores.logits(moved), truth)
    one, many = after.values()
    assert (one > before).all() and (many > before).all()
    assert many.sum() > one.sum() * (1 if eps == 8 else 0.999)


def test_least_likely_raises_the_probability_of_that_class():
    scores, pixels = Scores(), random_pixels().float()
    logits = scores.logits(pixels)
    least = logits.argmin(1)
    attack = parse_attack("least-likely:eps=8,steps=20")
    moved = attacked_pixels(scores, pixels, logits.argmax(1), attack, [0, 0, 0])
    gained = scores.logits(moved).softmax(1) - logits.softmax(1)
    assert (gained.argmax(1) == least).all() and (gained.gather(1, least[:, None]) > 0).all()
    assert torch.equal(moved, attacked_pixels(scores, pixels, least, attack, [7, 8, 9]))


def test_random_starts_depend_on_their_seeds_and_not_on_the_batch():
    scores, pixels, truth = Scores(), random_pixels().float(), torch.tensor([0, 3, 1])
    attack = parse_attack("pgd:eps=4,steps=1,step=0.001")
    together = attacked_pixels(scores, pixels, truth, attack, [4, 5, 6])
    alone = attacked_pixels(scores, pixels[1:2], truth[1:2], attack, [5])
    other = attacked_pixels(scores, pixels[1:2], truth[1:2], attack, [6])
    assert (together[1] - alone[0]).abs().max() <= 0.01 < (other[0] - alone[0]).abs().max()
    noise = within((3, 50, 50), 4.0, 5)
    assert noise.abs().max() <= 4 and abs(noise.mean()) < 0.1 and abs(noise.std() - 2.31) < 0.05


def test_the_loss_of_a_label_map_is_the_mean_over_its_labelled_pixels():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    target = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(2))
    target[0, :3], target[1] = IGNORE, IGNORE
    terms = [-logits[0, :, 3, x].log_softmax(0)[target[0, 3, x]] for x in range(5)]
    found = losses_each(logits, target)
    assert found[0].item() == pytest.approx(sum(terms).item() / 5, rel=1e-6)
    assert found[1] == 0
    assert losses_each(torch.zeros(1, 300), torch.tensor([255])).item() == pytest.approx(
        5.7038, 1e-4
    )


def test_files_hold_whole_values_within_the_ball():
    before = torch.tensor([[[[0, 100, 100, 254]]]], dtype=torch.uint8)
    moved = torch.tensor([[[[0.6, 102.5, 97.5, 255.0]]]])
    assert as_bytes(before, moved, 2.5).tolist() == [[[[1, 102, 98, 255]]]]
    pair = np.uint8([[[100, 100, 100]]]), np.uint8([[[102, 98, 100]]])
    assert difference(*pair, gain_of(2)).tolist() == [[[254, 2, 128]]]


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgsm", Attack("fgsm", 2, 1, 2)),
        ("fgsm:eps=0.5", Attack("fgsm", 0.5, 1, 0.5)),
        ("pgd", Attack("pgd", 2, 10, 0.5)),
        ("pgd:eps=4,steps=5", Attack("pgd", 4, 5, 2)),
        ("least-likely:step=1,eps=8", Attack("least-likely", 8, 10, 1)),
    ],
)
def test_attacks_are_read_and_written_alike(text, attack):
    assert parse_attack(text) == attack == parse_attack(attack.title)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("pdg", "attack.unknown", "did you mean pgd?"),
        ("pgd:epsilon=2", "attack.syntax", "eps"),
        ("fgsm:steps=2", "attack.syntax", "eps"),
        ("pgd:steps=1.5", "attack.syntax", "steps=2"),
        ("pgd:eps=x", "attack.syntax", "eps=2"),
        ("pgd:eps=nan", "attack.syntax", "up to 255"),
        ("pgd:eps=0", "attack.syntax", "up to 255"),
        ("pgd:eps=256", "attack.syntax", "up to 255"),
        ("pgd:step=0", "attack.syntax", "up to 255"),
        ("pgd:steps=0", "attack.syntax", "10000"),
    ],
)
def test_attacks_that_cannot_be_are_refused(text, code, words):
    with pytest.raises(UsageError) as caught:
        parse_attack(text)
    assert caught.value.code == code and words in caught.value.hint


def evaluated(cvkit, *more):
    done = cvkit(*more, "--json", "--no-files", "--workers", 0)
    assert done.code == 0, done.err
    return done.json


@pytest.mark.parametrize("task", TASKS)
def test_the_gradient_is_that_of_what_is_predicted(run_of, data_of, task):
    """By finite differences; and the scores are those of the results."""
    weights = "scenes" if task == "segment" else str(run_of(task))  # one epoch leaves it no slope
    options = task_options(task, "eval")(weights=weights, data=str(data_of(task)))
    trained = load_trained(options.weights, options, task)
    from cvkit.console import Reporter
    from cvkit.engine.loader import load

    ready = trained.task.with_data(options, trained.header, Reporter(quiet=True))
    with load(ready.dataset("val", training=False), [[(0, 0), (1, 0)]], 0) as loaded:
        ((batch,),) = loaded
    scores = scores_of(ready, trained.model.double())
    pixels, truth = batch.images.double(), scores.truth(batch)
    logits = scores.logits(pixels).detach()
    if task != "segment":
        trained.model.float()
        wanted = [each.scores for each in ready.predict(trained.model, batch)]
        assert np.allclose(logits.softmax(1), wanted, atol=1e-5)
        assert truth.tolist() == [each.truth.label for each in batch.samples]
        trained.model.double()
    assert truth.shape == (logits.shape[0], *logits.shape[2:])
    pixels.requires_grad_()
    losses_each(scores.logits(pixels), truth).sum().backward()
    way = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1)).double()
    ends = [pixels.detach() + sign * 1e-5 * way for sign in (1, -1)]
    up, down = (losses_each(scores.logits(end), truth).sum() for end in ends)
    assert ((up - down) / 2e-5).item() == pytest.approx((pixels.grad * way).sum().item(), rel=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_an_attack_makes_an_evaluation_worse_whatever_the_batches(cvkit, run_of, data_of, task):
    weights = {"classify": "shapes", "segment": "scenes"}.get(task) or run_of(task)
    base = (task, "eval", "--weights", weights, "--data", data_of(task))
    attacks = ("--attack", "fgsm:eps=16", "--attack", "pgd:eps=16,steps=4")
    clean = evaluated(cvkit, *base)
    one, three = (evaluated(cvkit, *base, *attacks, "--batch-size", n) for n in (1, 3))
    assert one["metrics"] == pytest.approx(clean["metrics"], abs=1e-6)
    assert one["engine"] == "eager"
    best = one["robustness"]["best"]
    for row, same in zip(*(c["robustness"]["attacks"] for c in (one, three)), strict=True):
        assert row["value"] == row["metrics"][best] == pytest.approx(same["value"], abs=1e-3)
        assert row["value"] <= clean["metrics"][best]
    assert row["attack"] == "pgd:eps=16,steps=4,step=10"
    if task != "video":  # of two epochs, it knows hardly more than chance
        assert row["value"] < clean["metrics"][best]


@pytest.mark.parametrize(
    ("task", "more", "code"),
    [
        ("classify", ("--engine", "fused"), "attack.engine"),
        ("classify", ("--tta", "flip"), "attack.combined"),
        ("segment", ("--tiles", "64"), "attack.combined"),
        ("segment", ("--sliding-window",), "attack.combined"),
        ("segment", ("--tiles", "64", "--corruptions", "blur"), "corruptions.combined"),
        ("detect", ("--corruptions", "rotation"), "corruptions.boxes"),
    ],
)
def test_what_cannot_be_measured_together_is_refused(cvkit, task, more, code):
    attack = () if "--corruptions" in more else ("--attack", "fgsm")
    done = cvkit(task, "eval", "--weights", "x", "--data", "x", *attack, *more, "--json")
    assert done.code == 2 and done.json["error"]["code"] == code


def test_files_of_predictions_are_not_attacked(cvkit, tmp_path):
    for flag in ("--attack", "--corruptions"):
        done = cvkit("classify", "eval", "--predictions", "a", "--truth", "b", flag, "x", "--json")
        assert done.json["error"]["code"] == f"{flag[2:]}.idle"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of the sizes that the built-in models know."""
    root = tmp_path_factory.mktemp("attacked")
    write_classification(root / "classify", {"val": 6}, 4, (64, 64))
    write_segmentation(root / "segment", {"val": 1}, 4, (96, 128))
    return root


@pytest.mark.parametrize(("task", "name"), [("classify", "shapes"), ("segment", "scenes")])
def test_attacked_files_are_what_the_lines_say(cvkit, photos, tmp_path, task, name):
    out = tmp_path / "out"
    files = sorted(p for p in (photos / task).rglob("*.png") if "masks" not in p.parts)[:2]
    (photos / "torn.png").write_bytes(b"torn")
    done = cvkit(
        *("attack", *files, photos / "torn.png", "--weights", name, "--out", out, "--json"),
        *("--attack", "pgd:eps=4,steps=3", "--attack", "fgsm:eps=4"),
    )
    assert done.code == 3, done.err
    lines = [json.loads(text) for text in (out / "attacks.jsonl").open()]
    assert len(lines) == len(files) == done.json["counts"]["attacked"]
    options = task_options(task, "predict")(weights=name, workers=0)
    trained = load_trained(name, options, task)
    scores = scores_of(trained.task, trained.model)
    for file, line in zip(files, lines, strict=True):
        before = trained.task.source([_given(file)]).read(0).image
        labels = scores.logits(_tensor(before)).argmax(1)
        for title, entry in line["attacks"].items():
            after = np.asarray(Image.open(out / entry["image"]))
            assert after.shape == before.shape
            assert abs(after.astype(int) - before).max() == entry["largest"] <= 4
            logits = scores.logits(_tensor(after)).detach()
            sure = logits.softmax(1).gather(1, labels[:, None]).mean()
            assert entry["after"] == pytest.approx(sure.item(), abs=1e-4) and title
            changed = (logits.argmax(1) != labels).float().mean().item()
            assert entry["changed"] == pytest.approx(changed, abs=1e-3)
            assert entry["after"] < entry["before"]
            assert Image.open(out / entry["picture"]).size[0] > 1000
            if task == "classify":
                names = trained.task.classes.names
                assert line["label"] == names[labels] and entry["label"] == names[logits.argmax(1)]
    means = done.json["attacks"]["fgsm:eps=4"]
    wanted = np.mean([line["attacks"]["fgsm:eps=4"]["after"] for line in lines])
    assert means["after"] == pytest.approx(wanted)
    page = (out / "attacks.html").read_text()
    assert "cvkit attack" in page and "torn.png" in page and "pgd:eps=4,steps=3" in page


def _given(path):
    from cvkit.data.given import GivenImage

    return GivenImage(np.asarray(Image.open(path).convert("RGB")), Path(path).name)


def _tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ((), "inputs.missing"),
        (("a.png",), "weights.missing"),
        (("a.png", "--weights", "shapes", "--attack", "fgsm:eps=0.5"), "attack.eps"),
        (("a.png", "--weights", "shapes", "--overwrite"), "overwrite.idle"),
        (("a.png", "--weights", "boxes"), "attack.task"),
        (("a.png", "--weights", "motions"), "attack.pictures"),
        ((".", "--weights", "shapes", "--out", "."), "out.input"),
    ],
)
def test_what_attack_cannot_do_is_refused(cvkit, tmp_path, monkeypatch, flags, code):
    monkeypatch.chdir(tmp_path)
    done = cvkit("attack", *flags, "--json")
    assert done.code == 2 and done.json["error"]["code"] == code, done.json
    assert not list(tmp_path.iterdir())
