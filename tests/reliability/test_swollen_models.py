"""Model files that unpack to, or claim, more than they hold are refused before that happens."""

import os
import tracemalloc

import hostile_models
import pytest
import torch

from cvkit.errors import ModelFileError
from cvkit.models.state_files import MOST_TENSORS, read_state_dict, read_state_file

SIZE = 2**26
READ = ("nested.pth", "twice.safetensors")
"""Files that are only odd; they must be read in the same time and memory."""


@pytest.fixture(scope="module")
def swollen(tmp_path_factory):
    return hostile_models.swollen_files(tmp_path_factory.mktemp("swollen"), SIZE)


def test_a_file_that_swells_is_refused(swollen):
    assert len(swollen) >= 25
    for path in swollen:
        tracemalloc.start()
        try:
            read_state_file(path)
            assert path.name in READ, path.name
        except ModelFileError as error:
            assert path.name not in READ and error.exit_code == 2, path.name
            assert str(path) in str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 2**25, (path.name, peak)


def test_tensors_that_share_numbers_are_read(tmp_path):
    """Tied weights are saved once, and views of one another."""
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": whole, "b": whole, "c": whole[1:], "d": whole.T}, tmp_path / "a.pth")
    found = read_state_dict(tmp_path / "a.pth")
    assert found.keys() == {"a", "b", "c", "d"}
    assert torch.equal(found["d"], whole.T)


@pytest.mark.parametrize("legacy", [False, True])
def test_as_many_tensors_as_networks_have_are_read(tmp_path, legacy):
    path = tmp_path / "a.pth"
    values = {f"layers.{number}.weight": torch.ones(2) for number in range(2000)}
    torch.save(values, path, _use_new_zipfile_serialization=not legacy)
    assert len(read_state_dict(path)) == 2000 < MOST_TENSORS


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_a_pipe_is_not_opened(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    with pytest.raises(ModelFileError, match="is not a regular file"):
        read_state_file(path)
    (tmp_path / f"b{suffix}").symlink_to("/dev/zero")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        read_state_file(tmp_path / f"b{suffix}")
