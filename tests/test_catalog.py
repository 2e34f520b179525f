"""What the tables offer, and that it can be used."""

from typing import Literal, get_args, get_origin

import pytest

from cvkit.catalog import ARCHS, BACKBONES, TASKS, backbones_of
from cvkit.options.base import hints
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
