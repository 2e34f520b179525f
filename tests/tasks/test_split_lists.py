"""Files of splits: what train and eval take from them, and when they are refused."""

import json
import shutil

import pytest

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import CvkitError, CvkitWarning
from cvkit.options.tree import task_options

TASKS = tuple(catalog.TASKS)
SMALL = {
    "classify": {"arch": "lenet", "image_size": "32"},
    "segment": {"arch": "fcn-32s"},
    "detect": {},
    "instance": {},
    "video": {"arch": "r3d-small", "frames": 4},
}


@pytest.fixture(scope="module")
def scenes_of(tmp_path_factory):
    """Return a dataset of a task; the same one each time."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("lists") / task
            WRITERS[task](made[task], {"train": 8, "val": 8}, 3, (32, 32))
        return made[task]

    return get


@pytest.fixture
def lists_of(cvkit, tmp_path):
    """Return the file that divides a dataset."""

    def make(task, folder, *flags):
        out = tmp_path / f"{task}-{len(list(tmp_path.iterdir()))}.json"
        done = cvkit("data", "split", folder, "--task", task, "--out", out, *flags, "--json")
        assert done.code == 0, done.err
        return out

    return make


def trained(task, folder, **flags):
    options = task_options(task, "train")(data=str(folder), **SMALL[task] | flags)
    kind = catalog.resolve(catalog.TASKS[task])
    return kind.for_training(options, Reporter(quiet=True)), options


def keys(made, split):
    data = made.dataset(split, training=False)
    return {data.key(index) for index in range(len(data))}


def measured(task, made, options, folder, **flags):
    """The samples that an evaluation of the model measures."""
    asked = task_options(task, "eval")(data=str(folder), weights="w", **flags)
    model = type(made).for_model(asked, made.header(options))
    return keys(model.with_data(asked, made.header(options), Reporter()), asked.split)


@pytest.mark.parametrize("task", TASKS)
def test_train_and_eval_use_the_samples_that_the_file_lists(scenes_of, lists_of, task):
    folder = scenes_of(task)
    lists = lists_of(task, folder, "--val-fraction", 0.3, "--test-fraction", 0.3)
    wanted = {name: set(found) for name, found in json.loads(lists.read_text())["splits"].items()}
    assert sum(map(len, wanted.values())) == len(set().union(*wanted.values())) == 16
    made, options = trained(task, folder, splits=lists)
    assert keys(made, "train") == wanted["train"]
    assert keys(made, "val") == wanted["val"]
    for split in ("train", "val", "test"):
        found = measured(task, made, options, folder, splits=lists, split=split)
        assert found == wanted[split]


@pytest.mark.parametrize("task", TASKS)
def test_every_sample_is_validated_in_exactly_one_fold(scenes_of, lists_of, task):
    folder = scenes_of(task)
    lists = lists_of(task, folder, "--folds", 3)
    seen = []
    for fold in ("1/3", "2/3", "3/3"):
        made, options = trained(task, folder, splits=lists, fold=fold)
        train, val = keys(made, "train"), keys(made, "val")
        assert not train & val
        assert len(train | val) == 16
        seen += sorted(val)
        for split, wanted in (("train", train), ("val", val)):
            found = measured(task, made, options, folder, splits=lists, fold=fold, split=split)
            assert found == wanted
    assert len(seen) == len(set(seen)) == 16


@pytest.mark.parametrize("task", TASKS)
def test_a_model_of_listed_splits_says_so_and_eval_warns_without_them(scenes_of, lists_of, task):
    folder = scenes_of(task)
    lists = lists_of(task, folder)
    made, options = trained(task, folder, splits=lists)
    kept = made.header(options)["labels"]
    assert (kept["splits"], kept["fold"], len(kept["splits_sha256"])) == (lists.name, None, 64)
    with pytest.warns(CvkitWarning, match="may contain training samples"):
        measured(task, made, options, folder)


@pytest.mark.parametrize("task", TASKS)
def test_lost_and_changed_samples_are_refused_by_name_and_new_ones_are_told(
    scenes_of, lists_of, task, tmp_path
):
    folder = tmp_path / "copy"
    shutil.copytree(scenes_of(task), folder)
    lists = lists_of(task, folder, "--split", "train")
    with pytest.raises(CvkitError) as refused:
        path, content = next(iter(lists.parent.glob(lists.name))), json.loads(lists.read_text())
        first = next(iter(content["splits"]["train"]))
        content["splits"]["train"][first] = "0" * 64
        path.write_text(json.dumps(content))
        trained(task, folder, splits=lists)
    assert refused.value.code == "splits.changed"
    assert first in str(refused.value)
    content["splits"]["train"] |= {"gone.png": "0" * 64}
    lists.write_text(json.dumps(content))
    with pytest.raises(CvkitError, match=r"gone\.png") as refused:
        trained(task, folder, splits=lists)
    assert refused.value.code == "splits.missing"


@pytest.mark.parametrize("task", TASKS)
def test_samples_that_the_file_does_not_list_are_told_and_not_used(scenes_of, lists_of, task):
    folder = scenes_of(task)
    lists = lists_of(task, folder, "--split", "train")
    report = Reporter(quiet=True)
    options = task_options(task, "train")(data=str(folder), splits=lists, **SMALL[task])
    made = catalog.resolve(catalog.TASKS[task]).for_training(options, report)
    assert len(keys(made, "train") | keys(made, "val")) == 8
    assert any("does not list 8 samples" in line for line in report.warned)


REFUSED = [
    ({"splits": {"kind": "x"}}, "splits.kind"),
    ({"splits": {"kind": "cvkit splits", "version": 2}}, "splits.version"),
    ({"splits": {"kind": "cvkit splits", "version": 1, "splits": {}}}, "splits.malformed"),
    (
        {"splits": {"kind": "cvkit splits", "version": 1, "splits": {"a": ["x"]}}},
        "splits.malformed",
    ),
    (
        {
            "splits": {
                "kind": "cvkit splits",
                "version": 1,
                "splits": {"a": {"x": ""}, "b": {"x": ""}},
            }
        },
        "splits.twice",
    ),
    ({"splits": "good", "val_fraction": 0.3}, "val_fraction.idle"),
    ({"splits": "good", "fold": "1/2"}, "fold.count"),
    ({"splits": "good", "train_split": "trian"}, "split.missing"),
    ({"splits": "folds"}, "split.missing"),
    ({"splits": "folds", "fold": "4/3"}, "fold.syntax"),
    ({"splits": "folds", "fold": "0/3"}, "fold.syntax"),
    ({"splits": "folds", "fold": "2"}, "fold.syntax"),
    ({"splits": "folds", "fold": "1/2"}, "fold.count"),
    ({"fold": "1/3"}, "fold.alone"),
]


@pytest.mark.parametrize("task", TASKS)
def test_malformed_files_and_flags_that_contradict_them_are_refused(
    scenes_of, lists_of, tmp_path, task
):
    folder = scenes_of(task)
    good, folds = lists_of(task, folder), lists_of(task, folder, "--folds", 3)
    for number, (flags, code) in enumerate(REFUSED):
        lists = flags.get("splits")
        if isinstance(lists, dict):
            path = tmp_path / f"bad-{number}.json"
            path.write_text(json.dumps(lists))
            flags = flags | {"splits": path}
        elif lists:
            flags = flags | {"splits": {"good": good, "folds": folds}[lists]}
        with pytest.raises(CvkitError) as refused:
            trained(task, folder, **flags)
        assert refused.value.code == code, flags


@pytest.mark.parametrize("task", TASKS)
def test_identical_files_and_groups_stay_together(scenes_of, lists_of, task, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(scenes_of(task), folder)
    content = json.loads(lists_of(task, folder, "--group-by", "folder").read_text())
    for found in content["splits"].values():
        others = [k for n, each in content["splits"].items() if each is not found for k in each]
        assert not {k.rpartition("/")[0] for k in found} & {k.rpartition("/")[0] for k in others}
    digests = [set(found.values()) for found in content["splits"].values()]
    assert not set.intersection(*digests)


def test_all_folds_are_trained_one_after_the_other_and_summarised(
    cvkit, scenes_of, lists_of, tmp_path
):
    folder = scenes_of("classify")
    lists = lists_of("classify", folder, "--folds", 2)
    done = cvkit(
        *("classify", "train", "--data", folder, "--arch", "lenet", "--epochs", 1),
        *("--splits", lists, "--fold", "all", "--out", tmp_path / "runs", "--json"),
        *("--workers", 0, "--image-size", 32),
    )
    assert done.code == 0, done.err
    said = done.json
    values = [row["best"]["top1"] for row in said["folds"]]
    assert said["mean"]["top1"] == pytest.approx(sum(values) / 2)
    assert said["deviation"]["top1"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    stored = json.loads((tmp_path / "runs" / "classify-folds-001" / "folds.json").read_text())
    assert stored["mean"] == said["mean"]
    for number, row in enumerate(said["folds"], 1):
        assert f"fold: {number}/2" in (tmp_path / row["run"] / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ([], "fold.alone"),
        (["--splits", "{good}"], "fold.count"),
        (["--splits", "{folds}", "--find-lr"], "fold.combined"),
        (["--splits", "{folds}", "--resume", "{run}"], "fold.combined"),
        (["--splits", "{folds}", "--devices", 2], "fold.combined"),
    ],
)
def test_what_does_not_go_with_all_folds_is_refused(
    cvkit, scenes_of, lists_of, tmp_path, flags, code
):
    folder = scenes_of("classify")
    places = {"good": lists_of("classify", folder)}
    places["folds"] = lists_of("classify", folder, "--folds", 2)
    places["run"] = tmp_path / "run"
    places["run"].mkdir()
    (places["run"] / "config.yaml").write_text("epochs: 1\n")
    words = [str(word).format(**places) for word in flags]
    done = cvkit(
        *("classify", "train", "--data", folder, "--fold", "all", *words),
        *("--out", tmp_path / "runs", "--json"),
    )
    assert (done.code, done.json["error"]["code"]) == (2, code), done.err
    assert not (tmp_path / "runs").exists()
