"""Lists of public video datasets, some of whose videos are missing."""

import pytest
from corpus import CASES

from cvkit.data.synthetic.samples import WRITERS

LOST = {
    "class_lists_of_hmdb51": ("hmdb51/brush_hair/a.png", "a"),
    "class_table_of_kinetics": ("train/_y.png", "_y_000103_000113"),
    "class_lists_of_something": ("videos/74225.png", "74225"),
}
"""A file of each dataset, and its key when it is missing."""


@pytest.mark.parametrize("name", LOST)
def test_missing_files_are_counted_and_can_be_left_out(cvkit, tmp_path, name):
    CASES[name].write(tmp_path / "d")
    file, key = LOST[name]
    (tmp_path / "d" / file).unlink()
    words = ("data", "check", tmp_path / "d", "--task", "classify")
    listed = tmp_path / "missing.txt"
    found = cvkit(*words, "--select", "split.id_without_file", "--fix-list", listed, "--json")
    assert [each["rule"] for each in found.json["findings"]] == ["split.id_without_file"]
    assert listed.read_text() == f"{key}\n"
    split = ("--split", "train")
    words = ("data", "stats", tmp_path / "d", "--task", "classify", *split, "--json")
    done = cvkit(*words)
    assert (done.code, "1 file missing" in done.err, "--exclude FILE" in done.err) == (
        2,
        True,
        True,
    )
    done = cvkit(*words, "--set", f"exclude={listed}")
    left = len(CASES[name].splits["train"]) - 1
    if left:
        assert done.code == 0, done.err
        assert done.json["splits"]["train"]["samples"] == left


@pytest.mark.parametrize("name", ["hmdb51", "kinetics", "something"])
def test_videos_are_found_by_their_names(cvkit, tmp_path, name):
    """The same lists, with videos."""
    WRITERS["video"](tmp_path / "made", {"train": 2, "val": 2}, 3, (16, 16))
    first, second, *_ = sorted((tmp_path / "made").rglob("*.mp4"))
    lists = {
        "hmdb51": {"a_test_split1.txt": "v.avi 1\n", "b_test_split1.txt": "w.avi 1\n"},
        "kinetics": {"train.csv": "label,youtube_id,time_start,time_end\na,v,0,9\nb,w,3,7\n"},
        "something": {
            "labels.json": '{"a": "0", "b": "1"}',
            "train.json": '[{"id": "v", "template": "[a]"}, {"id": "w", "template": "b"}]',
        },
    }
    root = tmp_path / "d"
    (root / "videos").mkdir(parents=True)
    first.rename(root / "videos" / "v.mp4")
    second.rename(root / "videos" / "w_000003_000007.mp4" if name == "kinetics" else root / "w.mp4")
    for file, text in lists[name].items():
        (root / file).write_text(text)
    done = cvkit("data", "stats", root, "--task", "video", "--split", "train", "--json")
    assert done.code == 0, done.err
    assert done.json["layout"] == name
    assert done.json["splits"]["train"]["per_class"] == {"a": {"videos": 1}, "b": {"videos": 1}}
