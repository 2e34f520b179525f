"""What the tests of effects share."""

import effect_parts
import pytest
from networks import TOY

from cvkit import catalog


@pytest.fixture(scope="module", autouse=True)
def toy_backbone():
    """A backbone that is built in a millisecond, for this folder's tests only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalog.BACKBONES, "toy", TOY)
        yield


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """Return the data, models and files of a task."""
    root, made = tmp_path_factory.mktemp("effects"), {}
    return lambda task: effect_parts.Places(task, root, made)
