"""Model files: nothing in them changes without being noticed, and they are never code."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save, save_file

from cvkit import catalog
from cvkit.engine.checkpoint import save_model, save_state
from cvkit.errors import ModelFileError
from cvkit.model_files import content_hash, read_header, read_model, unverified
from cvkit.models.state_files import read_state_dict
from cvkit.models.weights import load_pretrained

TENSORS = {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}
HEADER = {
    "task": "segment",
    "network": {"arch": "fcn"},
    "classes": [{"id": 1, "name": "cat", "color": [1, 2, 3]}],
    "preprocessing": {"mean": [0.5, 0.25, 0.125]},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, TENSORS, HEADER)
    return path


@pytest.fixture
def earlier(tmp_path):
    """A file as earlier versions wrote it."""
    path = tmp_path / "earlier.safetensors"
    header = {"format_version": 1, **HEADER, "sha256": content_hash(TENSORS)}
    path.write_bytes(save(TENSORS, {"cvkit": json.dumps(header)}))
    return path


def test_a_model_file_holds_tensors_and_header(path):
    found, header = read_model(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert HEADER.items() <= header.items()
    assert read_header(path) == header
    assert not unverified(path)


def test_the_same_model_is_the_same_file(path, tmp_path):
    again = tmp_path / "again.safetensors"
    save_model(again, *read_model(path))
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x20, 0x80])
def test_every_flipped_byte_of_a_model_is_an_error(path, mask):
    content = path.read_bytes()
    assert b"cat" in content
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= mask
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError):
            read_model(path)
            pytest.fail(f"byte {position} of {flipped!r}")


def test_verify_refuses_whatever_byte_is_changed(cvkit, path):
    content = path.read_bytes()
    assert cvkit("weights", "verify", path).code == 0
    words = (b"cat", b"0.25", b"segment", b"sha256", b"F32", b"data_offsets", b"color", b"__meta")
    for position in [*map(content.index, words), 0, len(content) - 1]:
        flipped = bytearray(content)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        done = cvkit("weights", "verify", path)
        assert done.code == 2
        assert str(path) in done.err and len(done.err.splitlines()) == 1


def test_truncated_and_prolonged_models_are_errors(path):
    content = path.read_bytes()
    for damaged in (*(content[:n] for n in range(len(content))), content + b"\0", content + b" x"):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            read_model(path)


def test_what_is_told_apart_by_its_version_only_is_not_taken_for_the_other(path, earlier):
    for file, then, now in ((path, b"2", b"1"), (earlier, b"1", b"2")):
        mark = b'format_version\\": '
        assert mark + then in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(mark + then, mark + now))
        with pytest.raises(ModelFileError, match="hash"):
            read_model(file)


def test_a_backbone_is_not_taken_from_a_damaged_model(path):
    assert read_state_dict(path).keys() == TENSORS.keys()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="hash"):
        read_state_dict(path)


def test_an_earlier_model_is_told_and_can_be_sealed(cvkit, earlier, tmp_path):
    tensors, _ = read_model(earlier)
    assert "covers the tensors" in unverified(earlier)
    refused = cvkit("weights", "verify", earlier)
    assert refused.code == 2
    assert "weights import" in refused.err
    new = tmp_path / "new.safetensors"
    idle = cvkit("weights", "import", earlier, "--out", new, "--arch", "resnet50")
    assert idle.code == 2
    assert "--arch has no effect" in idle.err
    assert cvkit("weights", "import", earlier, "--out", new, "--json").code == 0
    assert cvkit("weights", "verify", new).code == 0
    found, sealed = read_model(new)
    assert content_hash(found) == content_hash(tensors)
    own = ("sha256", "format_version")
    assert {k: v for k, v in sealed.items() if k not in own} == HEADER
    earlier.write_bytes(earlier.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelFileError, match="its tensors do not match"):
        read_model(earlier)


@pytest.fixture
def as_earlier(tmp_path):
    """Turn a model into one of an earlier version."""

    def turn(path):
        tensors, header = read_model(path)
        header |= {"format_version": 1, "sha256": content_hash(tensors)}
        path.write_bytes(save(tensors, {"cvkit": json.dumps(header)}))

    return turn


def test_every_use_of_an_earlier_model_says_what_is_not_verified(
    cvkit, run_of, data_of, flags_of, as_earlier, tmp_path
):
    run = tmp_path / "runs" / "run"
    shutil.copytree(run_of("classify"), run)
    for file in run.glob("*.safetensors"):
        as_earlier(file)
    data = ("--data", data_of("classify"))
    image = next(data_of("classify").rglob("*.png"))
    new = (*flags_of("classify", epochs=1), *data, "--out", tmp_path / "new")
    for words in (
        ("eval", "--weights", run, *data, "--no-files"),
        ("predict", image, "--weights", run, "--out", tmp_path / "out"),
        ("train", "--weights", run, *new),
        ("train", "--resume", run, "--epochs", "3"),
    ):
        done = cvkit("classify", *words)
        assert done.code == 0, done.err
        assert "covers the tensors but not the classes" in done.err, words


def test_a_backbone_of_an_earlier_model_says_what_is_not_verified(as_earlier, tmp_path):
    entry = catalog.BACKBONES["mobilenet_v3_small"]
    net = catalog.resolve(entry.target)(entry.builder)
    path = tmp_path / "m.safetensors"
    tensors = {f"backbone.{name}": value for name, value in net.state_dict().items()}
    save_model(path, tensors, HEADER)
    said = []
    load_pretrained(net, "mobilenet_v3_small", str(path), offline=True, say=said.append)
    assert not said
    as_earlier(path)
    load_pretrained(net, "mobilenet_v3_small", str(path), offline=True, say=said.append)
    assert "covers the tensors but not the classes" in said[0]


def test_verify_names_what_cannot_be_used(cvkit, tmp_path, path):
    for name in ("empty.safetensors", "empty.pth", "empty-0123abcd.pth"):
        (tmp_path / name).touch()
    (tmp_path / "nothing").mkdir()
    for name, words in {
        "empty.safetensors": "too short",
        "empty.pth": "does not end in a hash",
        "empty-0123abcd.pth": "SHA-256",
        "missing.safetensors": "No such file",
        "missing.pth": "does not exist",
        "nothing": "contains no model",
    }.items():
        done = cvkit("weights", "verify", tmp_path / name)
        assert done.code == 2
        assert words in done.err and str(tmp_path / name) in done.err
        assert len(done.err.splitlines()) == 1


def test_verify_looks_into_a_run_folder_and_its_resume_states(cvkit, tmp_path, path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(path, run / "best.safetensors")
    for step in (1, 2):
        save_state(run, step, {"model": {"w": torch.zeros(3)}}, {"data": {}})
    done = cvkit("weights", "verify", run, "--json")
    names = [file["path"].removeprefix(f"{run}/") for file in done.json["files"]]
    assert names == ["best.safetensors", "ckpt/step-0000000002", "ckpt/step-0000000001"]
    (run / "ckpt" / "step-0000000001" / "state.json").write_text("{}")
    done = cvkit("weights", "verify", run)
    assert done.code == 2
    assert "step-0000000001 is damaged: state.json" in done.err
    assert done.out.count("intact") == 2


def test_hostile_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    huge = (2**63).to_bytes(8, "little") + b"{}"
    wide = (2**30).to_bytes(8, "little") + b"{}"
    for content in (huge, wide, b"\x80\x04cos\nsystem\n(S'true'\ntR.", b"PK\x03\x04" + b"\0" * 50):
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
            read_model(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="no cvkit header"):
        read_model(path)
    with pytest.raises(ModelFileError, match="cannot read"):
        read_model(tmp_path / "missing.safetensors")
