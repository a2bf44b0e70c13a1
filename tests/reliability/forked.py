"""Real processes of textgen without the seconds that every import of torch takes.

One process imports everything and forks for each task. A task begins stopped, so that it can be
traced from its very first system call.

    with Forks() as forks:
        process = forks.start("textgen", "train", "--resume", "run")
        process.go_on()
        code = process.wait()
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from reliability.tiny import OPTIONS, scratch, short_validations, write_text

HERE = Path(__file__).parent
# Products on one thread: others would be lost in a fork.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class Task:
    """A forked process, stopped until it may go on; what it prints lies in two files."""

    def __init__(self, forks, pid, folder):
        self.forks, self.pid, self.folder = forks, pid, folder

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        """Return its exit code, that of a signal being negative."""
        return self.forks.ask({"wait": self.pid})

    def ended(self):
        """Tell whether it has ended; then `wait` returns at once."""
        return self.forks.ask({"ended": self.pid})

    @property
    def stdout(self):
        return (self.folder / "stdout").read_text("utf-8")

    @property
    def stderr(self):
        return (self.folder / "stderr").read_text("utf-8")


class Forks:
    """The process that forks; a context manager, which may be entered again inside itself."""

    def __init__(self):
        self.depth = 0

    def __enter__(self):
        if self.depth:
            self.depth += 1
            return self
        self.depth = 1
        self.folder = scratch()
        self.server = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(search_path())},
        )
        assert self.server.stdout.readline() == '"ready"\n'
        self.tasks = 0
        return self

    def __exit__(self, *_):
        self.depth -= 1
        if self.depth:
            return
        self.server.communicate()
        self.folder.cleanup()

    def ask(self, request):
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def start(self, task, *words):
        """Fork a process for a task: "textgen", or "module:function" of this folder."""
        self.tasks += 1
        folder = Path(self.folder.name, str(self.tasks))
        folder.mkdir()
        request = {"task": task, "words": [str(word) for word in words], "folder": str(folder)}
        return Task(self, self.ask(request), folder)

    def run(self, task, *words):
        """Run a task to its end; return it and its exit code."""
        process = self.start(task, *words)
        process.go_on()
        return process, process.wait()


def search_path():
    """Where the package and these modules are imported from."""
    root = HERE.parent.parent
    return [str(root), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]


def serve():
    """Answer requests on standard input, one line each."""
    from textgen.training import train

    ended = {}
    with short_validations(), scratch() as folder:
        # The first run imports modules that torch leaves until then.
        train(write_text(Path(folder)), out=str(Path(folder, "run")), steps=2, **OPTIONS)
        answer("ready")
        for line in sys.stdin:
            request = json.loads(line)
            if "task" in request:
                answer(fork(request))
            elif pid := request.get("ended"):
                if pid not in ended:
                    found, status = os.waitpid(pid, os.WNOHANG)
                    ended |= {pid: status} if found else {}
                answer(pid in ended)
            else:
                pid = request["wait"]
                status = ended.pop(pid) if pid in ended else os.waitpid(pid, 0)[1]
                answer(os.waitstatus_to_exitcode(status))


def answer(value):
    print(json.dumps(value), flush=True)


def fork(request):
    """Fork a process for a request; return its id when it has stopped."""
    if pid := os.fork():
        os.waitpid(pid, os.WUNTRACED)
        return pid
    code = 99
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(Path(request["folder"], name), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        code = perform(request["task"], request["words"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def perform(task, words):
    """Do a task; return the exit code."""
    if task == "textgen":
        from textgen.cli import main

        return main(words)
    module, _, function = task.partition(":")
    return getattr(importlib.import_module(f"reliability.{module}"), function)(*words)


if __name__ == "__main__":
    serve()
