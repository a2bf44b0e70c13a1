"""The wheel that users install, unpacked into an empty folder and used there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="building a wheel needs the extra dev")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder on the module path that holds nothing but the contents of a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def textgen(installed, tmp_path):
    """Run the installed command line in an empty folder."""

    def call(*words):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, "-m", "textgen", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return call


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(installed):
    tops = {path.name for path in installed.iterdir()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"textgen"}
    assert (installed / "textgen/assets/demo.safetensors").stat().st_size < 4_000_000
    assert (installed / "textgen/assets/corpora.toml").exists()
    assert (installed / "textgen/py.typed").exists()
    assert (installed / "textgen/analysis/templates/page.html").exists()
    assert (installed / "textgen/export/templates/modeling_textgen.py").exists()


@pytest.mark.slow
def test_the_demo_writes_text_from_an_empty_folder(textgen, installed):
    done = textgen("sample", "--prime", "ROMEO:\\n", "--length", 300, "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr and "demo.safetensors" in done.stderr
    assert len(done.stdout) == 307
    words = done.stdout.lower().split()
    common = {"the", "and", "to", "of", "i", "you", "my", "a", "that", "in", "is", "not", "me"}
    assert sum(word.strip(".,;:!?") in common for word in words) > len(words) / 8


def test_corpora_are_listed_from_an_empty_folder(textgen):
    done = textgen("corpus", "list")
    assert done.returncode == 0 and "shakespeare" in done.stdout


@pytest.mark.slow
def test_training_works_from_an_empty_folder(textgen, tmp_path):
    (tmp_path / "own.txt").write_text("all work and no play makes jack a dull boy\n" * 30)
    sizes = ["--steps", 5, "--hidden", 8, "--threads", 1]
    assert textgen("train", "own.txt", *sizes).returncode == 0
    done = textgen("sample", "--length", 10)
    assert done.returncode == 0 and "checkpoints/own/best.safetensors" in done.stderr


IMPORTED = """
import sys, textgen.cli
code = textgen.cli.main(sys.argv[1:])
print(*sorted({"numpy", "torch"} & sys.modules.keys()), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "imported"),
    [
        (["sample", "--prime", "The ", "--length", "200"], ["numpy"]),
        (["--help"], []),
        (["sample", "--help"], []),
    ],
    ids=["sample", "help", "sample-help"],
)
def test_what_is_slow_to_import_is_imported_where_it_is_needed(
    installed, tmp_path, words, imported
):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr.splitlines()[-1].split() == imported
