"""What predict writes scores what eval says, to the last bit, for every task."""

import pytest

from cvkit.catalog import TASKS

UNKNOWN = {"clip_top1": "predict writes the scores of videos, not of clips"}


@pytest.mark.parametrize("task", TASKS)
def test_predictions_score_what_eval_says_to_the_last_bit(cvkit, data_of, run_of, tmp_path, task):
    data, weights = data_of(task), run_of(task)
    pictures = data / "val" if (data / "val").is_dir() else data / "images" / "val"
    flags = ("--no-files", "--json")
    measured = cvkit(task, "eval", "--weights", weights, "--data", data, *flags)
    assert measured.code == 0, measured.err
    out = tmp_path / "out"
    # The average precision of a class needs the scores of all.
    more = ("--top-k", len(measured.json["per_class"])) if task in ("classify", "video") else ()
    made = cvkit(task, "predict", pictures, "--weights", weights, "--out", out, "--quiet", *more)
    assert made.code == 0, made.err
    scored = cvkit(task, "eval", "--predictions", out, "--truth", data, *flags)
    assert scored.code == 0, scored.err
    unknown = dict.fromkeys(UNKNOWN.keys() & measured.json["metrics"].keys())
    assert scored.json["metrics"] == measured.json["metrics"] | unknown
    assert scored.json["per_class"] == measured.json["per_class"]
    assert scored.json["data_fingerprint"] == measured.json["data_fingerprint"]
