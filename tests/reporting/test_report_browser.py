"""The page of a report in a real browser: Debian's packages chromium and chromium-driver."""

import pytest
from browser_parts import CONTRAST, HOSTILE, WIDTHS, logged, look, overflow
from report_parts import page, scored_of

from cvkit.catalog import TASKS

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the address of the page of a task; each is written once."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = page(tmp_path_factory.mktemp(task), task).as_uri()
        return made[task]

    return get


@pytest.mark.parametrize("task", TASKS)
def test_pictures_show_and_nothing_scrolls_sideways_or_complains(browser, pages, task):
    logged(browser)
    for width in WIDTHS:
        look(browser, pages(task), width)
        widths = browser.execute_async_script(
            "const done = arguments[0]; const all = [...document.images];"
            "Promise.all(all.map((i) => i.decode().catch(() => 0)))"
            ".then(() => done(all.map((i) => i.naturalWidth)))"
        )
        assert widths and all(widths)
        assert overflow(browser) <= 0, width
    assert logged(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("task", TASKS)
def test_all_text_has_the_contrast_of_wcag_aa(browser, pages, task, scheme):
    look(browser, pages(task), prefers_color_scheme=scheme)
    seen, bad = browser.execute_script(CONTRAST)
    assert seen > 60
    assert bad == []
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, paper[4:-1].split(","))) > 200) == (scheme == "light")


def rows(browser):
    """Return the cells of the visible rows of the table of classes."""
    found = browser.find_elements(By.CSS_SELECTOR, "#per-class tbody tr:not([hidden])")
    return [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in found]


def test_the_table_of_classes_sorts_by_mouse_and_keyboard(browser, pages):
    look(browser, pages("segment"))
    heads = browser.find_elements(By.CSS_SELECTOR, "#per-class thead th")
    assert [head.text.split("\n")[0] for head in heads][:2] == ["class", "iou"]
    before = rows(browser)
    heads[1].find_element(By.TAG_NAME, "button").click()
    falling = [row[1] for row in rows(browser)]
    assert heads[1].get_attribute("aria-sort") == "descending"
    assert falling == sorted((row[1] for row in before), reverse=True)
    assert len(set(falling)) > 1
    heads[1].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert [row[1] for row in rows(browser)] == falling[::-1]
    heads[0].find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert heads[0].get_attribute("aria-sort") == "ascending"
    assert heads[1].get_attribute("aria-sort") is None
    assert [row[0] for row in rows(browser)] == sorted(row[0] for row in before)


def test_classes_without_a_number_are_last_in_both_orders(browser, tmp_path):
    look(browser, page(tmp_path, "detect", scored=scored_of("detect", [*"abcdef"], 2)).as_uri())
    button = browser.find_elements(By.CSS_SELECTOR, "#per-class thead button")[1]
    for _ in range(2):
        button.click()
        cells = [row[1] for row in rows(browser)]
        assert cells[-4:] == ["–"] * 4
        assert "–" not in cells[:2]


def test_the_table_of_classes_is_filtered_by_name_and_by_number(browser, pages):
    look(browser, pages("segment"))
    field, everything = browser.find_element(By.ID, "filter"), rows(browser)
    field.send_keys("DO")
    assert [row[0] for row in rows(browser)] == ["dog"]
    assert browser.find_element(By.ID, "filtered").text == "1 of 3"
    field.clear()
    limit = round(sum(sorted(float(row[1]) for row in everything)[:2]) / 2, 4)
    field.send_keys(f"iou < {limit}")
    assert [row[0] for row in rows(browser)] == [
        row[0] for row in everything if float(row[1]) < limit
    ]
    field.clear()
    field.send_keys("no such class")
    assert rows(browser) == []


def viewer(browser):
    """Return whether the enlarged view is open, and the sample in it."""
    return browser.execute_script(
        "return [document.getElementById('viewer').open,"
        "document.getElementById('viewer-title').textContent]"
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_is_enlarged_by_mouse_and_keyboard(browser, pages, task):
    look(browser, pages(task))
    first, second, *_ = browser.find_elements(By.CSS_SELECTOR, ".open")
    names = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".sample .path")]
    small = first.find_element(By.TAG_NAME, "img").size["width"]
    first.click()
    assert viewer(browser) == [True, names[0]]
    pictures = browser.find_elements(By.CSS_SELECTOR, "#viewer-pictures img")
    assert pictures[0].size["width"] > small
    browser.find_element(By.ID, "close").click()
    assert viewer(browser)[0] is False
    browser.execute_script("arguments[0].focus()", second)
    second.send_keys(Keys.ENTER)
    assert viewer(browser) == [True, names[1]]
    for key, name in ((Keys.ARROW_LEFT, names[0]), (Keys.ARROW_LEFT, names[-1])):
        ActionChains(browser).send_keys(key).perform()
        assert viewer(browser) == [True, name]
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ESCAPE).perform()
    assert viewer(browser) == [False, names[0]]
    WebDriverWait(browser, 10).until(  # the event of closing comes after the viewer is closed
        lambda _: (
            browser.switch_to.active_element.get_attribute("aria-label") == f"Enlarge {names[0]}"
        )
    )


@pytest.mark.parametrize("width", [380, 1280])
def test_hostile_and_endless_names_do_nothing(browser, tmp_path, width):
    scored = scored_of("classify", HOSTILE, 8)
    address = page(tmp_path, "classify", scored=scored, warnings=HOSTILE, command=HOSTILE[0])
    logged(browser)
    look(browser, address.as_uri(), width)
    assert browser.title == "classify · val · cvkit report"
    assert overflow(browser) <= 0
    assert {row[0] for row in rows(browser)} == {*HOSTILE}
    assert logged(browser) == []


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_those_who_ask_for_it(browser, pages, motion):
    look(browser, pages("classify"), prefers_reduced_motion=motion)
    browser.execute_script("document.querySelector('.open').click()")
    name, scroll = browser.execute_script(
        "const style = (e) => getComputedStyle(e);"
        "return [style(document.getElementById('viewer')).animationName,"
        "style(document.documentElement).scrollBehavior]"
    )
    assert (name, scroll) == (("none", "auto") if motion == "reduce" else ("appear", "smooth"))
