"""What `cvkit.load` refuses: it says what and why, before it reads the model."""

from pathlib import Path

import numpy as np
import pytest

import cvkit
from cvkit.catalog import TASKS
from cvkit.config import _checked
from cvkit.errors import UsageError
from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS

MODELS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}


@pytest.mark.parametrize("task", TASKS)
def test_every_option_is_checked_as_its_flag_is(task):
    options_class = OPTIONS[task]["predict"]
    known = hints(options_class)
    refused = 0
    for name in known.keys() & cvkit.OF_FILES:
        with pytest.raises(UsageError, match=f"^cvkit.load: {name} is for the command line"):
            cvkit.load(MODELS[task], **{name: 1})
    checked = known.keys() - {"config", "weights", *cvkit.OF_FILES}
    for name in checked:
        for value in (object(), -3, "nonsense", 1.5):
            try:
                _checked(known[name], value, "")
            except UsageError:
                refused += 1
                with pytest.raises(UsageError, match=f"^cvkit.load: {name}: .* is not "):
                    cvkit.load(MODELS[task], **{name: value})
    assert refused > 2 * len(checked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": "shapes", "batch_size": 0}, "cvkit.load: batch_size: 0 is not at least 1"),
        ({"weights": "shapes", "batchsize": 2}, "did you mean batch_size?"),
        ({"weights": "shapes", "config": "x.yaml"}, "unknown key 'config'"),
        ({"weights": "shapes", "task": "clasify"}, "did you mean classify?"),
        ({"weights": "shapes", "task": 3}, "task=3 is not a task"),
        ({"weights": None}, "weights=None is neither a model name nor a path"),
        ({"weights": ""}, "weights='' is neither a model name nor a path"),
        ({"weights": 5}, "weights=5 is neither a model name nor a path"),
    ],
)
def test_a_wrong_argument_is_named(arguments, words):
    with pytest.raises(UsageError) as caught:
        cvkit.load(**arguments)
    assert words in str(caught.value)


def test_paths_and_names_are_taken():
    file = Path(__file__).parents[1] / "weights" / "shapes.safetensors"
    model = cvkit.load(file, batch_size=2, device=Path("cpu"))
    assert len(model.classes) == 6


def test_features_are_asked_for_without_the_name_of_a_file():
    model = cvkit.load("shapes", device="cpu", embeddings=True)
    result = model.predict(np.zeros((64, 64, 3), np.uint8))
    assert result.features.ndim == 1 and not Path("embeddings.npz").exists()
