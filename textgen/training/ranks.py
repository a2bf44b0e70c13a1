"""The processes that train one network together, as torchrun starts them; mostly there is but one.

Each of N processes, a rank, owns an equal share of the streams with their states, and computes the
gradient of its share. torch's DistributedDataParallel adds the gradients up while they are
computed, so that every rank makes the same update of the same weights. Rank 0 decides whatever
depends on a clock, measures, speaks and writes; the others learn from it.

    >>> with joined_ranks() as ranks:
    ...     recipe = ranks.agree(recipe)
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.nn.parallel import DistributedDataParallel

from textgen.errors import MachineError, TextgenError, UsageError, counted

# While rank 0 measures or weighs, the others wait for it; that one of them is gone shows at once.
MOST_WAITING = timedelta(days=30)
# For all processes to appear.
MOST_STARTING = timedelta(minutes=10)
# Seconds in which a dead process is looked for by its number.
LOOKING = 2.0
# One bucket holds all gradients, so that a resumed run adds them up in the same order.
BUCKET_MEGABYTES = 1 << 20
# What torch says where another process is gone.
GONE = ("gloo", "Connection", "peer", "NCCL", "Broken pipe", "store")
# torch ends a group's threads when nobody refers to it any more, and waits for them while it holds
# Python's lock, which a thread that has just sent something may need: both then wait for ever. So
# the lock is let go of for so many seconds before, and a group that is of no more use is kept.
LEAVING = 0.2
KEPT_GROUPS: list[object] = []
# Of this process; all ranks begin them in the same order.
TRAININGS = itertools.count()


class Wish(NamedTuple):
    """What a rank asks of all of them at a step.

    Attributes:
        signal: that says to stop, 0 for none.
        is_due: whether time is up for what comes next; that of rank 0 counts.
        steps: how many the plan has; that of rank 0 counts.
    """

    signal: int = 0
    is_due: bool = False
    steps: int = 0


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together.

    Attributes:
        rank: its number.
        size: how many there are.
        local_rank: its number on its machine.
        local_size: how many there are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the rank that decides, measures, speaks and writes."""
        return self.rank == 0

    def share(self, number: int) -> slice:
        """Return which of a number of rows are this rank's, one after the other."""
        return slice(
            self.rank * number // self.size,
            (self.rank + 1) * number // self.size,
        )

    def require_rows(self, batch: int) -> None:
        """Raise UsageError where there are fewer streams than ranks."""
        if batch < self.size:
            problem = f"{counted(batch, 'stream')} cannot be shared by {self.size} processes"
            fix = "start fewer processes, or give more streams or a longer text"
            raise UsageError("--batch", problem, fix)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what to call in training: the model, whose gradients become those of all ranks.

        They are the mean over ranks, and all weights those of rank 0 at first.
        """
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(
            model,
            device_ids=None if device.type == "cpu" else [device],
            bucket_cap_mb=BUCKET_MEGABYTES,
            gradient_as_bucket_view=True,
        )

    def exchange(self, nats: Tensor, wish: Wish) -> tuple[Tensor, Tensor]:
        """Add up the nats of all ranks, and collect what they wish: in one all-reduce.

        Args:
            nats: of this rank's streams.
            wish: of this rank.

        Returns:
            The sum, and what `read_wish` reads.
        """
        signals = [wish.signal if rank == self.rank else 0 for rank in range(self.size)]
        asked = [wish.is_due, wish.steps] if self.leads else [0, 0]
        message = torch.tensor([0, *asked, *signals], dtype=torch.float64)
        message = message.to(nats.device, non_blocking=True)
        message[0] = nats
        if self.size > 1:
            dist.all_reduce(message)
        return message[0], message[1:]

    def gather_rows(self, part: Tensor, number: int) -> Tensor:
        """Return all rows of a tensor of which each rank has its share.

        Args:
            part: (share of number, ...) this rank's.
            number: of all rows.
        """
        if self.size == 1:
            return part
        most = -(-number // self.size)
        padded = part.new_zeros(most, *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        sizes = [_rows(Ranks(rank, self.size).share(number)) for rank in range(self.size)]
        return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])

    def agree(self, value: Any) -> Any:
        """Return what rank 0 gives, which JSON can hold; the others wait for it."""
        if self.size == 1:
            return value
        data = json.dumps(value).encode() if self.leads else b""
        length = torch.tensor([len(data)])
        dist.broadcast(length, src=0)
        message = torch.zeros(int(length), dtype=torch.uint8)
        if self.leads:
            message = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(message, src=0)
        return json.loads(message.numpy().tobytes())

    @contextlib.contextmanager
    def one_first(self, is_first: bool) -> Iterator[None]:
        """Let the ranks for which is_first holds do what is inside before the others do."""
        if not is_first:
            self.agree(None)
        yield
        if is_first:
            self.agree(None)


def read_wish(wishes: Tensor) -> Wish:
    """Return what all ranks together wish, given what `Ranks.exchange` returns."""
    is_due, steps, *signals = wishes.tolist()
    return Wish(int(max(signals)), bool(is_due), int(steps))


def _rows(share: slice) -> int:
    return int(share.stop - share.start)


ALONE = Ranks()


def started_ranks() -> Ranks:
    """Return which process of how many this is, as torchrun says it in the environment."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
    except (KeyError, ValueError):
        return ALONE
    return Ranks(rank, size, local_rank, local_size) if size > 1 else ALONE


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started, inside a `with`.

    An error is told by the process that meets it first; for the others it is told then. A process
    that vanishes is an error for the others.

    Raises:
        MachineError: they do not find each other, or one of them vanishes.
    """
    ranks = started_ranks()
    if ranks.size == 1:
        yield ranks
        return
    board = Board.open(ranks)
    try:
        _join(ranks, board)
        yield ranks
        KEPT_GROUPS.append(dist.group.WORLD)
    except TextgenError as error:
        board.tell(error)
        raise
    except RuntimeError as error:
        if not any(word in str(error) for word in GONE):
            board.tell(MachineError(f"process {ranks.rank}", str(error), "see above"))
            raise
        lost = board.error_of_lost()
        board.tell(lost)
        raise lost from error
    finally:
        if dist.is_initialized():
            time.sleep(LEAVING)
            # After an error nobody keeps the group: its connections close, which ends the others.
            dist.destroy_process_group()


def _join(ranks: Ranks, board: Board) -> None:
    """Connect this process with the others: on one machine by its loopback interface alone."""
    if ranks.size == ranks.local_size and os.path.exists("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore("ranks", board.store),
        rank=ranks.rank,
        world_size=ranks.size,
        timeout=MOST_WAITING,
    )


@dataclass(frozen=True)
class Board:
    """Where the ranks leave each other notes, which outlives each of them.

    Attributes:
        store: of torch: keys and values that all processes share.
        ranks: whose it is.
    """

    store: Store
    ranks: Ranks

    @classmethod
    def open(cls, ranks: Ranks) -> Board:
        """Return the board at the address that torchrun says, with this process noted on it."""
        address = os.environ.get("MASTER_ADDR", "127.0.0.1")
        port = int(os.environ.get("MASTER_PORT", "29500"))
        listener = None
        # torchrun keeps a store of its own; other launchers leave that to rank 0.
        has_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        try:
            if not has_store and ranks.size == ranks.local_size:
                # Nobody from outside shall reach it, as it knows no passwords.
                address = "127.0.0.1"
                listener = socket.create_server((address, port)).detach() if ranks.leads else None
            store = dist.TCPStore(  # type: ignore[attr-defined]
                address,
                port,
                is_master=ranks.leads and not has_store,
                timeout=MOST_STARTING,
                wait_for_workers=False,
                master_listen_fd=listener,
            )
        except (RuntimeError, OSError) as error:
            problem = f"process {ranks.rank} cannot reach {address}:{port}"
            raise MachineError("torchrun", problem, "check MASTER_ADDR and MASTER_PORT") from error
        # An earlier training of this process, or one before a restart, left notes of its own.
        attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{next(TRAININGS)}"
        board = cls(PrefixStore(f"textgen-{attempt}", store), ranks)
        own = json.dumps([socket.gethostname(), os.getpid()])
        board.store.set(f"process-{ranks.rank}", own)
        return board

    def tell(self, error: TextgenError) -> None:
        """Note an error, and in it whether another process has met one before and tells that."""
        own = json.dumps([self.ranks.rank, error.exit_code, error.subject, error.problem])
        try:
            error.is_told = self.store.compare_set("error", "", own).decode() != own
        # The store is gone with the process that had it.
        except RuntimeError:
            error.is_told = False

    def error_of_lost(self) -> MachineError:
        """Return the error for a process that has left: the one that it met, or that it is dead.

        Its number is named where that can be seen.
        """
        fix = "what was saved can be resumed with --resume, by as many processes"
        end = time.monotonic() + LOOKING
        while time.monotonic() < end:
            if (told := self._told()) is not None:
                rank, exit_code, subject, problem = told
                error = MachineError(f"process {rank}", f"{subject}: {problem}", fix)
                error.exit_code = exit_code
                return error
            for rank in range(self.ranks.size):
                if self._is_dead(rank):
                    return MachineError(f"process {rank}", "ended before its time", fix)
            time.sleep(0.05)
        return MachineError("torchrun", "a process cannot be reached any more", fix)

    def _told(self) -> list[Any] | None:
        """Return what `tell` has noted first, None where nothing was."""
        try:
            return json.loads(self.store.get("error")) if self.store.check(["error"]) else None
        except RuntimeError:
            return None

    def _is_dead(self, rank: int) -> bool:
        """Tell whether a process of this machine is gone."""
        name = f"process-{rank}"
        try:
            if not self.store.check([name]):
                return False
            host, number = json.loads(self.store.get(name))
            if host == socket.gethostname():
                os.kill(number, 0)
        except ProcessLookupError:
            return True
        # The store is gone with the process that had it.
        except (RuntimeError, OSError):
            return False
        return False


def resume_command(folder: Path, number: int) -> str:
    """Return the command that resumes a run with a number of processes."""
    command = f"textgen train --resume {folder}"
    return command if number == 1 else f"torchrun --nproc-per-node {number} -m {command}"


def job_name() -> str | None:
    """Return a name for what torchrun was started for, the same after it has restarted it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return f"{os.environ['TORCHELASTIC_RUN_ID']} {socket.gethostname()} {os.getppid()}"
