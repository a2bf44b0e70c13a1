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


def make_trainer(cell, layers, records, ranks):
    """A trainer of one rank, without dropout, so that all numbers of ranks compute the same."""
    model = CharRNN(ModelConfig(vocab=6, cell=cell, layers=layers, hidden=8, embedding=4), seed=0)
    streams = RecordStreams(ids(True), 0, 5, 7, 0) if records else Streams(ids(False), 5, 7, 0)
    return Trainer(model.double(), streams, seed=0, ranks=ranks)


def updates(folder):
    """Train networks on all ranks and let rank 0 write what came of them."""
    for name, cell, layers, records in CASES:
        with joined_ranks() as ranks:
            trainer = make_trainer(cell, layers, records, ranks)
            nats = [trainer.update(0.02, lambda: Wish(0, False, 7)) for _ in range(STEPS)]
            arrays = {**trainer.model.export(), **trainer.snapshot(), "nats": np.array(nats)}
            again = make_trainer(cell, layers, records, ranks)
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
    ("text", "gru", 2, False),
    ("records", "lstm", 1, True),
]


def stop_on_last_rank(after):
    """What stops a run after so many steps, asked for by one rank alone."""
    steps = iter(range(after - 1))
    is_last = started_ranks().size == RANK + 1
    return lambda: None if next(steps, None) is not None else (signal.SIGTERM if is_last else None)


def resume(folder):
    """Train to the end without and with a stop."""
    corpus = folder / "corpus.txt"
    whole = textgen.train(corpus, out=str(folder / "whole"), steps=STEPS, **SIZES)
    try:
        stop = stop_on_last_rank(3)
        textgen.train(corpus, out=str(folder / "stopped"), steps=STEPS, stop=stop, **SIZES)
    except textgen.Interrupted as error:
        (folder / f"interrupted-{RANK}").write_text(f"{error.exit_code} {error.problem}")
    resumed = textgen.train(resume=folder / "stopped")
    (folder / f"figures-{RANK}").write_text(json.dumps([whole.val_nats, resumed.val_nats]))


def before_update(step, what):
    """Let something happen on rank 1 before an update."""
    update = Trainer.update

    def changed(self, *arguments):
        if RANK == 1 and self.step == step:
            what(self)
        return update(self, *arguments)

    Trainer.update = changed


def command(folder, *more):
    """Run the command line; return its exit code."""
    sizes = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    words = [str(folder / "corpus.txt"), "--out", str(folder / "run"), "--steps", str(STEPS)]
    return main(["train", *words, *sizes, *more])


def die(trainer):
    """End this process as a lack of memory does; once restarted, go on."""
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)


def poison(trainer):
    """Let a weight be no number, on this rank alone."""
    with torch.no_grad():
        trainer.model.head.bias[0] = np.nan


def killed(folder):
    """Lose rank 1 at a step."""
    before_update(5, die)
    return command(folder)


def poisoned(folder):
    """Let rank 1 meet a loss that is not finite."""
    before_update(5, poison)
    return command(folder)


def missing(folder):
    """Train on a text that is not there."""
    (folder / "corpus.txt").unlink(missing_ok=True)
    return command(folder)


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](Path(sys.argv[2])))
