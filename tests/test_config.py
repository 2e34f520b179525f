"""What a configuration file and a run that is resumed leave to the command line."""

import pytest

from cvkit import catalog


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_configuration_cannot_resume_a_run(cvkit, tmp_path, task):
    config = tmp_path / "c.yaml"
    config.write_text(f"resume: {tmp_path}\n")
    refused = cvkit(task, "train", "--config", config)
    assert refused.code == 2 and "resume is a flag of the command line" in refused.err


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_resumed_run_takes_no_other_configuration(cvkit, tmp_path, task):
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    (tmp_path / "other.yaml").write_text("epochs: 7\n")
    flags = ("--resume", tmp_path, "--config", tmp_path / "other.yaml")
    refused = cvkit(task, "train", *flags)
    assert refused.code == 2 and "--config and --resume exclude each other" in refused.err


@pytest.mark.parametrize(("flag", "value"), [("--epochs", "2"), ("--data", "elsewhere")])
def test_a_study_keeps_its_settings(cvkit, tmp_path, flag, value):
    (tmp_path / "config.yaml").write_text("epochs: 1\ndata: samples\ntrials: 1\n")
    refused = cvkit("tune", "classify", "--resume", tmp_path, flag, value)
    assert refused.code == 2 and f"{flag} {value} differs" in refused.err
