"""The command tree: task -> verb -> options, and the commands without a task."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

from cvkit.options.attack import AttackInputs
from cvkit.options.base import Eval, Predict, Train
from cvkit.options.classify import ClassifyEval, ClassifyPredict, ClassifyTrain
from cvkit.options.data import DataCheck
from cvkit.options.data_convert import DataConvert
from cvkit.options.data_views import DataShow, DataSplit, DataStats
from cvkit.options.detect import DetectEval, DetectPredict, DetectProposals, DetectTrain
from cvkit.options.dream import Dream
from cvkit.options.explain import Explain
from cvkit.options.export import Export
from cvkit.options.features import Features
from cvkit.options.instance import InstanceEval, InstancePredict, InstanceTrain
from cvkit.options.job import Command
from cvkit.options.pretrain import Pretrain, Probe
from cvkit.options.segment import SegmentEval, SegmentPredict, SegmentTrain
from cvkit.options.tools import (
    Bench,
    Compare,
    Models,
    Samples,
    Tune,
    WeightsAverage,
    WeightsImport,
    WeightsList,
    WeightsProve,
    WeightsVerify,
)
from cvkit.options.video import VideoEval, VideoPredict, VideoTrain

OPTIONS: dict[str, type[Command] | dict[str, type[Command]]] = {
    "classify": {"train": ClassifyTrain, "eval": ClassifyEval, "predict": ClassifyPredict},
    "segment": {"train": SegmentTrain, "eval": SegmentEval, "predict": SegmentPredict},
    "detect": {
        "train": DetectTrain,
        "eval": DetectEval,
        "predict": DetectPredict,
        "proposals": DetectProposals,
    },
    "instance": {"train": InstanceTrain, "eval": InstanceEval, "predict": InstancePredict},
    "video": {"train": VideoTrain, "eval": VideoEval, "predict": VideoPredict},
    "data": {
        "check": DataCheck,
        "stats": DataStats,
        "show": DataShow,
        "split": DataSplit,
        "convert": DataConvert,
    },
    "pretrain": Pretrain,
    "probe": Probe,
    "compare": Compare,
    "tune": Tune,
    "bench": Bench,
    "explain": Explain,
    "attack": AttackInputs,
    "dream": Dream,
    "features": Features,
    "export": Export,
    "weights": {
        "list": WeightsList,
        "verify": WeightsVerify,
        "import": WeightsImport,
        "prove": WeightsProve,
        "average": WeightsAverage,
    },
    "models": Models,
    "samples": Samples,
}


def options_of(path: Sequence[str]) -> type[Command]:
    """Return the options of a command, such as `("segment", "train")` or `("tune",)`."""
    entry = OPTIONS[path[0]]
    return entry[path[1]] if isinstance(entry, dict) else entry


@overload
def task_options(task: str, verb: Literal["train"]) -> type[Train]: ...
@overload
def task_options(task: str, verb: Literal["eval"]) -> type[Eval]: ...
@overload
def task_options(task: str, verb: Literal["predict"]) -> type[Predict]: ...
def task_options(task: str, verb: str) -> Any:
    """Return the options of a verb that every task has."""
    return options_of((task, verb))


def commands() -> Iterator[tuple[tuple[str, ...], type[Command]]]:
    """Yield the path, such as `("segment", "train")`, and the options of every command."""
    for name, entry in OPTIONS.items():
        if isinstance(entry, dict):
            yield from (((name, verb), options_class) for verb, options_class in entry.items())
        else:
            yield (name,), entry


COMMANDS = dict(commands())
"""The options of each command, by its path."""

_HANDLERS = "cvkit.commands"
HANDLERS = {
    "train": f"{_HANDLERS}.train:train",
    "eval": f"{_HANDLERS}.evaluate:evaluate",
    "predict": f"{_HANDLERS}.predict:predict",
    "proposals": f"{_HANDLERS}.proposals:proposals",
    "pretrain": f"{_HANDLERS}.pretrain:pretrain",
    "probe": f"{_HANDLERS}.probe:probe",
    "compare": f"{_HANDLERS}.compare:compare",
    "tune": f"{_HANDLERS}.tune:tune",
    "bench": f"{_HANDLERS}.bench:bench",
    "explain": f"{_HANDLERS}.explain:explain",
    "attack": f"{_HANDLERS}.attack:attack",
    "dream": f"{_HANDLERS}.dream:dream",
    "features": f"{_HANDLERS}.features:features",
    "export": f"{_HANDLERS}.export:export",
    "stats": f"{_HANDLERS}.data_stats:stats",
    "split": f"{_HANDLERS}.data_split:split",
    "show": f"{_HANDLERS}.data_show:show",
    "list": f"{_HANDLERS}.weights:list_weights",
    "verify": f"{_HANDLERS}.weights:verify_weights",
    "import": f"{_HANDLERS}.weights:import_weights",
    "prove": f"{_HANDLERS}.weights:prove_weights",
    "average": f"{_HANDLERS}.weights_average:average_weights",
    "convert": f"{_HANDLERS}.data_convert:convert_data",
    "check": f"{_HANDLERS}.data_check:check_data",
    "models": f"{_HANDLERS}.show:models",
    "samples": f"{_HANDLERS}.show:samples",
}
"""The function that runs a command, by the last name of its path."""
