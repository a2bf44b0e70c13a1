"""What many clients of `textgen serve` get, against one: python benchmarks/serving.py.

Starts a server of the demo model and asks it for streams, with 1, 8 and 64 clients in turn, each of
which asks again as soon as its text has ended: characters a second of all together, and seconds
from a request to its first character. Server and clients share the machine. Nothing else should
run. Prints a table and writes results/serving.json. Takes about a minute and a half.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from common import ROOT, save
from report import SERVING, table

CLIENTS = (1, 8, 64)
ROUNDS, SECONDS = 2, 12.0
LENGTHS = (100, 400, 250, 150, 300)
PROMPTS = ("ROMEO:\n", "What light through yonder window breaks?\n", "KING RICHARD III:\n", "")
SETTINGS = ({"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.95}, {"temperature": 0.6})


class Tally:
    """What the clients of one measurement got."""

    def __init__(self) -> None:
        self.characters, self.first_seconds = 0, list[float]()


async def ask(host: str, port: int, number: int, tally: Tally, until: float) -> None:
    """Ask for one text after the other, and count what comes until the time is up."""
    count = 0
    while time.perf_counter() < until:
        kind = number + count
        options = SETTINGS[kind % len(SETTINGS)]
        values = {"prompt": PROMPTS[kind % len(PROMPTS)], "seed": kind, **options}
        body = json.dumps(
            {**values, "max_tokens": LENGTHS[kind % len(LENGTHS)], "stream": True}
        ).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        asked = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head.encode() + body)
        is_first = True
        async for line in reader:
            if not line.startswith(b"data: {"):
                continue
            now = time.perf_counter()
            text = json.loads(line[6:])["choices"][0]["text"]
            if is_first and text:
                tally.first_seconds.append(now - asked)
                is_first = False
            if now < until:
                tally.characters += len(text)
        writer.close()
        count += 1


async def measure(host: str, port: int, clients: int) -> Tally:
    """Return what so many clients get."""
    tally, until = Tally(), time.perf_counter() + SECONDS
    await asyncio.gather(*(ask(host, port, number, tally, until) for number in range(clients)))
    return tally


def compare_clients(host: str, port: int) -> list[dict[str, Any]]:
    """Return a row for each number of clients, measured in turn."""
    # A server that has worked for a while knows the frequent contexts of its n-grams.
    asyncio.run(measure(host, port, CLIENTS[-1]))
    tallies: dict[int, list[Tally]] = {clients: [] for clients in CLIENTS}
    for _ in range(ROUNDS):
        for clients in CLIENTS:
            tallies[clients].append(asyncio.run(measure(host, port, clients)))
    rows: list[dict[str, Any]] = []
    for clients, counted in tallies.items():
        rate = statistics.median(tally.characters / SECONDS for tally in counted)
        waits = sorted(seconds for tally in counted for seconds in tally.first_seconds)
        row = {
            "clients": clients,
            "rate": rate,
            "ratio": rate / (rows[0]["rate"] if rows else rate),
        }
        row |= {"median": statistics.median(waits), "slow": waits[int(0.95 * len(waits))]}
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print the table, write the JSON."""
    demo = ROOT / "checkpoints" / "demo.safetensors"
    command = [sys.executable, "-m", "textgen", "serve", str(demo), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        host, port = server.stderr.readline().partition("http://")[2].split()[0].split(":")
        try:
            rows = compare_clients(host, int(port))
        finally:
            server.terminate()
    save("serving", rows)
    print(table(rows, SERVING))


if __name__ == "__main__":
    main()
