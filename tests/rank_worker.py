"""What the processes of test_ranks.py do, started by torchrun: rank_worker.py TASK FOLDER.

FOLDER holds corpus.txt; each rank may leave a file of its own there for the test to read.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

import textgen
from textgen.cli.app import main
from textgen.config.model import ModelConfig
from textgen.data.streams import RecordStreams, Streams
from textgen.nn.char_rnn import CharRNN
from textgen.training.ranks import Wish, joined_ranks, started_ranks
from textgen.training.trainer import Trainer

SIZES = {"hidden": 8, "embedding": 4, "batch": 4, "window": 8, "dropout": 0.2, "threads": 1}
STEPS = 8
RANK = started_ranks().rank


def ids(records):
    """Ids 1 to 5 in a fixed disorder, framed by 0 where they are records of unequal lengths."""
    drawn = np.random.default_rng(1).integers(1, 6, 400).astype(np.uint8)
    if records:
        drawn[np.cumsum(np.random.default_rng(2).integers(2, 19, 30))] = 0
        drawn[[0, -1]] = 0
    return drawn


class FakeEvent:
    """What tells that a GPU has come to it; the CPU always has."""

    def record(self):
        """Do nothing."""

    def synchronize(self):
        """Wait for nothing."""


def make_trainer(cell, layers, records, as_on_gpu, ranks):
    """A trainer of one rank, without dropout, so that all numbers of ranks compute the same.

    as_on_gpu: whether its updates are those of a GPU.
    """
    model = CharRNN(ModelConfig(vocab=6, cell=cell, layers=layers, hidden=8, embedding=4), seed=0)
    streams = RecordStreams(ids(True), 0, 5, 7, 0) if records else Streams(ids(False), 5, 7, 0)
    return Trainer(model.double(), streams, seed=0, ranks=ranks, never_waits=as_on_gpu)


def updates(folder):
    """Train networks on all ranks and let rank 0 write what came of them."""
    torch.cuda.Event, torch.Tensor.pin_memory = FakeEvent, lambda tensor: tensor
    for name, *sizes in CASES:
        with joined_ranks() as ranks:
            trainer = make_trainer(*sizes, ranks)
            nats = [trainer.update(0.02, lambda: Wish(0, False, 7)) for _ in range(STEPS)]
            arrays = {**trainer.model.export(), **trainer.snapshot(), "nats": np.array(nats)}
            again = make_trainer(*sizes, ranks)
            again.restore(trainer.snapshot(), STEPS)
            assert all(
                np.array_equal(a, again.snapshot()[n]) for n, a in trainer.snapshot().items()
            )
            assert trainer.wish == (0, False, 7)
            norms = ranks.agree(trainer.grad_norm)
            assert norms == trainer.grad_norm, "all ranks clip alike"
            words = ranks.agree({"said by": ranks.rank})
            assert words == {"said by": 0}
        if RANK == 0:
            np.savez(folder / f"{name}.npz", **arrays)


CASES = [
    ("text", "gru", 2, False, False),
    ("records", "lstm", 1, True, False),
    ("gpu", "gru", 1, False, True),
]


def stop_on_last_rank(after):
    """What stops a run after so many steps, asked for by one rank alone."""
    steps = iter(range(after - 1))
    is_last = started_ranks().size == RANK + 1
    return lambda: None if next(steps, None) is not None else (signal.SIGTERM if is_last else None)


def before_update(step, what):
    """Let something happen on rank 1 before an update of every run from here on."""
    update = Trainer.update

    def changed(self, *arguments):
        if RANK == 1 and self.step == step:
            what(self)
        return update(self, *arguments)

    Trainer.update = changed


def poison(trainer):
    """Let a weight be no number, on this rank alone."""
    with torch.no_grad():
        trainer.model.head.bias[0] = np.nan


def run_out_of_memory(trainer):
    """Say what torch says where there is no more memory, on this rank alone."""
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def error_of(*arguments, **options):
    """Train, and return the error that ends it, and whether another rank tells it."""
    try:
        textgen.train(*arguments, steps=STEPS, **SIZES, **options)
    except textgen.TextgenError as error:
        return [error.exit_code, str(error.problem), error.is_told]
    return None


def runs(folder):
    """Train to the end without and with a stop, and into errors; write what came of it."""
    corpus = folder / "corpus.txt"
    whole = textgen.train(corpus, out=str(folder / "whole"), steps=STEPS, **SIZES)
    stopped = error_of(corpus, out=str(folder / "stopped"), stop=stop_on_last_rank(3))
    resumed = textgen.train(resume=folder / "stopped")
    missing = error_of(folder / "missing.txt", out=str(folder / "missing"))
    before_update(5, poison)
    poisoned = error_of(corpus, out=str(folder / "poisoned"))
    before_update(2, run_out_of_memory)
    full = error_of(corpus, out=str(folder / "full"))
    told = {"stopped": stopped, "missing": missing, "poisoned": poisoned, "full": full}
    told["figures"] = [whole.val_nats, resumed.val_nats]
    (folder / f"rank-{RANK}.json").write_text(json.dumps(told))


def together(folder):
    """All that three processes are asked to do in one launch, as starting them takes longest."""
    updates(folder)
    runs(folder)


def die(trainer):
    """End this process as a lack of memory does; once restarted, go on."""
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)


def restarted(folder):
    """Lose rank 1 at a step; once restarted, also train a run that nothing happens to."""
    before_update(5, die)
    sizes = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    for out in ("run", "other"):
        words = [str(folder / "corpus.txt"), "--out", str(folder / out), "--steps", str(STEPS)]
        if code := main(["train", *words, *sizes]):
            sys.exit(code)


if __name__ == "__main__":
    {"together": together, "restarted": restarted}[sys.argv[1]](Path(sys.argv[2]))
