"""Writes docs/benchmarks.md from benchmarks/results/*.json: python benchmarks/report.py.

And the table of docs/reliability.md, whose other parts are written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
TARGET, RELIABILITY_PAGE = DOCS / "benchmarks.md", DOCS / "reliability.md"
BEGIN = "<!-- The table is made by benchmarks/scoreboard.py. -->"
END = "<!-- End of the table. -->"

HEAD = """# Benchmarks

Written by `python benchmarks/report.py` from what the benchmarks measured. Each section names the
command that made it, from a checkout with `pip install -e .`; nothing else should run meanwhile.
Figures of quality are nats per character on the last tenth of a text, the first nine tenths being
trained on; bits are 1.4427 times that. `stateful` reads that part once, as one stream, and counts
every character; `nanogpt` averages over random windows of 256 characters from an empty state;
`dynamic` goes on learning while it reads. `static`, `adaptive` and `adaptive, dynamic` measure the
first 200,000 characters of that part: of a model as it is, of one whose counts and weights of the
mixture follow what it has read, and of one whose network does so too. Compressors learn while they
read, so they stand under `adaptive`. The checkpoint is chosen on the
part that is reported; everything else was chosen on tiny-shakespeare's (docs/log.md).
"""

QUALITY = {
    "model": "model",
    "budget": "budget",
    "seed": "seed",
    "seconds": "seconds|.1f",
    "parameters": "parameters|,",
    "chars_seen": "characters trained on|,",
    "stateful": "stateful|.4f",
    "network": "network alone|.4f",
    "nanogpt": "nanogpt|.4f",
    "dynamic": "dynamic|.4f",
    "static": "static|.4f",
    "adaptive": "adaptive|.4f",
    "adaptive_dynamic": "adaptive, dynamic|.4f",
    "own_windows": "its own windows of 64|.4f",
}
COMPRESSORS = {
    "text": "text",
    "model": "compressor",
    "seconds": "seconds|.1f",
    "chars": "characters measured|,",
    "adaptive": "adaptive|.4f",
}
COMPARISON = {
    "cell": "cell",
    "layers": "layers",
    "hidden": "units",
    "parameters": "parameters|,",
    "seconds": "seconds|.0f",
    "chars_per_second": "characters a second|,.0f",
    "chars_seen": "characters trained on|,",
    "nats": "stateful|.4f",
}
THROUGHPUT = {
    "cell": "cell",
    "hidden": "units",
    "batch": "streams",
    "bare": "torch.nn, characters a second|,.0f",
    "float32": "textgen, float32|.2f",
    "bfloat16": "textgen, bfloat16|.2f",
    "float32_share": "share of peak, float32|.2f",
    "bfloat16_share": "share of peak, bfloat16|.2f",
}
GPU_SPEED = {
    "cell": "cell",
    "layers": "layers",
    "hidden": "units",
    "batch": "streams",
    "textgen": "textgen, characters a second|,.0f",
    "share": "share of peak|.3f",
    "bare": "times the bare loop|.2f",
    "stacked": "times torch.nn's stack|.2f",
}
GPU_CHECKS = {"check": "check", "holds": "holds"}
GPU_RUNS = {
    "text": "text",
    "minutes": "minutes|g",
    "seconds": "seconds|.1f",
    "model": "model",
    "chars_seen": "characters trained on|,",
    "stateful": "stateful|.4f",
}
LARGE = {
    "text": "text",
    "bytes": "bytes|,",
    "characters": "characters|,",
    "alphabet": "different ones|,",
    "read_seconds": "seconds to read it|.1f",
    "rate": "MB/s|.0f",
    "again_seconds": "seconds to read it again|.2f",
    "seconds": "seconds of the run|.0f",
    "peak": "MB beyond torch's|,.0f",
}
CORPORA = {
    "text": "text",
    "options": "options",
    "bytes": "bytes|,",
    "seconds": "seconds|.0f",
    "rate": "units a second|,.0f",
    "peak": "MB beyond torch's|,.0f",
    "bits_per_byte": "bits per byte|.3f",
    "bits_per_char": "bits per character|.3f",
}
BASE = {
    "text": "text",
    "size": "characters of one's own|,",
    "seed": "seed",
    "start": "starts from",
    "base_seconds": "seconds|.0f",
    "base": "nats|.4f",
    "nothing_seconds": "seconds from nothing|.0f",
    "nothing": "nats from nothing|.4f",
    "gain": "gain|.4f",
}
COPYING = {
    "model": "text",
    "chars": "characters|,",
    "longest": "longest match|,",
    "mean": "mean longest match|.2f",
    "copied_20": "in matches of 20 and more|.1%",
    "copied_30": "of 30 and more|.1%",
}
SAMPLING = {
    "network": "network",
    "threads": "threads",
    "rate": "characters a second|,.0f",
    "cells": "over torch's cells in a loop|.1f",
    "module": "over torch's module step by step|.1f",
    "batch": "64 rows together over one|.1f",
    "read": "read rate, GB/s|.1f",
    "share": "share of the read rate|.2f",
}
FILTER_COSTS = {"filter": "filter", "slower": "slower by|.0%"}
STARTS = {
    "seconds": "demo model: seconds to the first character|.2f",
    "peak_mb": "peak memory, MB|.0f",
}
SERVING = {
    "clients": "clients",
    "rate": "characters a second of all|,.0f",
    "ratio": "over one client|.1f",
    "median": "seconds to the first character, median|.3f",
    "slow": "of 95 in 100 at most|.3f",
}
SCALING = {
    "hidden": "units",
    "batch": "streams in all",
    "one": "1 process, 1 thread, characters a second|,.0f",
    "threads": "1 process, 2 threads|.2f",
    "two": "2 processes, 1 thread each|.2f",
    "efficiency": "efficiency of 2 processes|.2f",
    "model": "2 processes by the model|.2f",
}
PREDICTED = {
    "machine": "each machine",
    "network": "network between them",
    "alone": "seconds of a step alone|.4f",
    "at_2": "efficiency of 2|.2f",
    "at_8": "8|.2f",
    "at_32": "32|.2f",
    "at_64": "64|.2f",
    "at_256": "256|.2f",
    "streams": "streams of 256|,",
    "rate": "their characters a second|,.0f",
    "days": "days for a pass over 1 TB|.1f",
}
BATCHES = {
    "batch": "streams",
    "steps": "steps|,",
    "lr": "learning rate|.4f",
    "nats": "nats of the network alone|.4f",
    "worse": "more than at best|.4f",
}
RELIABILITY = {
    "what": "what was done",
    "tried": "times|,",
    "clean": "as promised|,",
}


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Return rows as a Markdown table; columns: field -> "heading" or "heading|format".

    Columns that no row fills are left out.
    """
    used = {n: c for n, c in columns.items() if any(row.get(n) is not None for row in rows)}
    lines = []
    for row in rows:
        cells = []
        for name, column in used.items():
            value, style = row.get(name), column.partition("|")[2]
            cells.append("" if value is None else format(value, style))
        lines.append("| " + " | ".join(cells) + " |")
    heads = [column.partition("|")[0] for column in used.values()]
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines])


def sections() -> Iterator[str]:
    """Yield the page, a section for each file of results."""
    yield HEAD
    for path in sorted(RESULTS.glob("quality-*.json")):
        name = path.stem.partition("-")[2]
        yield section(f"Quality: {name}", path, QUALITY, "")
    note = (
        "What the measured characters add to the first nine tenths. PPMd's order is chosen on "
        "them; where zpaq's tables grow among them, some are left out.\n\n"
    )
    yield section("Compressors", RESULTS / "compressors.json", COMPRESSORS, note)
    note = (
        "What a model writes at temperature 0.8, against its training text: the longest span that "
        "ends at a character and stands there too, at most and in the mean, and the share of the "
        "characters that lie in such spans.\n\n"
    )
    for path in sorted(RESULTS.glob("copying-*.json")):
        name = path.stem.partition("-")[2]
        yield section(f"Copying: {name}", path, COPYING, note)
    note = (
        "Trained on so many characters of a text with nothing set but the minutes, then with "
        "`--init none`; static figures of 60,000 other characters of that text.\n\n"
    )
    yield section("The English base", RESULTS / "base.json", BASE, note)
    note = "Networks alone, without n-grams, one seed each, on the whole validation part.\n\n"
    yield section("Cells", RESULTS / "cells.json", COMPARISON, note)
    note = (
        "A minute each, with nothing set but the options shown; measured on the first 100,000 "
        "characters of the validation part (of items all of it); the memory is anonymous resident "
        "memory.\n\n"
    )
    yield section("Texts of every kind", RESULTS / "corpora.json", CORPORA, note)
    note = (
        "Each text repeated until it is as large; both passes over it on one core, then again when "
        "it is in the cache, then `textgen train --steps 300`, with the largest anonymous resident "
        "memory of that process.\n\n"
    )
    yield section("Large texts", RESULTS / "large.json", LARGE, note)
    note = (
        "The bare loop's speed, how many times that textgen's trainer reaches, and the share of "
        "the measured peak of a large float32 product, {peak_gflops:.0f} GFLOP/s (6 operations a "
        "weight and character).\n\n"
    )
    yield section("Speed of training", RESULTS / "throughput.json", THROUGHPUT, note)
    yield gpu_section()
    note = (
        "One update at the same number of streams in all: how many times faster than one process "
        "on one thread. Two processes need {latency:.6f} seconds to add up anything at all, and "
        "then add {bytes_a_second:,.0f} bytes a second; the last column has what the model of "
        "[scaling](scaling.md) makes of that. Below, what it says of more machines of which each "
        "has as much work as one alone.\n\n"
    )
    path = RESULTS / "scaling.json"
    yield section("Several processes", path, SCALING, note)
    if path.exists():
        yield f"\n{table(json.loads(path.read_text())['predicted'], PREDICTED)}\n"
    note = (
        "The same number of characters of one text, trained on in more and more streams side by "
        "side; the rate grows with the square root of their number up to {most_rate}.\n\n"
    )
    yield section("Streams side by side", RESULTS / "batches.json", BATCHES, note)
    note = (
        "Ratios are to torch with the number of threads that suits it best; the read rate is the "
        "best one measured for an array of the size of the weights that a character reads, with "
        "the same threads.\n\n"
    )
    path = RESULTS / "sampling.json"
    yield section("Speed of sampling", path, SAMPLING, note)
    if path.exists():
        data = json.loads(path.read_text())
        yield f"\n{table(data['filters'], FILTER_COSTS)}\n\n{table(data['start'], STARTS)}\n"
    note = (
        "Streams of 100 to 400 characters from the demo model by `textgen serve`, asked for one "
        "after the other by so many clients on the same machine, with three settings and four "
        "prompts.\n\n"
    )
    yield section("Serving", RESULTS / "serving.json", SERVING, note)


def gpu_section() -> str:
    """Return the section on one GPU, which says so where nothing was measured."""
    path = RESULTS / "gpu.json"
    if not path.exists():
        return (
            "\n## GPU\n\nNot run yet: no GPU was at hand. `python benchmarks/gpu.py --shakespeare "
            "tinyshakespeare.txt` measures it in nine minutes.\n"
        )
    note = (
        "On one {gpu}, CUDA {cuda}, cuDNN {cudnn}, in float16, windows of 128; the measured peak "
        "of a large product in float16 is {peak_gflops:,.0f} GFLOP/s (6 operations a weight and "
        "character).\n\n"
    )
    data = json.loads(path.read_text())
    parts = [table(data["checks"], GPU_CHECKS), table(data["runs"], GPU_RUNS)]
    return section("GPU", path, GPU_SPEED, note) + "\n" + "\n\n".join(parts) + "\n"


def section(title: str, path: Path, columns: dict[str, str], note: str) -> str:
    """Return one section, or nothing if it was not measured yet."""
    if not path.exists():
        return ""
    data = json.loads(path.read_text())
    made = origin(data)
    return f"\n## {title}\n\n{made}.\n\n{note.format(**data)}{table(data['rows'], columns)}\n"


def origin(data: dict[str, Any]) -> str:
    """Return how, when and where something was measured."""
    where = "{date}, commit {commit}, {cpu}, {cores} cores, Python {python}, torch {torch}"
    return f"`{data['command']}`: " + where.format(**data["facts"])


def reliability_page() -> str:
    """Return docs/reliability.md as it is, with the table made anew between its two comments."""
    page, path = RELIABILITY_PAGE.read_text("utf-8"), RESULTS / "reliability.json"
    if not path.exists():
        return page
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    data = json.loads(path.read_text())
    minutes = f"{data['seconds'] / 60:.0f} minutes"
    parts = [before + BEGIN, "", f"{origin(data)}, {minutes}.", ""]
    return "\n".join([*parts, table(data["rows"], RELIABILITY), "", END + after])


if __name__ == "__main__":
    TARGET.write_text("".join(sections()), encoding="utf-8")
    RELIABILITY_PAGE.write_text(reliability_page(), encoding="utf-8")
