"""The pages in Chromium: they open without a complaint, fit any window, and say more under the pointer."""

import pytest

from hvd_ae.runs.page.page import compare_page, write_page
from hvd_ae.runs.page.read import read_run
from tests.browser import CHROMIUM, browser
from tests.runs import run_folder

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Of runs whose samples are pictures, lines and slices, with names that leave no room, and of all together."""
    root = tmp_path_factory.mktemp("pages")
    folders = [run_folder(root / f"{name}-{'very_long_' * 12}", shape, epochs=epochs, ranks=ranks, samples=20,
                          name=f"{'folder/' * 30}{name}.npy")
               for name, shape, epochs, ranks in (("pictures", (8, 8), 5, 2), ("lines", (300,), 300, 64),
                                                  ("slices", (20, 24, 28), 1, 9))]
    (root / "all.html").write_text(compare_page([read_run(folder) for folder in folders], root))
    return [*(write_page(folder) for folder in folders), root / "all.html"]


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_pages_fit_and_are_readable(tab, pages, width, dark):
    for path in pages:
        tab.open(path, width, dark)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
        # of what is drawn: within its card, and no smaller than a person reads
        beyond = """[...document.querySelectorAll("svg text")].filter(each => {
            const box = each.getBoundingClientRect(), card = each.closest("figure").getBoundingClientRect();
            return box.left < card.left - 1 || box.right > card.right + 1 || box.height < 9;
        }).map(each => each.textContent)"""
        assert tab.evaluate(beyond) == [], path
        assert tab.evaluate("""[...document.images].every(each => each.alt && each.naturalWidth > 0)
            && [...document.querySelectorAll("svg")].every(each => each.getAttribute("aria-label"))""")
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(15, 19, 24)") == dark
    assert tab.problems == []


def test_the_pointer_and_the_keys_show_numbers(tab, pages):
    tab.open(pages[0], 1000)
    box = tab.evaluate("""(() => { const box = document.querySelector("svg[data-hover]").getBoundingClientRect();
        return [box.left, box.top, box.width, box.height]; })()""")
    tab.move_to(box[0] + 0.99 * box[2], box[1] + box[3] / 2)  # the last of five epochs: losses 1/5 and 1.1/5
    said = tab.evaluate("document.querySelector('#tip').innerText").split("\n")
    assert said == ["epoch 5", "training, mean over the epoch: 0.2", "validation, after the epoch: 0.22"]
    press = """document.querySelector("svg[data-hover]").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}))"""
    tab.evaluate(press)
    assert tab.evaluate("document.querySelector('#tip').innerText").startswith("epoch 4\n")
    tab.move_to(1, 1)
    assert tab.evaluate("document.querySelector('#tip').hidden")
    assert tab.problems == []


def test_without_scripts_the_page_says_the_same(tab, pages):
    tab.open(pages[0], 1000)
    words = tab.evaluate("document.body.innerText")
    tab.open(pages[0], 1000, script=False)
    assert tab.evaluate("document.body.innerText") == words and "Loss over epochs" in words


def test_the_page_can_be_printed(tab, pages):
    tab.open(pages[0], 1000, dark=True)
    assert tab.pdf_bytes() > 10_000
    assert tab.problems == []
