"""The paths of the server, in this process: shapes, texts, errors, limits."""

import json
import math
import threading

import numpy as np
import pytest
from factories import learn_tokenizer, mixed_checkpoint, random_checkpoint

pytest.importorskip("starlette")
pytest.importorskip("httpx2")

from starlette.testclient import TestClient

from textgen.analysis import measure_surprise
from textgen.serving.app import make_app
from textgen.serving.limits import Limits
from textgen.serving.models import load_models
from textgen.textmodel import TextModel

TEXT = "ROMEO: what light?\nJULIET: is it the east?\n<script>alert('&')</script>\n" * 4
CHARS, BYTES = learn_tokenizer("char", TEXT), learn_tokenizer("byte", TEXT + "äöü€" * 9)
OWN = "http://127.0.0.1"
KEY = "0123456789abcdef"
# As short as it takes to be sure that float32 does not draw another id (1e-5 of an edge).
LENGTH = 30


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two models in files: of characters in a run folder, of bytes in a file."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "plays").mkdir()
    mixed_checkpoint(CHARS, TEXT).save(folder / "plays" / "best.safetensors")
    random_checkpoint(BYTES, scale=0.5).save(folder / "bytes.safetensors")
    return [folder / "plays", folder / "bytes.safetensors"]


@pytest.fixture(scope="module")
def client(checkpoints):
    with TestClient(make_app(load_models(checkpoints)), base_url=OWN) as client:
        yield client


def limited(checkpoints, **limits):
    return TestClient(make_app(load_models(checkpoints), Limits(**limits)), base_url=OWN)


def complete(client, **values):
    values = {"prompt": "ROMEO:", "max_tokens": LENGTH, "seed": 1} | values
    return client.post("/v1/completions", json=values)


def answer(client, **values):
    response = complete(client, **values)
    assert response.status_code == 200, response.text
    return response.json()


def texts_of(client, **values):
    return [choice["text"] for choice in answer(client, **values)["choices"]]


def stream(client, **values):
    """The events of a stream, without the last one."""
    response = complete(client, stream=True, **values)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def joined(events):
    """The text and the reasons of each choice of a stream."""
    texts, reasons = {}, {}
    for event in events:
        for choice in event["choices"]:
            index = choice["index"]
            assert index not in reasons, "nothing comes after an end"
            texts[index] = texts.get(index, "") + choice["text"]
            if choice["finish_reason"]:
                reasons[index] = choice["finish_reason"]
    return [texts[index] for index in sorted(texts)], [reasons[index] for index in sorted(reasons)]


def refused(response, status, param=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["param"] == param
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    return error


class TestTexts:
    def test_shape_of_an_answer(self, client):
        found = answer(client)
        assert found["object"] == "text_completion" and found["model"] == "plays"
        assert found["id"].startswith("cmpl-") and isinstance(found["created"], int)
        (choice,) = found["choices"]
        assert set(choice) == {"index", "text", "logprobs", "finish_reason"}
        assert choice["finish_reason"] == "length" and choice["logprobs"] is None
        assert found["usage"] == {
            "prompt_tokens": 6,
            "completion_tokens": LENGTH,
            "total_tokens": 6 + LENGTH,
        }

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"temperature": 0.0},
            {"top_k": 3, "top_p": 0.9, "min_p": 0.01},
            {"presence_penalty": 1.0, "frequency_penalty": 0.5},
            {"ban": "eE"},
        ],
    )
    def test_the_text_is_the_librarys(self, client, checkpoints, options):
        model = TextModel(load_models(checkpoints)["plays"].checkpoint)
        model.threads = 1
        expected = model.sample("ROMEO:", length=LENGTH, seed=1, **options)
        assert texts_of(client, echo=True, **options) == [expected]

    def test_a_stream_has_the_same_text(self, client):
        values = {"prompt": ["ROMEO:", "JULIET:"], "n": 2, "echo": True}
        whole = answer(client, **values)
        events = stream(client, stream_options={"include_usage": True}, **values)
        texts, reasons = joined(events)
        assert texts == [choice["text"] for choice in whole["choices"]]
        assert len(set(texts)) == 4 and reasons == ["length"] * 4
        assert events[-1]["choices"] == [] and events[-1]["usage"] == whole["usage"]
        assert all(event["usage"] is None for event in events[:-1])

    def test_rows_depend_on_their_number_alone(self, client):
        assert texts_of(client, n=3)[:2] == texts_of(client, n=2)

    def test_no_characters_at_all(self, client):
        assert texts_of(client, max_tokens=0, echo=True) == ["ROMEO:"]
        assert joined(stream(client, max_tokens=0)) == ([""], ["length"])

    def test_the_best_drafts_are_chosen(self, client):
        drafts = answer(client, n=6, logprobs=0)["choices"]
        best = sorted(drafts, key=lambda choice: -sum(choice["logprobs"]["token_logprobs"]))
        found = answer(client, n=2, best_of=6)
        assert [choice["text"] for choice in found["choices"]] == [c["text"] for c in best[:2]]
        assert [choice["index"] for choice in found["choices"]] == [0, 1]
        assert found["usage"]["completion_tokens"] == 6 * LENGTH

    def test_stop_texts_end_a_text_and_are_no_part_of_it(self, client):
        (whole,) = texts_of(client)
        stop = whole[10:12]
        found = answer(client, stop=stop)
        (choice,) = found["choices"]
        assert choice["text"] == whole[: whole.index(stop)] and choice["finish_reason"] == "stop"
        assert found["usage"]["completion_tokens"] == len(choice["text"])
        assert joined(stream(client, stop=stop)) == ([choice["text"]], ["stop"])

    def test_match_ban_and_bias(self, client):
        (choice,) = answer(client, match="[a-z]{3} [a-z]{2}")["choices"]
        assert len(choice["text"]) == 6 and choice["text"][3] == " "
        assert choice["finish_reason"] == "stop"
        assert "e" not in texts_of(client, ban="e")[0]
        assert set(texts_of(client, logit_bias={"e": 100})[0]) == {"e"}

    def test_a_model_is_chosen_by_its_name(self, client):
        found = answer(client, model="bytes", prompt="€")
        assert found["model"] == "bytes" and found["usage"]["prompt_tokens"] == 3
        assert refused(complete(client, model="x"), 404, "model")["code"] == "model_not_found"

    def test_without_a_seed_one_is_told(self, client):
        found = answer(client, seed=None)
        assert texts_of(client, seed=found["seed"]) == [found["choices"][0]["text"]]

    @pytest.mark.slow
    def test_a_text_is_the_same_among_many(self, client):
        settings = [
            {"prompt": prompt, "seed": seed, **options}
            for seed, prompt in enumerate(["ROMEO:", "", "JULIET: is", "what "])
            for options in ({}, {"temperature": 0.3}, {"top_p": 0.7}, {"n": 2})
        ]
        alone = [texts_of(client, **values) for values in settings]
        found = [None] * len(settings)

        def ask(index):
            if index % 2:
                found[index] = texts_of(client, **settings[index])
            else:
                found[index] = joined(stream(client, **settings[index]))[0]

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(settings))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == alone


class TestLogprobs:
    def test_of_prompt_and_text(self, client, checkpoints):
        (choice,) = answer(client, logprobs=3, echo=True)["choices"]
        told = choice["logprobs"]
        assert "".join(told["tokens"]) == choice["text"]
        assert told["text_offset"] == list(range(6 + LENGTH))
        for log_prob, likeliest in zip(told["token_logprobs"], told["top_logprobs"], strict=True):
            assert log_prob <= 1e-9 and len(likeliest) == 3
            assert max(likeliest.values()) >= log_prob - 1e-9
            assert list(likeliest.values()) == sorted(likeliest.values(), reverse=True)
        (plain,) = answer(client, logprobs=3)["choices"]
        assert plain["logprobs"]["token_logprobs"] == pytest.approx(told["token_logprobs"][6:])

    def test_are_those_of_the_model_before_any_filter(self, client, checkpoints):
        checkpoint = load_models(checkpoints)["plays"].checkpoint
        (choice,) = answer(client, logprobs=0, temperature=0.1, echo=True)["choices"]
        model = TextModel(checkpoint)
        text = next(iter(model.texts(["ROMEO:"], length=LENGTH, seed=1, temperature=0.1)))
        found = choice["logprobs"]["token_logprobs"][6:]
        np.testing.assert_allclose(found, text.log_probs, atol=1e-4)

    @pytest.mark.parametrize("model", ["plays", "bytes"])
    def test_in_a_stream_they_stand_beside_their_text(self, client, model):
        values = {"model": model, "prompt": "is", "logprobs": 1, "stop": "e", "n": 2, "echo": True}
        whole = answer(client, **values)["choices"]
        found = {}
        for event in stream(client, **values):
            for choice in event["choices"]:
                told = found.setdefault(choice["index"], {name: [] for name in choice["logprobs"]})
                for name, part in choice["logprobs"].items():
                    told[name] += part
        for choice in whole:
            told = found[choice["index"]]
            assert told["tokens"] == choice["logprobs"]["tokens"]
            assert told["text_offset"] == choice["logprobs"]["text_offset"]
            assert told["token_logprobs"] == pytest.approx(choice["logprobs"]["token_logprobs"])


class TestScore:
    def test_is_what_score_says(self, client, checkpoints):
        found = client.post("/v1/score", json={"text": "what light?", "characters": True}).json()
        checkpoint = load_models(checkpoints)["plays"].checkpoint
        expected = measure_surprise(checkpoint, "what light?")
        assert found["nats"] == pytest.approx(expected.nats_N.sum())
        assert found["bits"] == pytest.approx(found["nats"] / math.log(2))
        assert found["nats_per_char"] == pytest.approx(found["nats"] / 11)
        assert "".join(found["characters"]["text"]) == "what light?"
        assert sum(found["characters"]["nats"]) == pytest.approx(found["nats"])
        assert found["characters"]["nats"] == pytest.approx(expected.nats_N.tolist())

    def test_unknown_characters_cost(self, client):
        found = client.post("/v1/score", json={"text": "Ω"}).json()
        assert found["unknown_chars"] == 1 and found["bits"] > 20 and "characters" not in found

    def test_refusals(self, client):
        refused(client.post("/v1/score", json={"text": ""}), 400, "text")
        refused(client.post("/v1/score", json={"text": "a", "model": "x"}), 404, "model")


class TestOtherPaths:
    def test_models(self, client):
        found = client.get("/v1/models").json()
        assert [model["id"] for model in found["data"]] == ["plays", "bytes"]
        assert client.get("/v1/models/bytes").json() == found["data"][1]
        refused(client.get("/v1/models/none"), 404, "model")

    def test_health(self, client):
        assert client.get("/health").json() == {"status": "ok"}

    def test_metrics_count_what_was_done(self, client):
        def value(name):
            lines = client.get("/metrics").text.splitlines()
            return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0)

        characters = value("textgen_characters_total")
        paths = 'textgen_requests_total{path="/v1/completions",status="200"}'
        requests, others = value(paths), value('textgen_requests_total{path="other"')
        answer(client)
        client.get("/nothing/here")
        assert value("textgen_characters_total") == characters + LENGTH
        assert value(paths) == requests + 1
        assert value('textgen_requests_total{path="other"') >= others
        assert value("textgen_rows") == value("textgen_queue_length") == 0

    def test_the_page_of_each_model(self, client):
        first, second = client.get("/"), client.get("/?model=bytes")
        assert first.text == client.get("/?model=plays").text
        assert "<h1>plays</h1>" in first.text and '<a href="?model=bytes">bytes</a>' in first.text
        assert "<h1>bytes</h1>" in second.text and 'href="?model=plays"' in second.text
        refused(client.get("/?model=none"), 404, "model")

    def test_the_page_takes_nothing_from_elsewhere(self, client):
        page = client.get("/")
        assert "default-src 'none'" in page.text and "src=" not in page.text
        assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert page.headers["x-content-type-options"] == "nosniff"

    def test_paths_and_methods_that_are_not_there(self, client):
        refused(client.get("/nothing"), 404)
        refused(client.get("/v1/completions"), 405)


class TestWhoMayAsk:
    def test_with_a_key_only_who_has_it(self, checkpoints):
        app = make_app(load_models(checkpoints[:1]), api_key=KEY)
        with TestClient(app, base_url="http://example.org") as client:
            for key in (None, "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", "Bearer é"):
                headers = {} if key is None else {"Authorization": key.encode("latin-1")}
                response = client.get("/v1/models", headers=headers)
                assert refused(response, 401)["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
                assert refused(client.get("/metrics", headers=headers), 401)
                assert refused(client.post("/v1/completions", json={}, headers=headers), 401)
            assert client.get("/health").status_code == 200
            headers = {"Authorization": f"Bearer {KEY}"}
            assert client.get("/v1/models", headers=headers).status_code == 200

    def test_a_browser_sends_the_key_as_a_password(self, checkpoints):
        app = make_app(load_models(checkpoints[:1]), api_key=KEY)
        with TestClient(app, base_url="http://example.org") as client:
            response = client.get("/")
            assert refused(response, 401)
            assert response.headers["www-authenticate"].startswith("Basic")
            for sent in ("!", "bm9uZQ==", "/w=="):
                assert refused(client.get("/", headers={"Authorization": f"Basic {sent}"}), 401)
            assert refused(client.get("/", auth=("anybody", KEY + "x")), 401)
            assert "<h1>plays</h1>" in client.get("/", auth=("anybody", KEY)).text

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000"])
    def test_without_one_only_names_of_this_machine(self, client, host):
        assert refused(client.get("/", headers={"Host": host}), 403)

    @pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
    def test_names_of_this_machine(self, client, host):
        assert client.get("/health", headers={"Host": host}).status_code == 200

    def test_forms_of_other_pages_are_refused(self, client):
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            response = client.post("/v1/completions", content="{}", headers={"Content-Type": kind})
            refused(response, 415)


class TestLimits:
    def test_large_bodies(self, client):
        refused(complete(client, prompt="a" * (1 << 20)), 413)

    def test_what_is_no_json(self, client):
        headers = {"Content-Type": "application/json"}
        for body in (b"", b"{", b"\xff", b"NaN", b'{"n": NaN}', b"[" * 200_000, b"1" * 10_000):
            refused(client.post("/v1/completions", content=body, headers=headers), 400)

    def test_characters_that_the_model_lacks(self, client):
        message = refused(complete(client, prompt="RΩ"), 400, "prompt")["message"]
        assert "'Ω'" in message and "position 2" in message

    def test_no_path_of_the_machine_is_told(self, client, checkpoints):
        told = [client.get(path).text for path in ("/v1/models", "/v1/models/x", "/metrics", "/x")]
        told += [complete(client, prompt="Ω").text, complete(client, model="x").text]
        assert not [text for text in told if str(checkpoints[0].parent) in text]

    def test_a_full_queue_is_told_to_come_again(self, checkpoints):
        with limited(checkpoints[:1], queue=0) as client:
            response = complete(client)
            assert refused(response, 503)["code"] == "busy"
            assert int(response.headers["retry-after"]) > 0

    def test_a_text_ends_when_its_time_is_up(self, checkpoints):
        with limited(checkpoints[:1], seconds=0.2, max_tokens=10**9) as client:
            response = complete(client, max_tokens=10**8)
            (choice,) = response.json()["choices"]
            assert choice["finish_reason"] == "length"
            assert joined(stream(client, max_tokens=10**8))[1] == ["length"]

    def test_requests_wait_until_there_is_room(self, checkpoints):
        with limited(checkpoints[:1], rows=2, rows_of_request=2) as client:
            found = []
            threads = [
                threading.Thread(target=lambda: found.append(texts_of(client, n=2)))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert found == [found[0]] * 4

    def test_what_waits_too_long_is_refused(self, checkpoints):
        with limited(checkpoints[:1], rows=1, seconds=0.3, max_tokens=10**9) as client:
            waiting = threading.Thread(target=lambda: complete(client, max_tokens=10**8))
            waiting.start()
            statuses = {complete(client, max_tokens=10**8).status_code for _ in range(3)}
            waiting.join()
            assert statuses <= {200, 503}

    def test_a_bug_is_told_without_its_details(self, client, monkeypatch, capsys):
        def fail(*arguments):
            raise RuntimeError("/secret/path")

        monkeypatch.setattr("textgen.sampling.together.draw", fail)
        error = refused(complete(client), 500)
        assert "secret" not in error["message"]
        assert "/secret/path" in capsys.readouterr().err
        monkeypatch.undo()
        assert complete(client).status_code == 200
