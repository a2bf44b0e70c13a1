"""Attacks on the command line through what surrounds it, each as a process of its own.

Streams that are full, closed or left by their reader; places that cannot be written; options that
would be ignored; texts that are none; libraries that are missing; a lack of memory.

    PYTHONPATH=tests python tests/reliability/surroundings.py
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from factories import full_checkpoint, learn_tokenizer, mixed_checkpoint, resume_state

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen.\n" * 12
FULL, CLOSED, LEFT = ">/dev/full", ">&-", "| head -c 10"
NO_SPACE = "standard output: cannot be written: no space left"
SMALL = "--hidden 4 --batch 2 --window 8 --threads 1 --steps 2 --init none"


class Attack(NamedTuple):
    """A command, how its streams are arranged in bash, its exit code, and what its error says."""

    words: str
    streams: str = ""
    code: int = 0
    error: str = ""


# What each command does with its output, apart from those that write files only.
PRINTING = (
    *("--help", "--version", "train --help", "corpus list", "corpus cache", "corpus report t.txt"),
    *("info model.safetensors", "info t.txt", "eval model t.txt --json", "score model t.txt"),
    *("score model t.txt --by line", "score model t.txt --json", "predict model"),
    *("predict model --json", "sample model --length 9", "sample model --length 9 --num 2"),
    *("novelty t.txt --corpus t.txt", "novelty t.txt --corpus t.txt --json"),
    *("inspect units model t.txt --out u.html", "share model --out s.html"),
)
LONG = (
    *("sample model --length 100000", "score model t.txt --by char"),
    "sample model --num 900 --length 500 --format jsonl",
)
WRITING = (
    ("sample model --length 5 --out", "out.txt"),
    ("sample model --num 2 --length 5 --out", "out.txt"),
    ("score model t.txt --html", "out.html"),
    ("share model --out", "out.html"),
    ("inspect units model t.txt --out", "out.html"),
    ("export model --to onnx --out", "out.onnx"),
)
BAD_TEXTS = {
    "empty": "empty",
    "invalid": "byte 0xff at offset 3",
    "utf16": "utf-16",
    "missing": "no such file",
    "folder": "no file below it matches",
}
IGNORED = (
    *("--length-penalty 1", "--mirostat-rate 0.5", "--dry-base 2", "--dry-allowed-length 5"),
    *("--look-back 50", "--novel-text t.txt", "--seed 3 --beams 2"),
    *("--interactive --format jsonl", "--logprobs"),
)
MISSING = {
    "numpy": "info model.safetensors",
    "torch": f"train t.txt {SMALL} --out no-torch",
    "tqdm": "sample model --num 2",
    "jinja2": "score model t.txt --html page.html",
}


def attacks() -> list[Attack]:
    """Return all attacks."""
    table = [Attack(words, FULL, 5, NO_SPACE) for words in PRINTING]
    table += [Attack(words, CLOSED) for words in PRINTING]
    table += [Attack(words, LEFT, 141) for words in LONG]
    table += [Attack(words, "2>/dev/full") for words in PRINTING[-6:]]
    table += [Attack(words, ">&- 2>&- <&-") for words in PRINTING[-6:]]
    table += [
        Attack(f"train t.txt {SMALL} --out full", FULL, 0),
        Attack(f"train t.txt {SMALL} --out left", "| head -c 1", 0),
        Attack(f"train t.txt {SMALL} --out closed", ">&- 2>&- <&-", 0),
        Attack("sample model --interactive --length 5", "<&-", 0),
        Attack("nothing", "2>&-", 2),
        Attack("info -", "<&-", 3, "stdin: empty"),
        Attack("score model -", "</dev/null", 3, "stdin: "),
    ]
    for words, name in WRITING:
        suffix = Path(name).suffix
        table += [
            Attack(f"{words} missing/{name}", "", 5, "no such file or directory"),
            Attack(f"{words} folder{suffix}", "", 5, "is a directory"),
            Attack(f"{words} {'n' * 300}{suffix}", "", 5, "file name too long"),
            Attack(f"{words} {'n' * 240}{suffix}"),
            Attack(f"{words} full{suffix}", "", 5, "no space left"),
            Attack(f"{words} $'a\\n\\e[31m\\xff{suffix}'"),
        ]
    for name, error in BAD_TEXTS.items():
        table += [
            Attack(f"{words} {name}", "", 3, error)
            for words in (f"train {SMALL} --out new", "eval model", "score model", "corpus report")
        ]
    table += [Attack(f"sample model --length 5 {words}", "", 2, "--") for words in IGNORED]
    table += [
        Attack("eval run --part val --encoding latin-1", "", 2, "--encoding"),
        Attack("score model t.txt --json --by line", "", 2, "--json"),
        Attack("train --resume run --seed 0", "", 2, "--seed"),
        Attack("train --resume plain", "", 4, "holds nothing to resume from"),
        Attack("train --resume t.txt", "", 4, "no such run"),
        Attack(f"train t.txt {SMALL} --out run", "", 2, "already exists"),
        Attack(f"train t.txt {SMALL} --out killed"),
    ]
    table += [
        Attack(words, f"# without {name}", 5, f"{name}: cannot be imported")
        for name, words in MISSING.items()
    ]
    every = "' -\U0010ffff:1'"
    table += [
        Attack(f"sample model --length 5 {f'--bias {every} ' * 30}"),
        Attack("sample model --length 2 --beams 1024 --look-back 1048576 --no-repeat-ngram 3"),
    ]
    return table


def run(report=print) -> dict[str, dict[str, int]]:
    """Run all attacks; return how many were clean, and report the rest."""
    chosen = attacks()
    failures = try_attacks(chosen)
    for words, faults in failures.items():
        report(words, *faults, sep="\n  ")
    clean = len(chosen) - len(failures)
    return {"an attack on the command line": {"tried": len(chosen), "clean": clean}}


def try_attacks(chosen: list[Attack]) -> dict[str, list[str]]:
    """Run attacks; return what was wrong with those that were not clean."""
    failures: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        before = snapshot(folder)
        for attack in chosen:
            if faults := faults_of(attack, folder):
                failures[f"textgen {attack.words} {attack.streams}"[:200]] = faults
            changed = [path for path, content in before.items() if path.read_bytes() != content]
            leftovers = [path.name for path in folder.rglob("*.tmp-*") if path not in before]
            if changed or leftovers:
                failures.setdefault(f"textgen {attack.words}"[:200], []).append(
                    f"files: {changed} {leftovers}"
                )
    return failures


def prepare(folder: Path) -> None:
    """Make the model, the run and the texts that the attacks name."""
    mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT).save(folder / "model")
    (folder / "model").rename(folder / "model.safetensors")
    (folder / "model").symlink_to("model.safetensors")
    for name in ("run", "plain", "killed", "folder", *(f"folder{s}" for s in SUFFIXES)):
        (folder / name).mkdir()
    full_checkpoint().save(folder / "run" / "best.safetensors")
    full_checkpoint(resume=resume_state()).save(folder / "run" / "last.safetensors")
    (folder / "killed" / "lock").touch()
    for suffix in SUFFIXES:
        (folder / f"full{suffix}").symlink_to("/dev/full")
    (folder / "t.txt").write_text(TEXT)
    (folder / "empty").touch()
    (folder / "invalid").write_bytes(b"abc\xff" + TEXT.encode())
    (folder / "utf16").write_bytes(TEXT.encode("utf-16"))
    for name in MISSING:
        (folder / "without" / name).mkdir(parents=True)
        code = f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})\n'
        (folder / "without" / name / f"{name}.py").write_text(code)


SUFFIXES = sorted({Path(name).suffix for _, name in WRITING})


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Return the content of all files that no attack may change."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "killed")
    return {path: path.read_bytes() for path in files}


def faults_of(attack: Attack, folder: Path) -> list[str]:
    """Return what is wrong with how an attack ended."""
    environment = {**os.environ, "TEXTGEN_CACHE": str(folder / "cache")}
    # As on a machine where nobody has set it: what cannot be written is held back.
    environment.pop("PYTHONUNBUFFERED", None)
    if attack.streams.startswith("# without "):
        hidden = folder / "without" / attack.streams.split()[-1]
        environment["PYTHONPATH"] = f"{hidden}:{environment.get('PYTHONPATH', '')}"
    command = f"{shlex.quote(sys.executable)} -m textgen {attack.words} {attack.streams}"
    try:
        done = subprocess.run(
            ["bash", "-c", f"{command}\nexit ${{PIPESTATUS[0]}}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return ["runs on after two minutes"]
    said = done.stderr.decode("utf-8", "replace")
    errors = [line for line in said.splitlines() if line.startswith("textgen: error: ")]
    faults = []
    if done.returncode != attack.code:
        faults.append(f"exit code {done.returncode} instead of {attack.code}: {said[-300:]}")
    if "Traceback" in said or re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said):
        faults.append(f"unclean on standard error: {said[-300:]!r}")
    if len(errors) != bool(attack.error):
        faults.append(f"{len(errors)} lines of errors: {said[-300:]}")
    elif errors and not (attack.error.lower() in errors[0].lower() and errors[0].endswith(")")):
        faults.append(f"another error: {errors[0]}")
    return faults


if __name__ == "__main__":
    print(json.dumps(run()))
