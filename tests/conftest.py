"""Settings of the whole suite: one thread, repeatable examples."""

import gc
import os
import signal
import sys

# Small products are slower with threads, and the suite must not depend on what else runs here.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# What is started in the background of a shell ignores Ctrl-C, under nohup hanging up too; then so
# would all that tests start.
for name in ("SIGINT", "SIGHUP", "SIGTERM"):
    number = getattr(signal, name, None)
    if number and signal.getsignal(number) == signal.SIG_IGN:
        is_ctrl_c = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402 - torch, which its plugins may load, reads these

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("fast", settings.get_profile("suite"), max_examples=20)


def pytest_configure(config):
    """Fewer examples where the slow tests are left out: the whole suite tries them all."""
    settings.load_profile("fast" if config.getoption("markexpr") == "not slow" else "suite")


def pytest_collection_finish():
    """Keep the garbage collector off the tests themselves and torch, which stay to the end."""
    gc.freeze()


@pytest.fixture
def small(tmp_path):
    """The path of a small checkpoint with every kind of content."""
    from factories import full_checkpoint

    path = tmp_path / "model.safetensors"
    full_checkpoint().save(path)
    assert path.stat().st_size < 5000
    return path


@pytest.fixture
def one_core(monkeypatch):
    """Evaluation on one thread: on a busy machine several of them are slower by far."""
    monkeypatch.setattr("textgen.evaluation.evaluator.available_cores", lambda: 1)


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window; tests that need it skip where it is missing."""
    from browser import start_browser

    browser = start_browser()
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def transformers(tmp_path_factory):
    """Hugging Face's library, with a folder of the tests for the code that models bring along."""
    library = pytest.importorskip("transformers", reason="transformers is in the extra oracle")
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("modules"))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", folder)
        # It adds the folder.
        patch.setattr(sys, "path", [*sys.path])
        yield library
