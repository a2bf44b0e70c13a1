"""The documentation says what the code does."""

import re
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest

import textgen
from textgen.cli.app import main, make_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("corpora/*.md")])
README = (ROOT / "README.md").read_text("utf-8")


def blocks(page, language):
    """Return the fenced code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)


def pages_with(language):
    return [page for page in PAGES if blocks(page, language)]


def maker(page):
    """Return the script that makes a page, as a dictionary of what it defines."""
    return runpy.run_path(str(ROOT / "docs" / f"make_{page}.py"))


@pytest.mark.parametrize("page", ["api", "cli", "sampling"])
def test_page_is_what_the_code_says(page):
    written = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    assert written == maker(page)["render"](), f"run: python docs/make_{page}.py"


def test_the_reference_names_every_public_name():
    page = maker("api")["render"]()
    headings = set(re.findall(r"^### (\w+)$", page, re.M))
    assert headings == set(textgen.__all__) - {"__version__"}


def test_a_docstring_becomes_markdown():
    def example(length: int, *rows: int, unit: str = "nats") -> float:
        """Return <unk>'s cost.

        Args:
            length: how long,
                in characters.
            rows: which ones.

        Returns:
            The cost.

            >>> example(1)
            0.0
        """

    made = maker("api")["entry"]("example", example)
    assert "example(length: int, *rows: int, unit: str = 'nats') -> float" in made
    assert "Return \\<unk>'s cost.\n" in made
    assert "- `length`: how long, in characters.\n- `rows`: which ones.\n" in made
    assert "**Returns:** The cost.\n" in made
    assert "```py\n>>> example(1)\n0.0\n```\n" in made


def anchors(page):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
        if "://" not in target:
            path = (page.parent / target) if target else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), anchor


def test_files_that_contributors_are_sent_to_exist():
    paths = re.findall(r"`(\w+/[\w/]+\.\w+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "textgen" / path).exists(), path


@pytest.mark.parametrize("page", pages_with("sh"), ids=lambda page: page.name)
def test_commands_of_a_page_are_understood(page):
    for line in "".join(blocks(page, "sh")).replace("\\\n", "").splitlines():
        for command in line.split(" | "):
            if command.startswith("textgen "):
                make_parser().parse_args(shlex.split(command, comments=True)[1:])


@pytest.fixture(scope="module")
def folder_with_a_run(tmp_path_factory):
    """A folder that holds a text and a run in checkpoints/corpus."""
    folder = tmp_path_factory.mktemp("docs")
    text = "The quick brown fox jumps over the lazy dog.\nROMEO: and JULIET:\n" * 40
    (folder / "corpus.txt").write_text(text)
    options = {"steps": 3, "hidden": 8, "batch": 2, "window": 8, "threads": 1}
    run = str(folder / "checkpoints" / "corpus")
    textgen.train(folder / "corpus.txt", out=run, **options)
    return folder


@pytest.fixture
def exported(folder_with_a_run, transformers):
    """The run exported as docs/export.md says."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="exported models are run with the extra dev")
    run = str(folder_with_a_run / "checkpoints" / "corpus")
    for target, name in (("onnx", "model.onnx"), ("huggingface", "model")):
        assert main(["export", run, "--to", target, "--out", str(folder_with_a_run / name)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.name)
def test_python_of_a_page_runs(page, folder_with_a_run, monkeypatch, request):
    if page.name == "export.md":
        request.getfixturevalue("exported")
    monkeypatch.chdir(folder_with_a_run)
    for block in blocks(page, "python"):
        quick = re.sub(r"minutes=\d+", "steps=2, hidden=8, threads=1", block)
        exec(compile(quick, page.name, "exec"), {})


def test_changelog_and_package_agree_on_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[(\d\S*)\]", changelog, re.M)[1] == textgen.__version__


def test_every_dependency_is_explained():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    names = re.search(r"^dependencies = \[(.*?)\]", project, re.S | re.M)[1]
    section = README.partition("## Dependencies")[2]
    for name in re.findall(r'"([a-z0-9]+)', names):
        assert f"**{name}**" in section, name


def test_the_project_holds_no_path_of_a_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(rb"/(root|home|work)/[a-z]")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.exists() and path.suffix != ".safetensors":
            assert not pattern.search(path.read_bytes()), name


def test_the_page_of_benchmarks_is_made_from_their_results():
    made = "".join(runpy.run_path(str(ROOT / "benchmarks" / "report.py"))["sections"]())
    assert (ROOT / "docs" / "benchmarks.md").read_text("utf-8") == made
