"""The page of units, in a browser."""

import numpy as np
import pytest
from browser import SCHEMES, WIDTHS
from factories import learn_tokenizer, random_checkpoint

from textgen.analysis.units import inspect_units
from textgen.analysis.units_page import render_units

HOSTILE = "<script>document.title = 'run'</script>\u202e\x07"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of a hostile text with capitals and parentheses, read by a random network."""
    drawn = np.random.default_rng(0).choice(["The", "cat", "(sat)", "on", "a", HOSTILE], 900)
    text = "\n".join(" ".join(drawn[i : i + 9]) for i in range(0, len(drawn), 9))
    activity = inspect_units(random_checkpoint(learn_tokenizer("char", text)), text)
    path = tmp_path_factory.mktemp("units") / "units.html"
    path.write_text(render_units(activity, HOSTILE, HOSTILE), "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read_in_any_window(browser, page, width, scheme):
    browser.open(page, width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.contrast(".soft") >= 4.5
    assert browser.run("document.title").startswith("<script>")
    assert browser.problems() == []


@pytest.mark.slow
def test_units_can_be_switched_and_pointed_at(browser, page):
    browser.open(page)
    colours = "[...document.querySelector('section .text').querySelectorAll('span')]"
    colours += ".map(span => span.className).join()"
    browser.run("document.querySelector('section').scrollIntoView()")
    browser.wait("document.querySelector('section .text span') !== null")
    first = browser.run(colours)
    for button in ("section button:nth-of-type(2)", "section button[data-view=property]"):
        browser.run(f"document.querySelector('{button}').click()")
        assert browser.run(colours) != first
    browser.run("document.querySelector('section button').click()")
    assert browser.run(colours) == first
    browser.hover("section .text span")
    assert "activation" in browser.run("document.getElementById('card').innerText")
    assert browser.problems() == []
