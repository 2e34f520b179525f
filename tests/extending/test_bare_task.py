"""A task that has no published models, built-in samples or networks of torchvision."""

from dataclasses import replace

import pytest

from cvkit import published
from cvkit.arch_facts import Arch
from cvkit.catalog import ARCHS
from cvkit.commands import evaluate, show
from cvkit.data.synthetic.cache import cached_samples
from cvkit.errors import ModelFileError, UsageError
from cvkit.models.listing import list_archs
from cvkit.models.published import published_model
from cvkit.options.sentences import RUN_HELP, weights_flag
from cvkit.options.tools import Samples, WeightsImport
from cvkit.options.tree import OPTIONS
from cvkit.scoring.contract import Scored
from cvkit.structures import ClassList
from cvkit.tasks.torchvision_import import imported_model
from cvkit.tasks.trained import read_trained


def test_it_has_no_published_models():
    assert published.families("bare") == []
    assert published_model("bare", "coco", offline=True, say=print) is None
    assert weights_flag("bare").help == RUN_HELP
    with pytest.raises(ModelFileError) as found:
        read_trained("missing", OPTIONS["segment"]["eval"](), "bare")
    assert found.value.code == "model.missing"
    assert "published" not in str(found.value.hint)


def test_its_architectures_are_listed_without_sizes(monkeypatch):
    row = Arch(target="nowhere:Net", about="a net")
    monkeypatch.setitem(ARCHS, "bare", {"net": row, "other": replace(row, about="another")})
    assert [(found["arch"], found["about"], found["gmacs"]) for found in list_archs(["bare"])] == [
        ("net", "a net", None),
        ("other", "another", None),
    ]


def test_samples_of_it_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no built-in samples for bare"):
        cached_samples("bare")
    folder = tmp_path / "data"
    with pytest.raises(UsageError, match="no built-in samples for bare"):
        show.samples(Samples(folder=folder, task="bare"))
    assert not folder.exists()


def test_nothing_is_imported_for_it(tmp_path):
    options = WeightsImport(file=tmp_path / "a.pth", out=tmp_path / "a.safetensors", task="bare")
    with pytest.raises(UsageError, match="--task bare: torchvision has no networks for it"):
        imported_model(options)


def test_intervals_of_a_metric_without_counts_are_refused(tmp_path):
    scored = Scored(object(), ClassList(("a",), (0,), ((0, 0, 0),)), [("x.jpg", 0.5)], [])
    options = OPTIONS["segment"]["eval"]
    with pytest.raises(UsageError, match="--bootstrap is not available"):
        evaluate._intervals(scored, options(bootstrap=10), None)
    assert evaluate._intervals(scored, options(), tmp_path) == {}
    assert not [*tmp_path.iterdir()]
