"""Building the texts of a registry: what works, and every way in which a source can fail."""

import contextlib
import gc
import hashlib
import http.server
import importlib.util
import os
import socket
import stat
import sys
import threading
import urllib.parse
import warnings
import zipfile
from pathlib import Path

import pytest

from textgen import MachineError, UsageError
from textgen.cli.app import main
from textgen.data import corpus, download, registry

TEXT = b"Who's there?\nNay, answer me.\n" * 1000
DIGEST = hashlib.sha256(TEXT).hexdigest()
# As it was written before UTF-8, on another system.
OLDER = "¿Quién está ahí?\r\n".encode("cp1252")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves TEXT in many ways, most of them bad; a path is the name of a way."""

    def do_GET(self):
        with contextlib.suppress(ConnectionError):
            getattr(self, self.path.strip("/").replace("-", "_"), self.absent)()

    def log_message(self, *words):
        pass

    def send(self, body, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def good(self):
        self.send(TEXT, len(TEXT))

    def older(self):
        self.send(OLDER, len(OLDER))

    def no_text(self):
        self.send(b"\x81" * len(TEXT), len(TEXT))

    def other(self):
        self.send(TEXT.swapcase(), len(TEXT))

    def cut(self):
        self.send(TEXT[:1000], len(TEXT))

    def short(self):
        self.send(TEXT[:1000], 1000)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        while True:  # until the reader has had enough
            self.wfile.write(TEXT)

    def chunks(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nWho's\r\n9\r\n the")

    def babble(self):
        self.wfile.write(b"no HTTP at all\r\n\r\n")

    def silent(self):
        self.send(TEXT[:1000], len(TEXT))
        self.server.patience.wait(5)

    def moved(self):
        self.redirect("/good")

    def circle(self):
        self.redirect("/circle")

    def to_file(self):
        self.redirect("file:///etc/hosts")

    def to_http(self):
        self.redirect("http://text.invalid/good")

    def to_ftp(self):
        self.redirect("ftp://127.0.0.1/good")

    def to_nonsense(self):
        self.redirect("https://[::1/good")

    def absent(self):
        self.send_error(404)


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.patience = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.patience.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty current folder, a temporary folder of its own, and no proxy."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("no_proxy", "*")
    yield home
    assert not list(temporary.iterdir())


def write(text):
    Path("corpora").mkdir(exist_ok=True)
    Path("corpora/corpora.toml").write_text(text, "utf-8")


def register(url, **others):
    """Write a registry whose one corpus, `verse`, is TEXT served at url, or at a list of them."""
    pins = {"sha256": DIGEST, "size": len(TEXT), **others}
    lines = [f"{key} = {value!r}" for key, value in pins.items()]
    write(
        "\n".join(["[verse]", "description = 'a verse'", "kind = 'url'", f"url = {url!r}", *lines])
    )


def files():
    return sorted(str(path) for path in Path().rglob("*") if not path.is_dir())


def fails(capsys, code, *words, out=()):
    """Check that building `verse` fails with that code and one line that has those words."""
    before = files()
    assert main(["corpus", "build", "verse", *out]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("textgen: error: ")
    assert captured.err.count("\n") == 1 and captured.err.endswith(")\n")
    for word in words:
        assert word in captured.err
    assert files() == before


class TestUrl:
    @pytest.mark.parametrize("way", ["good", "moved"])
    def test_the_text_is_fetched_as_it_is(self, home, server, capsys, way):
        register(f"{server}/{way}")
        assert main(["corpus", "build", "verse"]) == 0
        assert capsys.readouterr().out == f"{Path('corpora/verse.txt')}\n"
        assert corpus.read("corpora/verse.txt").sha256 == DIGEST
        assert files() == ["corpora/corpora.toml", "corpora/verse.txt"]

    def test_several_files_become_one_text(self, home, server, capsys):
        text = TEXT + b"\n" + "¿Quién está ahí?\n".encode()
        pins = {"sha256": hashlib.sha256(text).hexdigest(), "size": len(TEXT) + len(OLDER)}
        register([f"{server}/good", f"{server}/older"], **pins)
        assert registry.build("verse").read_bytes() == text
        Path("corpora/verse.txt").unlink()
        register([f"{server}/older", f"{server}/good"], **pins)
        fails(capsys, 5, "verse: has the sha256", pins["sha256"])

    @pytest.mark.parametrize(
        "last, words",
        [
            ("short", ["ended after 30,000 of 58,000 bytes"]),
            ("endless", ["more than the pinned 58,000 bytes"]),
            ("nowhere", ["404"]),
        ],
    )
    def test_the_last_of_several_files_fails(self, home, server, capsys, last, words):
        register([f"{server}/good", f"{server}/{last}"], size=2 * len(TEXT))
        fails(capsys, 5, f"{server}/{last}", *words)

    WAYS = (
        ("other", [hashlib.sha256(TEXT.swapcase()).hexdigest(), DIGEST, "corpora.toml"]),
        ("cut", ["ended after 1,000 of 29,000 bytes"]),
        ("short", ["ended after 1,000 of 29,000 bytes"]),
        ("chunks", ["cannot be fetched"]),
        ("endless", ["more than the pinned 29,000 bytes"]),
        ("babble", ["cannot be fetched"]),
        ("no-text", ["cannot be read", "byte 0x81"]),
        ("circle", ["302", "infinite loop"]),
        ("to-file", ["file:///etc/hosts"]),
        ("to-http", ["http://text.invalid/good, which is not https"]),
        ("to-ftp", ["ftp://127.0.0.1/good, which is not https"]),
        ("nowhere", ["404"]),
    )

    @pytest.mark.parametrize("way, words", WAYS, ids=lambda value: str(value)[:20])
    def test_a_bad_answer_leaves_nothing(self, home, server, capsys, way, words):
        register(f"{server}/{way}")
        fails(capsys, 5, f"{server}/{way}", *words)

    def test_a_redirect_to_nonsense(self, home, server, capsys):
        register(f"{server}/to-nonsense")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # urllib leaves its socket to gc
            fails(capsys, 5, "cannot be fetched", "Invalid IPv6 URL")
            gc.collect()

    def test_a_server_that_falls_silent(self, home, server, capsys, monkeypatch):
        monkeypatch.setattr(download, "SERVER_TIMEOUT", 0.2)
        register(f"{server}/silent")
        fails(capsys, 5, "timed out", "check the network")

    def test_a_host_that_cannot_be_reached(self, home, capsys):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            register(f"http://127.0.0.1:{free.getsockname()[1]}/good")
            fails(capsys, 5, "refused", "check the network")


class TestTarget:
    def test_a_built_text_is_kept_without_the_network(self, home, capsys):
        register("http://127.0.0.1:1/good")
        Path("corpora/verse.txt").write_bytes(TEXT)
        before = os.stat("corpora/verse.txt")
        # Reading may move the time of access, and nothing else.
        kept = [getattr(before, name) for name in ("st_ino", "st_size", "st_mtime_ns")]
        assert main(["corpus", "build", "verse"]) == 0
        assert capsys.readouterr().out == f"{Path('corpora/verse.txt')}\n"
        assert registry.build("verse", "corpora/verse.txt") == Path("corpora/verse.txt")
        after = os.stat("corpora/verse.txt")
        assert [after.st_ino, after.st_size, after.st_mtime_ns] == kept

    def test_the_default_file_is_rebuilt_when_it_differs(self, home, server):
        register(f"{server}/good")
        Path("corpora/verse.txt").write_bytes(TEXT[:-1])
        assert registry.build("verse").read_bytes() == TEXT

    def test_a_failure_leaves_the_old_file(self, home, server, capsys):
        register(f"{server}/other")
        Path("corpora/verse.txt").write_bytes(b"old")
        fails(capsys, 5, DIGEST)
        assert Path("corpora/verse.txt").read_bytes() == b"old"

    def test_a_named_file(self, home, server, capsys):
        register(f"{server}/good")
        assert registry.build("verse", "mine.txt").read_bytes() == TEXT
        assert not Path("corpora/verse.txt").exists()
        Path("mine.txt").write_bytes(b"mine")
        fails(capsys, 2, "--out", "mine.txt already exists", out=["--out", "mine.txt"])
        assert Path("mine.txt").read_bytes() == b"mine"

    @pytest.mark.parametrize(
        "out", ["missing/a.txt", "corpora", "", "corpora/corpora.toml/a", "a\0b"]
    )
    def test_a_name_that_cannot_be_used(self, home, server, capsys, out):
        register(f"{server}/good")
        fails(capsys, 2, "--out", out=["--out", out])

    def test_a_dangling_link_is_not_followed(self, home, server, capsys):
        register(f"{server}/good")
        Path("link.txt").symlink_to("elsewhere.txt")
        fails(capsys, 2, "already exists", out=["--out", "link.txt"])

    def test_a_target_that_cannot_be_written(self, home, server, capsys):
        register(f"{server}/good")
        Path("corpora/verse.txt").mkdir()
        fails(capsys, 5, "verse.txt", "cannot be written")
        fails(capsys, 5, "cannot be written", out=["--out", "v" * 300])

    def test_a_corpora_folder_that_cannot_be_made(self, home, capsys):
        Path("corpora").touch()
        assert main(["corpus", "build", "python-docs"]) == 5
        assert capsys.readouterr().err.startswith("textgen: error: corpora: cannot be written")
        assert files() == ["corpora"]


GOOD = (
    f"description = 'a'\nkind = 'url'\nurl = 'https://a.example/b'\nsha256 = '{DIGEST}'\nsize = 9\n"
)
WHEEL = "description = 'a'\nkind = 'wheel'\nwheel = 'a==1'\nmembers = '*'\n"


class TestFile:
    def test_a_new_table_is_a_new_corpus(self, home, server, capsys):
        register(f"{server}/good")
        more = f"\n[more]\n{GOOD}[last]\ndescription = 'the last'\nkind = 'python-docs'\n"
        write(Path("corpora/corpora.toml").read_text("utf-8") + more)
        assert main(["corpus", "list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(maxsplit=1) for line in lines] == [
            ["verse", "a verse"], ["more", "a"], ["last", "the last"],
        ]  # fmt: skip
        assert registry.registered_corpora()["more"].size == 9
        assert registry.build("last").stat().st_size > 300_000

    @pytest.mark.parametrize("name", ["shakespear", "../verse", "verse/../verse", "/etc/hosts", ""])
    def test_an_unknown_name(self, home, capsys, name):
        assert main(["corpus", "build", name]) == 2
        error = capsys.readouterr().err
        assert f"{name!r} is not one of" in error and error.count("\n") == 1
        assert name != "shakespear" or "did you mean shakespeare?" in error
        assert files() == []

    FAULTS = (
        ("not toml", "", ["is not TOML", "line 1"]),
        ("[verse]\na = " + "[" * 5000, "", ["is not TOML"]),
        ("verse = 1", "[verse]", ["is not a table"]),
        ("['../evil']\n" + GOOD, "[../evil]", ["the name '../evil' cannot be used"]),
        ("['a/b']\n" + GOOD, "[a/b]", ["name"]),
        ("['.hidden']\n" + GOOD, "[.hidden]", ["name"]),
        ('["a\\u0000"]\n' + GOOD, "[a", ["name"]),
        ("['']\n" + GOOD, "[]", ["name"]),
        ("[verse]\ndescription = 'a'", "[verse]", ["has no kind", "python-docs"]),
        ("[verse]\nkind = 'whell'", "[verse] kind", ["did you mean wheel?"]),
        ("[verse]\nkind = ['url']", "[verse] kind", ["is not one of"]),
        ("[verse]\nsizes = 1\n" + GOOD, "[verse] key", ["'sizes'", "did you mean size?"]),
        ("[verse]\nname = 'a'\n" + GOOD, "[verse] key", ["'name'"]),
        ("[verse]\n" + GOOD.replace("size = 9", ""), "[verse]", ["has no size"]),
        ("[verse]\n" + GOOD.replace("size = 9", "size = '9'"), "[verse]", ["size"]),
        ("[verse]\n" + GOOD.replace("size = 9", "size = true"), "[verse]", ["size 'True'"]),
        ("[verse]\n" + GOOD.replace("size = 9", "size = 0"), "[verse]", ["size '0'"]),
        ("[verse]\n" + GOOD.replace(DIGEST, DIGEST[:-1]), "[verse]", ["sha256", "64"]),
        ("[verse]\n" + GOOD.replace("'a'", "1"), "[verse]", ["description"]),
        ("[verse]\n" + GOOD.replace("'a'", '"\\u001b[2J"'), "[verse]", ["description"]),
        ("[verse]\n" + GOOD.replace("https", "http"), "[verse]", ["url", "https"]),
        ("[verse]\n" + GOOD.replace("https", "file"), "[verse]", ["url", "https"]),
        ("[verse]\n" + GOOD.replace("'https://a.example/b'", "[]"), "[verse]", ["url '[]'"]),
        ("[verse]\n" + GOOD.replace("'https", "['http").replace("/b'", "/b']"), "[verse]", ["url"]),
        ("[verse]\n" + GOOD.replace("size = 9", "size = [9]"), "[verse]", ["size '[9]'"]),
        ("[verse]\n" + WHEEL.replace("a==1", "--index-url=x"), "[verse]", ["NAME==VERSION"]),
        ("[verse]\n" + WHEEL.replace("a==1", "a"), "[verse]", ["NAME==VERSION"]),
        ("[verse]\n" + WHEEL, "[verse]", ["has no wheel_sha256"]),
    )  # fmt: skip

    @pytest.mark.parametrize("text, table, words", FAULTS)
    def test_a_fault_names_the_file_and_the_table(self, home, capsys, text, table, words):
        write(text)
        fails(capsys, 2, str(Path("corpora/corpora.toml")), table, *words)
        with pytest.raises(UsageError):
            registry.registered_corpora()

    def test_a_registry_that_is_not_utf8(self, home, capsys):
        write("")
        Path("corpora/corpora.toml").write_bytes("# café".encode("latin-1"))
        fails(capsys, 2, "is not TOML")

    def test_without_a_registry_of_its_own_a_folder_has_ours(self, home, monkeypatch):
        ours = registry.registered_corpora()
        assert {"shakespeare", "tiny-shakespeare", "python-docs"} <= set(ours)
        assert ours["tiny-shakespeare"].size == 1_115_394

    def test_the_installed_registry_comes_before_the_checkout(self, home, monkeypatch):
        monkeypatch.setattr(
            "textgen.files.assets.__file__", str(home / "site/textgen/files/assets.py")
        )
        with pytest.raises(MachineError, match="install textgen-rnn again"):
            registry.registered_corpora()
        for folder, name in (("site/corpora", "checkout"), ("site/textgen/assets", "installed")):
            Path(folder).mkdir(parents=True)
            Path(folder, "corpora.toml").write_text(f"[{name}]\n{GOOD}", "utf-8")
            assert list(registry.registered_corpora()) == [name]


def register_wheel(wheel_sha256, text="Verse\n\nROMEO:\nBut, soft!\n"):
    digest = hashlib.sha256(text.encode()).hexdigest()
    write(
        "[verse]\ndescription = 'a verse'\nkind = 'wheel'\nwheel = 'verse==1.0'\n"
        f"wheel_sha256 = '{wheel_sha256}'\nmembers = 'verse/*.md'\nsha256 = '{digest}'\n"
    )


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A wheel `verse` 1.0 in a folder that is all that pip may look at."""
    members = {
        "verse/__init__.py": "raise SystemExit('the code of a wheel must not run')",
        "verse/play.md": "# Verse\n\n**ROMEO**  \nBut, _soft_!  \n",
        "verse-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: verse\nVersion: 1.0\n"
        "Requires-Dist: no-such-package\n",
        "verse-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "verse-1.0.dist-info/RECORD": "",
    }
    path = tmp_path / "wheels/verse-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


needs_pip = pytest.mark.skipif(not importlib.util.find_spec("pip"), reason="pip is not installed")


class TestWheel:
    @pytest.mark.slow
    @needs_pip
    def test_pip_fetches_and_nothing_of_the_wheel_runs(self, home, wheels, capsys):
        Path("pip.py").write_text("raise SystemExit('not pip')", "utf-8")
        register_wheel(hashlib.sha256(wheels.read_bytes()).hexdigest())
        assert main(["corpus", "build", "verse"]) == 0
        assert Path("corpora/verse.txt").read_text("utf-8") == "Verse\n\nROMEO:\nBut, soft!\n"
        assert files() == ["corpora/corpora.toml", "corpora/verse.txt", "pip.py"]

    @pytest.mark.slow
    @needs_pip
    def test_a_wheel_that_pip_does_not_find(self, home, wheels, capsys):
        register_wheel("0" * 64)
        wheels.unlink()
        fails(capsys, 5, "verse==1.0", "No matching distribution", "check the network")

    @pytest.fixture
    def fetched(self, wheels, monkeypatch):
        monkeypatch.setattr(download, "download_wheel", lambda requirement, folder: wheels)
        return hashlib.sha256(wheels.read_bytes()).hexdigest()

    def test_another_wheel(self, home, fetched, capsys):
        register_wheel("0" * 64)
        fails(capsys, 5, "verse-1.0", fetched, "0" * 64, "corpora.toml")

    def test_another_text(self, home, fetched, capsys):
        register_wheel(fetched, "Verse\n")
        fails(capsys, 5, "verse: has the sha256", hashlib.sha256(b"Verse\n").hexdigest())

    @pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
    @pytest.mark.parametrize(
        "script, words",
        [
            ("echo /usr/bin/python: No module named pip >&2; exit 1", ["No module named pip"]),
            ("printf 'ERROR: no\\nthen more\\n' >&2; exit 1", ["ERROR: no ", "check the network"]),
            ("exit 0", ["no wheel arrived"]),
            ("exec sleep 60", ["timed out"]),
        ],
    )
    def test_pip_is_missing_or_fails(self, home, capsys, monkeypatch, script, words):
        python = home / "python"
        python.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setattr(download, "PIP_TIMEOUT", 0.5)
        register_wheel("0" * 64)
        fails(capsys, 5, "verse==1.0", *words)

    def test_no_python_to_run_pip_with(self, home, capsys, monkeypatch):
        monkeypatch.setattr(sys, "executable", str(home / "missing"))
        register_wheel("0" * 64)
        fails(capsys, 5, "verse==1.0", "pip cannot be run")


@pytest.mark.skipif(os.environ.get("TEXTGEN_NETWORK") != "1", reason="TEXTGEN_NETWORK=1 is not set")
class TestNetwork:
    def test_shakespeare_is_plays_without_marks(self, home):
        text = registry.build("shakespeare").read_text("utf-8")
        assert text.startswith("A Midsummer Night's Dream\n\nACT I\n\nSCENE I. Athens.")
        assert not set("*_#\\[]<>|`") & set(text)
        assert text.count("\nROMEO:\n") == 163  # as many as the wheel has of **ROMEO**
        assert "\n\nHAMLET:\nTo be, or not to be: that is the question:\n" in text
        assert "\n\n\n" not in text and " \n" not in text

    def test_tiny_shakespeare(self, home):
        host = urllib.parse.urlsplit(
            registry.registered_corpora()["tiny-shakespeare"].url[0]
        ).hostname
        try:
            socket.create_connection((host, 443), 10).close()
        except OSError as error:
            pytest.skip(f"{host} cannot be reached: {error}")
        assert corpus.read(registry.build("tiny-shakespeare")).size == 1_115_394
