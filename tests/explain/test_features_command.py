"""`cvkit features` end to end: files, layers, labels, neighbours, failures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from questions import MODELS, loaded, scene

from cvkit.data.synthetic.samples import write_classification, write_segmentation, write_videos
from cvkit.engine.loader import stack
from cvkit.errors import UsageError
from cvkit.explain.encoding import choose_maps, choose_output, outputs_of, rows_of
from cvkit.explain.layers import hooked
from cvkit.options.features import parse_maps
from cvkit.tasks.explainable import Seen
from cvkit.tasks.explained import explainable_of

WRITERS = {"classify": write_classification, "video": write_videos}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of inputs of a task."""
    made = {}

    def get(task):
        write = WRITERS.get(task, write_segmentation)
        if write not in made:
            made[write] = tmp_path_factory.mktemp(f"features-{task}")
            write(made[write], {"train": 6, "val": 6}, 7, (32, 32))
        return made[write]

    return get


def inputs(folder, count=6):
    """Return some files, in turns of the classes."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".mp4"))
    return [p for p in files if "masks" not in p.parts][:count]


def lines(out, name="features.jsonl"):
    return [json.loads(text) for text in (out / name).open()]


def batch_of(task, count=1):
    """Return a batch of scenes."""
    source = loaded(task).task.source([scene(task, n)[0] for n in range(count)])
    return stack([source.read(n) for n in range(count)])[0]


def encoded(task, batch, name):
    """Return the rows of a layer for a batch."""
    model, kept = loaded(task).model, []
    explained = explainable_of(loaded(task).task, model)
    with (
        torch.inference_mode(),
        hooked(
            model, {name: model.get_submodule(name)}, lambda _, out: kept.append(out.clone()) or out
        ),
    ):
        seen = explained.encode(batch)
    return rows_of(kept[-1], len(batch), seen)


def layers(task):
    model = loaded(task).model
    explained = explainable_of(loaded(task).task, model)
    outputs = outputs_of(model, explained, batch_of(task))
    return outputs, choose_output(model, explained, outputs, None)


def own_rows(task, batch):
    """Return the rows of the default layer, by calling the parts of the network."""
    model, made = loaded(task).model, loaded(task).task.preprocessing
    if task in ("detect", "instance"):
        padded = model.transform(list(batch.images))
        last = model.backbone.body(padded.images)[-1]
        (height, width), whole = padded.sizes_hw[0], padded.images.shape[-2:]
        high = round(last.shape[2] * height / whole[0])
        wide = round(last.shape[3] * width / whole[1])
        return last[:, :, :high, :wide].mean((2, 3))
    pixels = batch.images if task != "video" else batch.images[:, :, batch.images.shape[2] // 2]
    shape = [1, 3] + [1] * (pixels.ndim - 2)
    mean, std = (torch.tensor(each).view(shape) for each in (made.mean, made.std))
    pixels = (pixels / 255 - mean) / std
    if task == "segment":
        return model.backbone(pixels)[-1].mean((2, 3))
    return model.embed(pixels) if task == "classify" else None


@pytest.mark.parametrize("task", MODELS)
def test_the_default_layer_is_the_backbone_or_its_coarsest_map(task):
    _, chosen = layers(task)
    batch = batch_of(task, 3)
    rows = encoded(task, batch, chosen.name)
    assert rows.shape == (3, chosen.width)
    with torch.inference_mode():
        wanted = own_rows(task, batch)
    if wanted is not None:
        assert torch.allclose(rows, wanted, atol=1e-5)
    else:  # what the last layer scores is the mean over all places and frames
        head = next(
            m for m in reversed(list(loaded(task).model.modules())) if hasattr(m, "in_features")
        )
        seen = []
        handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        encoded(task, batch, chosen.name)
        handle.remove()
        assert torch.allclose(rows, seen[0].reshape(3, -1, rows.shape[1]).mean(1), atol=1e-5)


@pytest.mark.parametrize("task", MODELS)
def test_every_layer_gives_a_sample_the_same_row_alone_and_in_a_batch(task):
    outputs, _ = layers(task)
    assert len(outputs) > 5
    for output in outputs[:: max(1, len(outputs) // 4)]:
        together = encoded(task, batch_of(task, 2), output.name)
        for number in range(2):
            source = loaded(task).task.source([scene(task, number)[0]])
            alone = encoded(task, stack([source.read(0)])[0], output.name)
            assert torch.allclose(alone[0], together[number], atol=1e-4), output.name


def test_rows_are_means_over_places_frames_and_groups():
    seen = Seen((2, 8, 8))
    maps = torch.arange(2 * 2 * 3 * 16.0).view(4, 3, 4, 4)  # two clips of two frames
    assert torch.equal(rows_of(maps, 2, seen), maps.view(2, 2, 3, 16).mean((1, 3)))
    video = torch.randn(2, 3, 2, 4, 4)
    assert torch.allclose(rows_of(video, 2, seen), video.mean((2, 3, 4)))
    assert torch.allclose(
        rows_of(maps[..., :1, :1], 2, seen), maps[..., 0, 0].view(2, 2, 3).mean(1)
    )
    tokens = torch.randn(2, 17, 5)  # the first one belongs to no place
    assert torch.allclose(rows_of(tokens, 2, Seen((1, 8, 8))), tokens[:, 1:].mean(1))
    assert rows_of(torch.randn(3, 5, 2), 2, seen) is None
    assert rows_of(torch.ones(2, 3, dtype=torch.long), 2, seen) is None
    padded = torch.randn(1, 3, 4, 4)
    cut = rows_of(padded, 1, Seen((1, 8, 8), (0.5, 0.75)))
    assert torch.allclose(cut, padded[:, :, :2, :3].mean((2, 3)))


def test_a_wrong_layer_names_the_nearest_or_all():
    outputs, chosen = layers("segment")
    model = loaded("segment").model
    explained = explainable_of(loaded("segment").task, model)
    assert choose_output(model, explained, outputs, chosen.name) == chosen
    for choose in (
        lambda name: choose_output(model, explained, outputs, name),
        lambda name: choose_maps(outputs, name),
    ):
        with pytest.raises(UsageError, match=f"did you mean {chosen.name}") as found:
            choose(chosen.name + "0")
        assert found.value.code == "layer.unknown"
    with pytest.raises(UsageError, match=r"known: .*" + chosen.name):
        choose_output(model, explained, outputs, "zzzzzzzz")


@pytest.mark.parametrize("task", MODELS)
def test_every_task_writes_rows_lines_maps_and_a_page(cvkit, data, tmp_path, task):
    out, files = tmp_path / "out", inputs(data(task), 5)
    (tmp_path / f"copy{files[0].suffix}").write_bytes(files[0].read_bytes())
    files.append(tmp_path / f"copy{files[0].suffix}")
    done = cvkit(
        *("features", *files, "--weights", MODELS[task], "--out", out, "--maps", "pca"),
        *("--queries", files[0], "--neighbors", 2, "--clusters", 2, "--duplicates", 0.9999),
        *("--workers", 0, "--json"),
    )
    assert done.code == 0, done.err
    stored = np.load(out / "features.npz")
    assert stored["features"].dtype == np.float32
    assert stored["features"].shape == (6, done.json["width"])
    found = lines(out)
    assert [line["path"] for line in found] == stored["paths"].tolist()
    assert [line["row"] for line in found] == list(range(6))
    assert {line["cluster"] for line in found} == {1, 2}
    assert all(0 <= value <= 1 for line in found for value in line["pca"])
    (near,) = lines(out, "neighbours.jsonl")
    cosines = stored["features"] / np.linalg.norm(stored["features"], axis=1, keepdims=True)
    query = next(line["row"] for line in found if line["path"].endswith(files[0].name))
    cosines = cosines @ cosines[query]
    order = [n for n in np.argsort(-cosines, kind="stable") if n != query][:2]
    assert found[order[0]]["path"].endswith(files[-1].name)
    assert near["neighbours"] == [found[n]["path"] for n in order]
    assert near["cosines"] == pytest.approx(cosines[order].tolist(), abs=1e-5)
    assert near["name"] == files[0].stem or near["name"] == files[0].name
    groups = {number for line in found if (number := line.get("duplicates"))}
    for name in (f"neighbours/{near['name']}.png", "map-pca.png", "duplicates.png"):
        with Image.open(out / name) as picture:
            assert picture.height > 300
    listed = lines(out, "duplicates.jsonl")
    assert len(listed) == done.json["duplicates"]["groups"] == len(groups)
    pair = {found[query]["path"], found[order[0]]["path"]}
    assert any(pair <= {*each["paths"]} for each in listed)
    assert lines(out, "failures.jsonl") == []
    page = (out / "features.html").read_text()
    assert page.count("<img ") == 1 + 3 + sum(min(4, len(group["paths"])) for group in listed)
    assert "http://" not in page and "https://" not in page
    content = json.loads((out / "features.json").read_text())
    assert content["counts"] == {"read": 6, "failed": 0, "labelled": 0, "queries": 1}
    assert content["layer"] == layers(task)[1].name


def test_the_features_are_those_of_classify_predict(cvkit, data, tmp_path):
    files = inputs(data("classify"))
    flags = ("--weights", "shapes", "--workers", 0)
    done = cvkit(
        *("classify", "predict", *files, *flags, "--embeddings", tmp_path / "f.npz"),
        *("--out", tmp_path / "p"),
    )
    assert done.code == 0, done.err
    done = cvkit("features", *files, *flags, "--maps", "none", "--out", tmp_path / "f")
    assert done.code == 0, done.err
    one, two = np.load(tmp_path / "f.npz"), np.load(tmp_path / "f" / "features.npz")
    assert one.files == two.files
    for name in one.files:
        assert np.array_equal(one[name], two[name]), name


@pytest.mark.parametrize("task", ["classify", "video"])
def test_clusters_and_neighbours_are_compared_with_classes(cvkit, data, tmp_path, task):
    root, out = data(task), tmp_path / "out"
    done = cvkit(
        *("features", root, "--weights", MODELS[task], "--truth", root, "--maps", "none"),
        *("--out", out, "--json", "--workers", 0),
    )
    assert done.code == 0, done.err
    found = lines(out)
    assert all(line["label"] in line["path"].split("/") for line in found)
    names = [line["label"] for line in found]
    assert done.json["clusters"] == len({*names})
    rows = np.load(out / "features.npz")["features"]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -2)
    near = np.mean([names[n] == name for n, name in zip(cosines.argmax(1), names, strict=True)])
    metrics = done.json["metrics"]
    assert metrics["neighbour_accuracy"] == pytest.approx(near)
    assert 0 < metrics["normalised_mutual_information"] <= 1
    assert 1 / len({*names}) <= metrics["clustering_accuracy"] <= 1
    assert done.json["rules"].keys() == metrics.keys()


def test_unreadable_inputs_and_queries_fail_alone(cvkit, data, tmp_path):
    good = inputs(data("classify"), 5)
    bad, worse = tmp_path / "bad.png", tmp_path / "worse.png"
    for path in (bad, worse):
        path.write_bytes(good[0].read_bytes()[:200])
    flags = ("--weights", "shapes", "--workers", 0)
    done = cvkit(
        *("features", bad, *good, *flags, "--queries", worse, "--out", tmp_path / "one", "--json")
    )
    assert done.code == 3
    assert done.json["counts"] == {"read": 5, "failed": 2, "labelled": 0, "queries": 0}
    failed = [line["path"] for line in lines(tmp_path / "one", "failures.jsonl")]
    assert [path.rpartition("/")[2] for path in failed] == ["bad.png", "worse.png"]
    assert len(np.load(tmp_path / "one" / "features.npz")["features"]) == 5
    assert "bad.png" in (tmp_path / "one" / "features.html").read_text()
    done = cvkit("features", bad, *flags, "--out", tmp_path / "two", "--json")
    assert (done.code, done.json["counts"]["failed"], done.json["layer"]) == (3, 1, None)
    assert len(np.load(tmp_path / "two" / "features.npz")["paths"]) == 0


def test_too_few_inputs_have_no_map_and_say_so(cvkit, data, tmp_path):
    done = cvkit(
        *("features", *inputs(data("classify"), 3), "--weights", "shapes", "--workers", 0),
        *("--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    assert "no map: there are only 3 inputs" in done.err
    assert not (tmp_path / "out" / "map-tsne.png").exists()


def test_replaced_results_leave_nothing_of_the_earlier_ones(cvkit, data, tmp_path):
    files, out = inputs(data("classify"), 5), tmp_path / "out"
    flags = ("--weights", "shapes", "--workers", 0, "--out", out, "--clusters", 2)
    first = ("--queries", files[0], "--duplicates", 0.5, "--maps", "pca,tsne")
    assert cvkit("features", *files, *flags, *first).code == 0
    (out / "mine.txt").write_text("mine")
    assert {"neighbours", "duplicates.png", "map-tsne.png"} <= {p.name for p in out.iterdir()}
    assert cvkit("features", *files, *flags, "--maps", "pca").code == 2
    assert cvkit("features", *files, *flags, "--maps", "pca", "--overwrite").code == 0
    left = {path.name for path in out.iterdir()} - {".cvkit.lock"}
    wanted = {"features.npz", "features.jsonl", "features.json", "features.html", "failures.jsonl"}
    assert left == wanted | {"map-pca.png", "mine.txt"}


def test_a_page_of_frames_and_an_own_file_are_one_query(cvkit, data, tmp_path):
    clip = inputs(data("video"), 1)[0]
    done = cvkit(
        *("features", clip, "--weights", "shapes", "--queries", f"{clip}#3", "--maps", "none"),
        *("--neighbors", 30, "--workers", 0, "--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    (near,) = lines(tmp_path / "out", "neighbours.jsonl")
    assert len(near["neighbours"]) == len(lines(tmp_path / "out")) - 1
    assert not any(path.endswith("#3") for path in near["neighbours"])


def test_umap_without_its_package_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr("cvkit.options.features.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package umap-learn") as found:
        parse_maps("tsne,umap")
    assert (found.value.code, found.value.hint) == ("maps.missing", "pip install 'cvkit[features]'")


def test_a_network_without_maps_and_rows_is_refused():
    model = loaded("classify").model
    explained = explainable_of(loaded("classify").task, model)
    for name in (None, "x"):
        with pytest.raises(UsageError, match="has no layer"):
            choose_output(model, explained, [], name)
