"""Masks that are images inside of annotation files have the limits of other images."""

import base64
import zlib

import hostile_images
import pytest

from cvkit.data.embedded import open_embedded
from cvkit.data.formats import labelme, supervisely
from cvkit.errors import DataError

LARGE = {
    "400 MP": hostile_images.png(20_000, 20_000, 1, 0),
    "110 MP": hostile_images.png(11_000, 10_000, 1, 0),
    "cut": hostile_images.png(9, 9)[:40],
    "text": b"text",
}


@pytest.mark.parametrize("name", LARGE)
def test_an_embedded_mask_of_any_size_is_no_bug(name):
    content = LARGE[name]
    with pytest.raises((ValueError, OSError, SyntaxError)):
        open_embedded(content).load()
    coded = base64.b64encode(content).decode()
    with pytest.raises(DataError) as caught:
        labelme._part(coded, [0, 0, 19_999, 19_999], "a.json")
    assert caught.value.code == "labelme.mask"
    coded = base64.b64encode(zlib.compress(content)).decode()
    with pytest.raises(DataError) as caught:
        supervisely._bitmap({"data": coded, "origin": [0, 0]}, "a.json")
    assert caught.value.code == "supervisely.bitmap"
