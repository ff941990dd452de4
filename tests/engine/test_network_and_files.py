"""An inference opens no socket, and writes nothing but the cache: the system calls of a process."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine

ROOT = Path(engine.__file__).parents[1]
INFER = """
import sys
import numpy as np
import engine

image = np.zeros((64, 64, 3), np.uint8)
with engine.load(sys.argv[1], backend=sys.argv[2], threads=1) as opened:
    opened.infer(image, image)
"""
# Reading is not writing; the null device and the terminal are no files.
WRITES = re.compile(
    r'(?:open|openat|openat2|creat)\((?:[^,"]*, )?"([^"]*)",.*O_(?:CREAT|WRONLY|RDWR)'
)
CHANGES = re.compile(r'\b(?:mkdir|rename|unlink|link|symlink|mknod)\w*\((?:[^,"]*, )?"([^"]*)"')


def infer(bundle, backend, folder, *prefix):
    """Run an inference of a user whose whole world is ``folder``; return what it prints."""
    home, cache, work = (folder / name for name in ("home", "cache", "work"))
    for each in (home, cache, work):
        each.mkdir()
    # ONNX Runtime is silent in continuous integration.
    left = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", INFER, bundle, backend],
        env={**left, "HOME": str(home), "TMPDIR": str(work), "FLOWNET_ENGINE_CACHE": str(cache)},
        cwd=work,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def can_trace():
    command = ["strace", "-o", os.devnull, "true"]
    return shutil.which("strace") and subprocess.run(command, capture_output=True).returncode == 0


def test_nothing_is_printed_or_left(tiny_bundle, tmp_path):
    assert infer(tiny_bundle, "onnxruntime", tmp_path) == ""
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "work").iterdir()] == []


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace here")
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_no_socket_and_no_file_beside_the_cache(tiny_bundle, tmp_path, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    log = tmp_path / "calls"
    infer(tiny_bundle, backend, tmp_path, "strace", "-f", "-o", log, "-e", "trace=%network,%file")
    calls = log.read_text()
    assert "manifest.json" in calls
    assert re.findall(r".*\b(?:socket|connect|sendto)\(.*", calls) == []
    written = {*WRITES.findall(calls), *CHANGES.findall(calls)}
    cache = str(tmp_path / "cache")
    assert [path for path in written if not path.startswith((cache, "/dev/"))] == []


def test_the_users_choice_of_telemetry_stays():
    code = "import os, engine; print(os.environ['ORT_DISABLE_TELEMETRY'])"

    def chosen(**variables):
        left = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, cwd=ROOT, env={**left, **variables}, text=True)

    assert chosen() == "1\n"
    assert chosen(ORT_DISABLE_TELEMETRY="0") == "0\n"
