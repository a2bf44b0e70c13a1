"""Pages as a browser reads them: data, hostile text, both schemes, narrow and wide windows."""

import base64
import json
import zlib

import numpy as np
import pytest
from browser import SCHEMES, WIDTHS
from factories import learn_tokenizer, mixed_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from textgen.analysis.pages import displayed, embed, name_of_symbol, names_of_ids, render
from textgen.analysis.surprise import measure_surprise
from textgen.analysis.surprise_page import render_surprise
from textgen.tokenizers import BOUNDARY

HOSTILE = (
    "the <script>document.title = 'run'</script> cat\n</div></script><img src=x onerror=alert(1)>\n"
    "a \u202ereversed\u202c b \u2066c\u2069 \x00\x07\x1b[31m\x7f\x85 d\u2028e"
    " & &lt; f {{ 7 * 7 }}\n"
    "a wide 字 and a face 😀 and accents é e\u0301\n"
)


def unpacked(markup):
    """What the page's script makes of embedded data, done in Python."""
    values = json.loads(str(markup))
    raw = zlib.decompress(base64.b64decode(values.pop("packed")))
    columns = {
        name: np.frombuffer(raw, f"<u{size}", count, start)
        for name, (start, count, size) in values.pop("columns").items()
    }
    return values, columns


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.sampled_from([np.uint8, np.uint16]).flatmap(
            lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(max_dims=2, min_side=0))
        ),
    ),
    st.text(),
)
def test_embedded_data_come_back_and_hold_no_markup(columns, text):
    markup = embed({"text": text}, columns)
    assert not set("<>&") & set(str(markup))
    values, found = unpacked(markup)
    assert values == {"text": text}
    assert found.keys() == columns.keys()
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column.reshape(-1))
        assert found[name].dtype == column.dtype


@given(st.text(st.characters()))
def test_a_displayed_text_has_the_same_length_and_steers_nothing(text):
    shown = displayed(text)
    assert len(shown) == len(text)
    assert not any(c < " " and c not in "\n\t" for c in shown)
    assert not set(shown) & set("\x7f\x85\u202e\u2066\u2028")
    shown.encode("utf-8")


def test_symbols_have_names_that_can_be_read_alone():
    assert [name_of_symbol(s) for s in (b"a", b" ", b"\n", b"", b"\xe2", BOUNDARY)] == [
        "a",
        "␣",
        "\\n",
        "<unk>",
        "\\xe2",
        "<end>",
    ]
    tokenizer = learn_tokenizer("char", "ab")
    assert names_of_ids(tokenizer) == ["<unk>", "a", "b"]


def test_a_template_without_a_value_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        render("surprise.html", title="text")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a hostile text, by a mixture, with a hostile name."""
    checkpoint = mixed_checkpoint(learn_tokenizer("char", HOSTILE), HOSTILE * 3)
    surprise = measure_surprise(checkpoint, HOSTILE)
    html = render_surprise(surprise, checkpoint.tokenizer, "<b>name</b>", "'\"><script>1</script>")
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html, "utf-8")
    return path


def test_nothing_of_a_text_or_a_name_becomes_markup(page):
    html = page.read_text("utf-8")
    assert "<b>" not in html and "onerror=alert(1)>" not in html
    assert "<script>document" not in html and "<script>1" not in html
    assert not set(html) & set("\x00\x07\x1b\x7f\x85\u202e\u2066\u2028")
    assert "{{ 7 * 7 }}" in html
    assert "http" not in html.replace("http-equiv", ""), "it needs no network"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_can_be_read_in_any_window(browser, page, width, scheme):
    browser.open(page, width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.contrast("#text") >= 7
    assert browser.contrast(".soft") >= 4.5
    assert browser.run("document.title") == "<b>name</b>: surprise"
    assert browser.problems() == []


@pytest.mark.slow
def test_text_can_be_selected_as_it_is(browser, page):
    browser.open(page)
    browser.wait("document.querySelector('span[data-i]') !== null")
    browser.run("getSelection().selectAllChildren(document.getElementById('text'))")
    assert browser.run("getSelection().toString()").rstrip() == displayed(HOSTILE).rstrip()


@pytest.mark.slow
def test_pointing_at_a_character_shows_what_was_expected(browser, page):
    browser.open(page)
    browser.wait("document.querySelector('span[data-i]') !== null")
    assert browser.run("document.getElementById('card').hidden")
    browser.hover("span[data-i='30']")
    assert not browser.run("document.getElementById('card').hidden")
    assert browser.run("document.querySelectorAll('#card tr').length") == 5
    assert browser.run("document.getElementById('card').innerText").startswith(HOSTILE[30])
    assert "network alone" in browser.run("document.getElementById('card').innerText")
    box = browser.run("document.getElementById('card').getBoundingClientRect().toJSON()")
    assert box["left"] >= 0 and box["right"] <= 1400


@pytest.mark.slow
def test_each_view_colours_by_its_own_figures(browser, page):
    browser.open(page)
    browser.wait("document.querySelector('span[data-i]') !== null")
    seen = set()
    for view in ("model", "network", "ngrams", "right"):
        browser.run(
            f"(() => {{ const view = document.getElementById('view'); view.value = '{view}';"
            " view.dispatchEvent(new Event('change')); return 1; })()"
        )
        seen.add(
            browser.run(
                "[...document.querySelectorAll('span[data-i]')].map(s => s.className).join()"
            )
        )
    assert len(seen) == 4
    assert browser.problems() == []


@pytest.mark.slow
def test_a_script_that_fails_is_noticed(browser, tmp_path):
    """The check for problems can fail."""
    (tmp_path / "broken.html").write_text(
        "<script>document.documentElement.dataset.ready = 'yes'; nothing.at.all</script>"
    )
    browser.open(tmp_path / "broken.html")
    assert "nothing is not defined" in browser.problems()[0]
