"""The page of features in a real browser: what points, keys and choices show."""

import numpy as np
import pytest
from browser_parts import CONTRAST, HOSTILE, WIDTHS, logged, look, overflow

from cvkit.reporting.features import Points, write_features_page
from cvkit.structures import Failure

NAMES = ["a/red.png", "b/green.png", "b/blue.png", HOSTILE[0]]
CONTENT = {
    "task": "classify",
    "weights": "shapes",
    "layer": "backbone",
    "width": 3,
    "counts": {"read": 9, "queries": 0},
    "duplicates": {"groups": 0},
    "metrics": {"neighbour_accuracy": 0.5},
    "rules": {"neighbour_accuracy": "share"},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "features.html"
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    write_features_page(
        path,
        CONTENT,
        points=Points(
            names=NAMES,
            maps={"tsne": corners, "pca": corners[::-1]},
            groupings={"class": ["x", "y", HOSTILE[1], None], "cluster": ["cluster 1"] * 4},
            thumbnails=[np.full((64, 64, 3), each, np.uint8) for each in colours],
        ),
        neighbours=(),
        duplicates=(),
        failures=[Failure("bad.png", "x", "broken")],
        command="cvkit features",
        environment={"python": "3"},
        warnings=[],
    )
    return path.as_uri()


def told(browser):
    script = (
        "const c = document.getElementById('map-card');"
        "return c.hidden ? null : document.getElementById('map-told').textContent"
    )
    return browser.execute_script(script)


def point(browser, x, y):
    """Move to a place of the map, in shares of its shorter side from its middle, y upwards."""
    browser.execute_script(
        "const c = document.getElementById('map-canvas'), r = c.getBoundingClientRect();"
        "const s = Math.min(c.clientWidth, c.clientHeight) - 40;"
        "c.dispatchEvent(new PointerEvent('pointermove', {pointerId: 1, bubbles: true,"
        "clientX: r.left + c.clientWidth / 2 + arguments[0] * s,"
        "clientY: r.top + c.clientHeight / 2 - arguments[1] * s}))",
        x,
        y,
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_has_contrast_and_loads_nothing(browser, address, width):
    logged(browser)
    look(browser, address, width)
    assert overflow(browser) == 0
    seen, bad = browser.execute_script(CONTRAST)
    assert (seen > 10, bad) == (True, [])
    assert logged(browser) == []
    assert browser.title == "classify · shapes · cvkit features"


def test_pointing_shows_picture_name_and_groups(browser, address):
    look(browser, address)
    for number, (x, y) in enumerate([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]):
        point(browser, x, y)
        groups = (["x", "y", HOSTILE[1], "–"][number], "cluster 1")
        assert told(browser) == " · ".join([NAMES[number], *groups])
        pixel = browser.execute_script(
            "return [...document.getElementById('map-thumb').getContext('2d')"
            ".getImageData(60, 60, 1, 1).data].slice(0, 3)"
        )
        wanted = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))[number]
        assert np.abs(np.subtract(pixel, wanted)).max() < 30
    point(browser, 0, 0)
    assert told(browser) is None


def test_keys_choices_and_search_choose_what_is_shown(browser, address):
    look(browser, address)
    press = (
        "document.getElementById('map-canvas').dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0]}))"
    )
    browser.execute_script(press, "ArrowRight")
    assert told(browser).startswith(NAMES[0])
    browser.execute_script(press, "ArrowLeft")
    assert told(browser).startswith(NAMES[3])
    choose = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event(arguments[2]))"
    )
    browser.execute_script(choose, "map-find", "GREEN", "input")
    found = browser.execute_script("return document.getElementById('map-found').textContent")
    assert found == "1 of 4"
    browser.execute_script(press, "ArrowRight")
    browser.execute_script(press, "ArrowRight")
    assert told(browser).startswith(NAMES[1])
    browser.execute_script(choose, "map-find", "", "input")
    browser.execute_script(choose, "map-kind", "pca", "change")
    point(browser, -0.5, -0.5)
    assert told(browser).startswith(NAMES[3])
    names = "return [...document.querySelectorAll('#map-legend li')].map((e) => e.textContent)"
    assert browser.execute_script(names) == sorted(["x", "y", HOSTILE[1]])
    browser.execute_script("document.querySelectorAll('#map-legend button')[2].click()")
    point(browser, -0.5, -0.5)
    assert told(browser) is None  # it is in another group
    browser.execute_script(choose, "map-colour", "cluster", "change")
    assert browser.execute_script(names) == ["cluster 1"]
