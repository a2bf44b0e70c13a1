"""Requests to the server that are wrong in one way or another.

PYTHONPATH=tests python tests/reliability/hostile_requests.py
"""

import json
import random
import tempfile
from collections import Counter
from pathlib import Path

from factories import learn_tokenizer, mixed_checkpoint, random_checkpoint

TEXT = "ROMEO: what light?\nJULIET: is it the east?\n<script>alert('&')</script>\n" * 4
# Values that are wrong in one way or another, and a few that are right.
STRANGE = [
    *(None, True, False, 0, 1, -1, 2, 1.5, -0.0, 1e308, 2**31, 2**63, 10**30, "", "a", "ROMEO:"),
    *("\x00", "\ud800", "\u202e", "e" * 5000, "(", "(a|b)*", "[", ".{1,99}", "a-z", "z-a", "-"),
    *([], [""], ["a", "b"], [None], [[1]], [1, 2], {}, {"a": 1}, {"ab": 1}, {"a": None}),
    *({"\ud800": 5}, {":": 3}, {"-": -100}, {"include_usage": True}, {"include_usage": 3}),
    *("demo", "plays", "bytes", "../../etc/passwd", "é", "€", "\n", ["\n"], ["", "a"]),
]
NAMES = [
    *("model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "best_of"),
    *("stop", "seed", "logprobs", "echo", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("stream", "stream_options", "match", "ban", "suffix", "user", "text", "characters", "x"),
]


def strange_request(generator):
    """A path and a body, more or less wrong."""
    path = generator.choice(["/v1/completions"] * 6 + ["/v1/score"] * 2 + ["/v1/models", "/x"])
    names = generator.sample(NAMES, generator.randint(0, 4))
    values = {name: generator.choice(STRANGE) for name in names}
    values.setdefault("max_tokens" if path.endswith("completions") else "text", 5)
    body = json.dumps(values).encode()
    if generator.random() < 0.1:
        cut = generator.randrange(len(body))
        body = body[:cut] + bytes([generator.randrange(256)]) + body[cut + 1 :]
    return path, body


def run(count=5000, seed=0, report=print):
    """Send requests; return how many got an answer that is no failure of the server's."""
    statuses = send(count, seed, report)
    clean = sum(number for status, number in statuses.items() if status < 500)
    return {"a malformed request": {"tried": count, "clean": clean}}


def send(count, seed, report):
    """Send requests to a server of two models; return how often each status came."""
    from starlette.testclient import TestClient

    from textgen.serving.app import make_app
    from textgen.serving.models import load_models

    generator, statuses = random.Random(seed), Counter()
    headers = {"Content-Type": "application/json"}
    with tempfile.TemporaryDirectory() as name:
        plays, letters = Path(name) / "plays.safetensors", Path(name) / "bytes.safetensors"
        mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT).save(plays)
        random_checkpoint(learn_tokenizer("byte", TEXT + "äöü€" * 9), scale=0.5).save(letters)
        app = make_app(load_models([str(plays), str(letters)]))
        with TestClient(app, base_url="http://127.0.0.1") as client:
            for _ in range(count):
                path, body = strange_request(generator)
                response = client.post(path, content=body, headers=headers)
                statuses[response.status_code] += 1
                said = response.status_code < 400 or response.json()["error"]["message"]
                if response.status_code >= 500 or not said:
                    report(response.status_code, path, body, response.text)
            if "textgen_rows 0" not in client.get("/metrics").text.splitlines():
                report("a text is still being written")
    return statuses


if __name__ == "__main__":
    print(json.dumps(run()))
