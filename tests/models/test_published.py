"""Models of torchvision by name: what help lists is what there is, and each can be run."""

import hashlib
import re

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import cvkit as package
from cvkit import catalog
from cvkit.data.formats.voc import VOC_CLASSES
from cvkit.data.synthetic.scenes import make_single
from cvkit.models import published, weights
from cvkit.models.convert import DETECTION, VIDEO, named_parts
from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS
from cvkit.published import PUBLISHED, families

NAMES = [(task, name) for task, models in PUBLISHED.items() for name in models]
SEGMENTERS = [name for name in PUBLISHED["segment"] if ":" in name]


def entry_of(task, name):
    model = PUBLISHED[task][name]
    return torchvision.models.get_model_weights(model.builder)[model.version]


def test_every_task_has_published_models_and_every_name_has_a_file():
    assert PUBLISHED.keys() == catalog.TASKS.keys()
    for task, name in NAMES:
        builder = PUBLISHED[task][name].builder
        assert re.fullmatch(r".+-[0-9a-f]{8,10}\.pth", entry_of(task, name).url), name
        arch, _ = named_parts(task, builder, None)
        assert arch in catalog.ARCHS[task], name


def test_the_versions_in_the_table_are_those_of_torchvision():
    for name, entry in catalog.BACKBONES.items():
        found = weights.published_versions(entry.builder)
        wanted = [f"imagenet:{version}" for version in entry.versions] if entry.builder else []
        assert found == wanted, name
        if entry.builder:
            newest = PUBLISHED["classify"][f"imagenet:{name}"]
            assert newest == PUBLISHED["classify"][f"imagenet:{name}:{entry.versions[-1]}"]


def test_every_network_that_can_be_imported_has_a_name():
    importable = {
        "classify": {entry.builder for entry in catalog.BACKBONES.values() if entry.builder},
        "segment": set(torchvision.models.list_models(torchvision.models.segmentation)),
        "detect": {b for b, (arch, _) in DETECTION.items() if arch in catalog.ARCHS["detect"]},
        "instance": {b for b, (arch, _) in DETECTION.items() if arch in catalog.ARCHS["instance"]},
        "video": set(VIDEO),
    }
    for task, models in PUBLISHED.items():
        assert {model.builder for model in models.values()} == importable[task]


def listed_names(task, text):
    """The names that a help text lists; those of classifiers are put together from its parts."""
    if task != "classify":
        return text.partition("published: ")[2].split(", ")
    networks = re.search(r"NETWORK is one of (.+), and VERSION", text)[1].split(", ")
    second = re.search(r"or v2 for (.+)$", text)[1].split(", ")
    names = [f"imagenet:{network}" for network in networks]
    names += [f"imagenet:{network}:v1" for network in networks]
    return ["imagenet", *names, *(f"imagenet:{network}:v2" for network in second)]


@pytest.mark.parametrize("verb", ["eval", "predict"])
@pytest.mark.parametrize("task", catalog.TASKS)
def test_help_lists_exactly_the_names_of_the_task(cvkit, task, verb):
    option = hints(OPTIONS[task][verb])["weights"].__metadata__[0]
    assert sorted(listed_names(task, option.help)) == sorted(PUBLISHED[task])
    page = " ".join(re.sub(r"[│\n]", " ", cvkit(task, verb, "--help").out).split())
    for name in PUBLISHED[task]:
        assert name.partition(":")[0] in page


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, without the user's own files."""
    monkeypatch.setenv("CVKIT_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_a_name_asks_for_its_file_and_nothing_else(cache):
    for task, name in NAMES:
        with pytest.raises(package.errors.ModelFileError, match="--offline") as caught:
            published.published_model(task, name, True, print)
        assert entry_of(task, name).url in caught.value.hint
        assert not list(cache.iterdir())


@pytest.mark.parametrize("task", catalog.TASKS)
def test_predict_and_eval_take_the_names(cvkit, cache, tmp_path, task):
    given = tmp_path / ("a.mp4" if task == "video" else "a.png")
    given.touch()
    name = families(task)[0]
    flags = ["--weights", name, "--offline", "--out", tmp_path / "out"]
    for arguments in (("predict", given), ("eval", "--data", tmp_path)):
        done = cvkit(task, *arguments, *flags)
        assert done.code == 2
        assert entry_of(task, name).url in done.err
        assert not (tmp_path / "out").exists()


def test_a_dataset_folder_of_the_same_name_is_no_model(cvkit, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    for task in ("classify", "segment", "detect", "instance"):
        name = families(task)[0]
        (tmp_path / name).mkdir(exist_ok=True)
        done = cvkit(task, "predict", "a.png", "--weights", name, "--offline")
        assert done.code == 2
        assert entry_of(task, name).url in done.err


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_wrong_name_is_one_line_that_says_what_there_is(cvkit, cache, tmp_path, task):
    (tmp_path / "a.png").touch()
    (tmp_path / "a.mp4").touch()
    given = tmp_path / ("a.mp4" if task == "video" else "a.png")
    family = families(task)[0]
    for name in (f"{family}:zzzz", "nothing"):
        done = cvkit(task, "predict", given, "--weights", name, "--out", tmp_path / "out")
        assert done.code == 2
        assert len(done.err.strip().splitlines()) == 1
        assert name in done.err
        assert family in done.err.replace(name, "")


@pytest.fixture
def any_hash(monkeypatch):
    """A file of a published hash cannot be made here; all but the hash is as in earnest."""
    monkeypatch.setattr(weights, "verified", lambda path: path)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(make_single(5, 1, (70, 90))[0].render().image).save(path)
    return path


def put(cache, task, name):
    """Put a network of random weights where the published one would lie."""
    torch.manual_seed(0)
    builder = PUBLISHED[task][name].builder
    more = {"weights_backbone": None} if task == "segment" else {}
    model = torchvision.models.get_model(builder, weights=None, **more)
    torch.save(model.state_dict(), cache / entry_of(task, name).url.rpartition("/")[2])
    return model.eval()


@pytest.mark.parametrize(
    "name",
    [
        "imagenet:mobilenet_v3_small",
        pytest.param("imagenet", marks=pytest.mark.slow),
        pytest.param("imagenet:resnet50:v1", marks=pytest.mark.slow),
        pytest.param("imagenet:resnet50:v2", marks=pytest.mark.slow),
    ],
)
def test_a_classifier_of_imagenet_runs_by_its_name(cvkit, cache, any_hash, picture, tmp_path, name):
    model, entry = put(cache, "classify", name), entry_of("classify", name)
    flags = ["--weights", name, "--offline", "--quiet", "--precision", "fp32"]
    done = cvkit("classify", "predict", picture, *flags, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    (found,) = package.load(name, offline=True, precision="fp32").predict([picture])
    with torch.no_grad():
        wanted = model(entry.transforms()(Image.open(picture))[None]).softmax(1)[0]
    np.testing.assert_allclose(found.scores, wanted.numpy(), atol=1e-5)
    assert len(package.load(name, offline=True).classes) == 1000


@pytest.mark.slow
def test_a_segmenter_runs_by_its_name_and_is_measured_on_data_with_its_classes(
    cvkit, cache, any_hash, picture, tmp_path
):
    name = "coco-voc:lraspp-mobilenet"
    put(cache, "segment", name)
    flags = ["--weights", name, "--offline", "--quiet"]
    done = cvkit("segment", "predict", picture, *flags, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    root = tmp_path / "data"
    for kind in ("images", "masks"):
        (root / kind / "val").mkdir(parents=True)
    (root / "images/val/a.png").write_bytes(picture.read_bytes())
    Image.fromarray(np.full((70, 90), 15, np.uint8)).save(root / "masks/val/a.png")
    (root / "classes.txt").write_text("\n".join(("background", *VOC_CLASSES)))
    done = cvkit("segment", "eval", "--data", root, *flags, "--no-files", "--json")
    assert done.code == 0, done.err
    assert done.json["counts"]["evaluated"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ("coco-voc", *SEGMENTERS))
def test_every_segmenter_can_be_loaded_by_its_name(cache, any_hash, name):
    put(cache, "segment", name)
    classes = package.load(name, offline=True, device="cpu").classes
    assert (len(classes), classes[0], classes[15]) == (21, "background", "person")


def test_a_name_of_several_tasks_needs_the_task(cache):
    with pytest.raises(package.errors.UsageError, match=r"several tasks.*detect.*instance"):
        package.load("coco", offline=True)
    with pytest.raises(package.errors.ModelFileError, match="fasterrcnn_resnet50_fpn_v2"):
        package.load("coco", task="detect", offline=True)
    with pytest.raises(package.errors.ModelFileError, match="maskrcnn_resnet50_fpn_v2"):
        package.load("coco", task="instance", offline=True)


def test_the_list_has_every_name_once_with_its_task(cvkit):
    rows = cvkit("weights", "list", "--json").json["published"]
    listed = [(row["task"], name) for row in rows for name in row["weights"]]
    assert sorted(listed) == sorted(NAMES)
    assert len({row["url"] for row in rows}) == len(rows)
    shown = cvkit("weights", "list").out
    for _, name in NAMES:
        assert re.search(rf"{name}\s", shown), "names are not cut off"


def test_a_file_is_recognised_by_its_hash_whatever_its_name(tmp_path, monkeypatch):
    path = tmp_path / "renamed.pth"
    path.write_bytes(b"these are the weights")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    entry = torchvision.models.get_model_weights("googlenet").DEFAULT
    assert published.recognised(path, ["googlenet"]) is None
    monkeypatch.setattr(published, "_hash_prefix", lambda _: digest)
    assert published.recognised(path, ["googlenet"]) == ("googlenet", entry)
