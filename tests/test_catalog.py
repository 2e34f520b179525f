"""What the tables offer, and that it can be used."""

import inspect
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from cvkit.catalog import (
    ARCHS,
    BACKBONES,
    CLASSIFIERS,
    CLIP_NETWORKS,
    DETECTORS,
    TASKS,
    backbones_of,
    idle_flags,
    resolve,
)
from cvkit.errors import DataError, UsageError
from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS


def offered(task, flag):
    """Return the names that a flag of a training takes."""
    kind = get_args(hints(OPTIONS[task]["train"])[flag])[0]
    kinds = [kind] if get_origin(kind) is Literal else get_args(kind)
    return [name for each in kinds if get_origin(each) is Literal for name in get_args(each)]


@pytest.mark.parametrize("task", TASKS)
def test_a_whole_network_is_offered_where_one_of_its_archs_is(task):
    names = offered(task, "backbone")
    assert set(offered(task, "arch")) == set(ARCHS[task])
    assert len(names) > 30
    for name in {*names, *backbones_of(task)}:
        whole = BACKBONES[name].whole
        assert not whole or set(whole) & set(ARCHS[task]), name
    served = {name for name, entry in BACKBONES.items() if set(entry.whole) & set(ARCHS[task])}
    assert served <= set(names)


def test_a_network_of_another_task_is_refused_before_work_starts(cvkit, tmp_path):
    for name in ("unet2015", "unet-bn", "fcn2014"):
        flags = ("--backbone", name, "--out", tmp_path / "runs")
        for task in ("instance", "detect", "video", "classify"):
            done = cvkit(task, "train", *flags)
            assert done.code == 2, (task, name)
            assert name in done.err
    config = tmp_path / "c.yaml"
    config.write_text("backbone: unet-bn\n")
    done = cvkit("instance", "train", "--config", config, "--out", tmp_path / "runs")
    assert done.code == 2
    assert "unet-bn" in done.err
    assert not (tmp_path / "runs").exists()


VALUES = {
    "anchor_size": 16,
    "backbone": "resnet34",
    "bidirectional": True,
    "cell": "gru",
    "channels": 64,
    "deconv": True,
    "depth": 1,
    "devices": 2,
    "distance": "l1",
    "dropout": 0.1,
    "fusion": "concat",
    "head": "softmax",
    "heads": 2,
    "hidden": 8,
    "label_smoothing": 0.1,
    "max_size": 500,
    "neck": "c4",
    "neighbors": 3,
    "positions": "learned",
    "proposal_mode": "quality",
    "proposals": Path("regions.npz"),
    "roi": "pool",
    "roi_samples": 16,
    "votes": "distance",
}
"""A value, that is not the default, of each flag that only some architectures have."""


def complaint(task, arch, flag):
    """Return what a training says of a flag, before it reads data; empty if it means something."""
    from cvkit.tasks import train_flags
    from cvkit.tasks.classify import setup as classify
    from cvkit.tasks.detect import network as detect
    from cvkit.tasks.detect import proposals
    from cvkit.tasks.segment import setup as segment
    from cvkit.tasks.video import network as video

    def clips(options):
        made = video.Preprocessing(32, (32,), 8, "clip")
        video.network_for(options, made, 3)

    def objects(options):
        network = detect.check_flags(options, task)
        if getattr(options, "proposals", None):
            with suppress(DataError):  # then it looks for the file
                proposals.searcher(network, options.proposals, "fast")

    checks = {"classify": classify.check_flags, "segment": segment.check_flags, "video": clips}
    value = "8" if (task, flag) == ("classify", "hidden") else VALUES[flag]
    options = OPTIONS[task]["train"](arch=arch, **{flag: value})
    try:
        checks.get(task, objects)(options)
    except UsageError as error:
        return str(error) if error.code != "image_size.unsupported" else ""
    idle = train_flags.idle_flags(options, "sgd")
    return next(
        (reason for reason, flags in idle.items() if f"--{flag.replace('_', '-')}" in flags), ""
    )


MEANT = [
    (task, arch, flag, flag in entry.flags)
    for task, archs in ARCHS.items()
    for arch, entry in archs.items()
    if task != "classify" or arch in ("resnet18", "lenet", "linear", "knn")
    for flag in sorted(entry.flags | idle_flags(task, arch))
]


@pytest.mark.parametrize(
    ("task", "arch", "flag", "meant"), MEANT, ids=["-".join(row[:3]) for row in MEANT]
)
def test_a_flag_is_complained_about_where_it_means_nothing(task, arch, flag, meant):
    found = complaint(task, arch, flag)
    assert bool(found) != meant, found


@pytest.mark.parametrize("task", ARCHS)
def test_a_flag_of_a_new_architecture_is_refused_for_the_others(task, monkeypatch):
    first, *_, last = [name for name, entry in ARCHS[task].items() if not entry.gradient_free]
    new = replace(ARCHS[task][first], flags=ARCHS[task][first].flags | {"clip_grad"})
    monkeypatch.setitem(ARCHS[task], "new", new)
    monkeypatch.setitem(VALUES, "clip_grad", 2.0)
    for arch in (first, last):
        found = complaint(task, arch, "clip_grad")
        assert found == f"--clip-grad has no effect with --arch {arch} (it belongs to new)"


def test_flags_of_architectures_are_flags_of_their_trainings():
    for task, archs in ARCHS.items():
        known = {field.name for field in fields(OPTIONS[task]["train"])}
        for arch, entry in archs.items():
            assert entry.flags <= known, arch
            assert not entry.flags & idle_flags(task, arch)
            assert set(VALUES) >= entry.flags


def test_facts_of_architectures_go_together():
    for arch, entry in DETECTORS.items():
        assert entry.fixed_anchors == (entry.needs_proposals or entry.fixed_parts), arch
        assert not entry.takes_crops or entry.needs_proposals, arch
        assert bool(entry.roi_samples) == entry.needs_proposals, arch
        assert entry.masks == (arch in ARCHS["instance"]), arch
    for arch, clips in CLIP_NETWORKS.items():
        assert clips.takes_backbone == bool(clips.listed_on), arch
        assert not clips.spreads_frames or clips.takes_backbone, arch
        assert not (clips.needs_maps and clips.inflates), arch
        assert clips.made_of_images == hasattr(resolve(clips.target), "load_images"), arch
    for arch, classifier in CLASSIFIERS.items():
        assert bool(classifier.parts) == (arch not in BACKBONES), arch
        assert not classifier.gradient_free or classifier.takes_backbone, arch


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("segment", {"deconv"}),
        ("video", {"fusion", "cell", "bidirectional", "hidden", "dropout", "backbone"}),
    ],
)
def test_flags_of_a_network_are_arguments_of_its_constructor(task, flags):
    for arch, entry in ARCHS[task].items():
        known = inspect.signature(resolve(entry.target)).parameters
        assert entry.flags & flags == flags & set(known), arch
