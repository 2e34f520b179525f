"""The models that come with cvkit say of the samples what they said when they were made."""

import json

import numpy as np
import pytest
from make import FILE, TASKS, predictions

KEPT = json.loads(FILE.read_text())
TOLERANCES = {"scores": 0.02, "confidence": 0.002, "boxes": 0.1, "centres_yx": 0.1}
"""Of scores: their logarithms, which say more of a model that is sure; in pixels: the rest."""


def compare(field, found, wanted):
    if field in ("pixels", "areas"):  # a pixel on an edge may fall either way
        np.testing.assert_allclose(found, wanted, atol=4, rtol=0.002)
    elif field == "labels":
        assert found == wanted
    elif field == "centres_yx":
        assert [each is None for each in found] == [each is None for each in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one is None or np.allclose(one, other, atol=TOLERANCES[field])
    else:
        if field == "scores":
            found, wanted = (np.log(np.maximum(values, 1e-12)) for values in (found, wanted))
        np.testing.assert_allclose(found, wanted, atol=TOLERANCES[field], rtol=0)


@pytest.mark.parametrize("name", TASKS)
def test_predictions_are_those_that_were_kept(name):
    found = predictions(name)
    assert found.keys() == KEPT[name].keys() and len(found) >= 4
    for key, values in found.items():
        assert values.keys() == KEPT[name][key].keys()
        for field, numbers in values.items():
            compare(field, numbers, KEPT[name][key][field])


def test_every_model_is_shown_something_to_find():
    for name in ("boxes", "masks"):
        assert sum(len(values["labels"]) for values in KEPT[name].values()) >= 4
    assert any(any(values["pixels"][1:]) for values in KEPT["scenes"].values())
    for name in ("shapes", "motions"):
        best = {int(np.argmax(values["scores"])) for values in KEPT[name].values()}
        assert len(best) >= 3
