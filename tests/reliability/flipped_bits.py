"""Every bit of a small checkpoint, flipped alone: a file that says something else is refused.

PYTHONPATH=tests python tests/reliability/flipped_bits.py
"""

import json
import tempfile
from pathlib import Path

from factories import full_checkpoint, resume_state

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import CheckpointError


def run(every=1, report=print):
    """Flip every n-th bit; return how many were tried, and in how many cases it was noticed."""
    row = {"tried": 0, "clean": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.safetensors"
        full_checkpoint(resume=resume_state()).save(path)
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), every):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            row["tried"] += 1
            try:
                Checkpoint.load(path)
            except CheckpointError:
                row["clean"] += 1
            else:
                report(f"bit {bit % 8} of byte {bit // 8} was flipped, and nobody noticed")
    return {"a bit of a checkpoint flipped": row}


if __name__ == "__main__":
    print(json.dumps(run()))
