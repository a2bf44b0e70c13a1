"""The server as a process: keys, addresses, signals, and clients as they are written."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from factories import call

from textgen.errors import MachineError, UsageError
from textgen.serving.server import KEY_VARIABLE, check_installed, check_reach, listen, read_key

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
DEMO = ROOT / "checkpoints" / "demo.safetensors"
IN_DOCS = "http://127.0.0.1:8000"
KEY = "0123456789abcdef"


class TestKeys:
    def test_are_read_from_a_file_or_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        assert read_key(None) is None
        monkeypatch.setenv(KEY_VARIABLE, f" {KEY}x\n")
        assert read_key(None) == KEY + "x"
        (tmp_path / "key").write_text(KEY + "\n")
        assert read_key(str(tmp_path / "key")) == KEY

    @pytest.mark.parametrize("content", ["", "short", "a b" * 9, "é" * 20, "\x00" * 20])
    def test_that_are_too_weak_are_refused(self, tmp_path, content):
        (tmp_path / "key").write_text(content)
        with pytest.raises(UsageError, match="--api-key-file: the key is not 16"):
            read_key(str(tmp_path / "key"))

    def test_of_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(UsageError, match="--api-key-file"):
            read_key(str(tmp_path / "nothing"))

    def test_are_needed_where_others_reach_the_server(self):
        check_reach("127.0.0.1", None)
        check_reach("0.0.0.0", KEY)
        with pytest.raises(UsageError, match="can be reached from other machines"):
            check_reach("0.0.0.0", None)


def test_a_port_that_is_taken_is_an_error():
    with listen("127.0.0.1", 0) as taken, pytest.raises(MachineError, match="cannot listen at"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UsageError, match="--port"):
        listen("127.0.0.1", 65536)
    with pytest.raises(MachineError):
        listen("not a host\x00", 0)


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError):
        check_installed()
    code, _, errors = call(capsys, "serve")
    assert code == 5 and "pip install 'textgen-rnn[serve]'" in errors


def test_the_command_refuses_other_machines_without_a_key(monkeypatch, capsys):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    code, _, errors = call(capsys, "serve", "--host", "0.0.0.0")
    assert code == 2 and errors.count("\n") == 1 and "--api-key-file" in errors


@contextlib.contextmanager
def served(*words):
    """A server of the demo model as a process, and its address."""
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "textgen", "serve", str(DEMO), "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        yield process, re.search(r"http://\S+", line)[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def address():
    with served() as (_, address):
        yield address


def wait_for(condition):
    """Wait until something holds, on a machine of any speed."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def rows(address):
    text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    return int(re.search(r"^textgen_rows (\d+)$", text, re.M)[1])


@pytest.mark.slow
class TestClients:
    def test_openai(self, address):
        openai = pytest.importorskip("openai")
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["demo"]
            assert client.models.retrieve("demo").id == "demo"
            values = {"model": "demo", "prompt": "ROMEO:", "max_tokens": 25, "seed": 1}
            answer = client.completions.create(**values, logprobs=2)
            (choice,) = answer.choices
            assert len(choice.text) == answer.usage.completion_tokens == 25
            assert "".join(choice.logprobs.tokens) == choice.text
            stream = client.completions.create(**values, stream=True)
            assert "".join(event.choices[0].text for event in stream) == choice.text
            with pytest.raises(openai.BadRequestError) as caught:
                client.completions.create(**values, extra_body={"topk": 3})
            assert caught.value.param == "topk" and "did you mean top_k?" in str(caught.value)
            with pytest.raises(openai.NotFoundError):
                client.completions.create(**values | {"model": "gpt"})

    def test_openai_as_the_page_shows_it(self, address, capsys):
        pytest.importorskip("openai")
        (block,) = re.findall(r"^```py\n(.*?)^```", PAGE, re.S | re.M)
        names = {}
        exec(compile(block.replace(IN_DOCS, address), "serving.md", "exec"), names)
        assert len(capsys.readouterr().out) > 200
        assert re.fullmatch(names["matching"]["match"], names["answer"].choices[0].text)
        names["client"].close()

    @pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
    def test_curl_as_the_page_shows_it(self, address):
        blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.S | re.M)
        joined = "".join(blocks).replace("\\\n", "")
        commands = [line for line in joined.splitlines() if line.startswith("curl ")]
        assert len(commands) == 7
        for command in commands:
            command = command.replace(IN_DOCS, address) + " --fail --silent"
            done = subprocess.run(command, shell=True, capture_output=True, text=True)
            assert done.returncode == 0 and done.stdout, command

    def test_who_goes_away_frees_the_place(self, address):
        body = b'{"prompt": "a", "max_tokens": 4096, "n": 8, "stream": true}'
        host, port = address.removeprefix("http://").split(":")
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            wait_for(lambda: rows(address) == 8)
        wait_for(lambda: rows(address) == 0)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_what_runs_finish(number, code):
    body = b'{"prompt": "a", "max_tokens": 60, "stream": true}'
    with served() as (process, address):
        request = urllib.request.Request(
            f"{address}/v1/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            first = response.readline()
            process.send_signal(number)
            rest = response.read()
        assert first.startswith(b"data: {") and rest.endswith(b"data: [DONE]\n\n")
        assert process.wait(60) == code
        assert "Traceback" not in process.stderr.read()
