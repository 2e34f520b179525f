"""Annotations in XML have few levels; thousands of them are no annotation."""

import pytest

from cvkit.data.formats import xml_files
from cvkit.data.formats.xml_files import read_root
from cvkit.errors import DataError


def nested(path, levels):
    inner = levels - 1
    path.write_text("<annotation>" + "<a>" * inner + "</a>" * inner + "</annotation>")
    return path


def test_deep_elements_are_refused(tmp_path):
    path = tmp_path / "a.xml"
    most = xml_files.MOST_LEVELS
    assert read_root(nested(path, most), "annotation", 10**6).tag == "annotation"
    for levels in (most + 2, 20_000):
        with pytest.raises(DataError, match="nested in over 100 levels") as caught:
            read_root(nested(path, levels), "annotation", 10**6)
        assert caught.value.code == "xml.syntax" and str(path) in str(caught.value)
