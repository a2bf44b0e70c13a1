"""What ships with textgen is found where it was installed, and in a checkout."""

from pathlib import Path

import pytest

from textgen.files import assets


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder to stand in, with an installed package in another one."""
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "site/textgen/files/assets.py"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("here")
    return path


def test_the_current_folder_comes_before_what_was_installed_and_that_before_the_checkout(home):
    assert assets.shipped(Path("corpora"), "corpora.toml") is None
    for path in ("site/corpora", "site/textgen/assets", "home/corpora"):
        expected = put(home / path / "corpora.toml")
        found = assets.shipped(Path("corpora"), "corpora.toml")
        assert found is not None and found.resolve() == expected.resolve()


def test_a_folder_of_that_name_is_no_file(home):
    (home / "home/corpora/corpora.toml").mkdir(parents=True)
    assert assets.shipped(Path("corpora"), "corpora.toml") is None
