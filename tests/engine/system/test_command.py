"""The process of a command: standard streams that fail, and Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import engine

ROOT = Path(engine.__file__).parents[1]
PRINT = """
import sys
from engine.system.command import run

def main():
    print("wrote \\xe9 \\u2192", flush=True)
    print("x" * 200_000)
    open(sys.argv[1], "w").close()  # what comes after printing is done
    return int(sys.argv[2])

run(main)
"""
WAIT = """
import hashlib, sys, time
from engine.system.command import run

def main():
    print("started", flush=True)
    if sys.argv[1] == "native":
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, without the GIL
    time.sleep(60)

run(main)
"""
IMPORT = """
import sys
sys.argv[0] = sys.argv[1]
import engine
raise KeyboardInterrupt
"""
WITHOUT = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {0!r}:
            raise ModuleNotFoundError("No module named {0!r}", name=name)

sys.meta_path.insert(0, Finder())
"""
posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell and /dev/full")


def start(code, *arguments, shell='exec "$@"', **variables):
    """Start Python by a shell, which may redirect its streams."""
    return subprocess.Popen(
        ["sh", "-c", shell, "sh", sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@posix
@pytest.mark.parametrize(
    ("redirected", "status", "expected", "message"),
    [
        ("", 0, 0, ""),
        ("> /dev/full", 0, 1, "standard output is incomplete: No space left on device\n"),
        ("> /dev/full", 2, 2, "standard output is incomplete: No space left on device\n"),
        (">&-", 0, 0, ""),
        ("2>&-", 0, 0, ""),
        ("| head -c 5 > /dev/null", 0, 0, ""),  # the status is that of head
    ],
)
def test_printing_never_raises(tmp_path, redirected, status, expected, message):
    done = tmp_path / "done"
    shell = f'"$@" {redirected}'
    process = start(PRINT, done, status, shell=shell, PYTHONIOENCODING="ascii")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (expected, message)
    assert done.exists()
    if ">" not in redirected.replace("2>", ""):
        assert output == "wrote \\xe9 \\u2192\n" + "x" * 200_000 + "\n"


@posix
@pytest.mark.parametrize("what", ["python", "native"])
def test_an_interrupt_ends_python_and_native_code(what):
    process = start(WAIT, what)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "interrupted\n")
    assert process.returncode == 130


@posix
@pytest.mark.parametrize(("name", "hidden"), [("/bin/flow", True), ("-m", True), ("my.py", False)])
def test_an_interrupt_of_the_imports_shows_no_traceback(name, hidden):
    process = start(IMPORT, name)
    _, errors = process.communicate(timeout=60)
    assert (errors == "interrupted\n") == hidden
    assert ("Traceback" in errors) != hidden
    assert process.returncode == -signal.SIGINT


@posix
def test_what_an_interrupted_import_raises_shows_no_traceback():
    """NumPy raises an ImportError from what its modules raise."""
    code = IMPORT.replace("raise Key", "try: raise Key")
    code += "except BaseException as error: raise ImportError('numpy') from error\n"
    process = start(code, "-m")
    assert process.communicate(timeout=60)[1] == "interrupted\n"


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("bench.compare", "rich", "bench"),
        ("training.synthetic", "skimage", "training"),
        ("training.train", "torch", "training"),
    ],
)
def test_a_command_without_its_extra_names_it(tmp_path, command, missing, extra):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(missing))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stderr == (
        f"error: python -m {command} needs the package {missing}: "
        f"pip install 'flownet-engine[{extra}]'\n"
    )
    assert done.returncode == 1


def test_every_command_is_run_so():
    block = 'if __name__ == "__main__":\n'
    packages = ("engine", "bench", "export", "training")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    ends = {file: file.read_text().partition(block)[2] for file in files}
    commands = {str(file.relative_to(ROOT)): end for file, end in ends.items() if end}
    del commands["bench/harness/worker.py"]  # the bench talks with it, and nobody else
    assert len(commands) >= 14
    assert [name for name, end in commands.items() if not end.endswith("    run(main)\n")] == []
