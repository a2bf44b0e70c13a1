"""Markdown to plain text, and what is read from a wheel or from Python."""

import hashlib
import sys
import zipfile

import pytest

from textgen import MachineError
from textgen.data import download as download_module
from textgen.data.download import from_python, from_wheel, is_safe, plain_text

# Pairs written by hand: what a play looks like in Markdown, and how it should read.
PLAY = r"""# Hamlet

## ACT I

### SCENE I. Elsinore. A platform before the castle.

_FRANCISCO at his post. Enter to him BERNARDO_


**BERNARDO**  
Who's there?

**MARCELLUS &amp; BERNARDO**  
__\[Aside]_  
'Tis here!'\-- 'tis gone.  
Horns, & c.

*[Drawing
his sword.]*
"""
READS = """Hamlet

ACT I

SCENE I. Elsinore. A platform before the castle.

FRANCISCO at his post. Enter to him BERNARDO

BERNARDO:
Who's there?

MARCELLUS & BERNARDO:
(Aside)
'Tis here!'-- 'tis gone.
Horns, & c.

(Drawing
his sword.)
"""


def test_a_play_reads_like_a_play():
    assert plain_text(PLAY) == READS


@pytest.mark.parametrize(
    "markdown, plain",
    [
        ("a _soft_ and **loud** and ***both*** word", "a soft and loud and both word"),
        ("__bold__ snake_case_name 2 * 3", "bold snake_case_name 2 * 3"),
        ("**ROMEO:**", "ROMEO:"),
        ("**Romeo** speaks", "Romeo speaks"),
        ("## Closed ##", "Closed"),
        ("no heading #1", "no heading #1"),
        ("#hashtag", "#hashtag"),
        ("4\\. Choristers\\", "4. Choristers"),
        (r"\*stars\* \_lines\_ \\ \& \<b\>", r"*stars* _lines_ \ & <b>"),
        ("C:\\path", "C:\\path"),
        ("[the _words_](https://example.org/a_b) stay", "the words stay"),
        ("![a picture](picture.png)", "a picture"),
        ('line<br/> <a class="x" href="#y">link</a>', "line link"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("&lt;b&gt; &eacute; &#8212; &#x41; &amp;amp; &nosuch;", "<b> é — A &amp; &nosuch;"),
        ("&#42;not bold&#42;", "*not bold*"),
        ("one\r\n\r\n\r\n\r\ntwo   \r\n", "one\n\ntwo"),
        ("And ever _\\[ ]_", "And ever ( )"),
    ],
)
def test_marks_go_and_characters_stay(markdown, plain):
    assert plain_text(markdown) == plain + "\n"


@pytest.mark.parametrize(
    "url, safe",
    [
        ("https://example.org/a.txt", True),
        ("http://127.0.0.1:8000/a.txt", True),
        ("http://[::1]/a.txt", True),
        ("http://localhost/a.txt", True),
        ("http://example.org/a.txt", False),
        ("http://127.0.0.1.example.org/a.txt", False),
        ("http://localhost@example.org/a.txt", False),
        ("https:///a.txt", False),
        ("https://[::1", False),
        ("file:///etc/hosts", False),
        ("ftp://localhost/a.txt", False),
        ("a.txt", False),
    ],
)
def test_what_may_be_fetched(url, safe):
    assert is_safe(url) is safe


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A function that makes a wheel of {member: content} and returns its digest."""

    def make(members):
        def download(requirement, folder):
            path = folder / "verse-1.0-py3-none-any.whl"
            path.write_bytes(content)
            return path

        archive = tmp_path / "made.whl"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in members.items():
                file.writestr(name, text)
        content = archive.read_bytes()
        monkeypatch.setattr(download_module, "download_wheel", download)
        return hashlib.sha256(content).hexdigest()

    return make


def test_members_come_in_the_order_of_their_file_names(wheel):
    digest = wheel(
        {"z/b.md": "_second_", "a/c.txt": "_as it is_\n", "y/a.md": "first", "x.py": "1"}
    )
    assert from_wheel("verse==1.0", digest, ["?/*.*"]) == b"first\n\nsecond\n\n_as it is_\n"


def test_several_patterns_take_each_member_once(wheel):
    digest = wheel({"a/c.txt": "c", "a/d.txt": "d", "b/e.txt": "e", "b/f.txt": "f"})
    assert from_wheel("verse==1.0", digest, ["a/*", "*/[de].txt"]) == b"c\nd\ne"
    with pytest.raises(MachineError, match=r"no member matches x/\*"):
        from_wheel("verse==1.0", digest, ["a/*", "x/*"])


def test_older_encodings_and_line_ends(wheel):
    marked = "\ufeffone\r\ntwo\r\n".encode()
    digest = wheel({"a.txt": marked, "b.txt": "d\xe9j\xe0 \u201cvu\u201d".encode("cp1252")})
    text = from_wheel("verse==1.0", digest, ["*.txt"]).decode()
    assert text == "one\ntwo\n\nd\xe9j\xe0 \u201cvu\u201d"


def test_a_member_name_never_becomes_a_path(wheel, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    digest = wheel({"../../evil.md": "a", "/evil.md": "b"})
    assert from_wheel("verse==1.0", digest, ["*.md"]) == b"a\n\nb\n"
    assert not list(tmp_path.rglob("evil*")) and not list(temporary.iterdir())


@pytest.mark.parametrize(
    "members, pattern, words",
    [
        ({"a.md": "a"}, "*.txt", "no member matches"),
        ({"a.md": b"\x81"}, "*", "cannot be read"),
        ({"a.md": "x" * 3000, "b.md": "x" * 3000}, "*", "unpack to more than 5,000 bytes"),
        ({"a.md": b"\0" * 10_000_000}, "*", "unpack to more than 5,000 bytes"),
    ],
)
def test_a_wheel_without_usable_texts(wheel, monkeypatch, members, pattern, words):
    monkeypatch.setattr(download_module, "MOST_UNPACKED_TEXT", 5000)
    digest = wheel(members)
    with pytest.raises(MachineError, match=words):
        from_wheel("verse==1.0", digest, [pattern])


def test_a_wheel_that_is_no_archive(monkeypatch):
    def download(requirement, folder):
        (folder / "x.whl").write_bytes(b"no archive")
        return folder / "x.whl"

    monkeypatch.setattr(download_module, "download_wheel", download)
    with pytest.raises(MachineError, match="cannot be read"):
        from_wheel("verse==1.0", hashlib.sha256(b"no archive").hexdigest(), ["*"])


def test_no_room_for_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(MachineError, match="temporary folder"):
        from_wheel("verse==1.0", "0" * 64, ["*"])


def test_the_language_reference_is_all_topics_in_order():
    from pydoc_data.topics import topics

    text = from_python().decode("utf-8")
    places = [
        text.index(topics[name].strip("\n")) for name in ("assert", "break", "while", "yield")
    ]
    assert places == sorted(places)
    assert len(text) > 300_000 and text.endswith("\n")


def test_a_python_without_its_language_reference(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(MachineError, match="standard library"):
        from_python()
