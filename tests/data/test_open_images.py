"""Open Images: what its tables say besides boxes."""

from corpus import CASES

from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection


def test_groups_are_crowds(tmp_path):
    CASES["open_images"].write(tmp_path)
    (image,) = read_boxes(tmp_path, "auto", ["train"]).splits["train"]
    assert image.truth.crowd.tolist() == [False, True]


def test_classes_of_one_name_have_their_ids(tmp_path):
    CASES["open_images"].write(tmp_path)
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/01,bat\n/m/02,bat\n")
    data = read_boxes(tmp_path, "auto", ["train"])
    assert data.classes.names == ("bat (/m/01)", "bat (/m/02)")


def test_labels_have_the_table_of_all_classes(tmp_path):
    CASES["open_images_labels"].write(tmp_path)
    (tmp_path / "oidv6-class-descriptions-boxable.csv").write_text("/m/09,car\n")
    assert read_collection(tmp_path, "auto", ["train", "val"], None).names == ("cat", "dog")
