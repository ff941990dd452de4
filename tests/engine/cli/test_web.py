"""``flow web``."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.cli.main import main
from engine.web.runtime import RUNTIME_FILES
from tests.support.pages import ROOT


@pytest.fixture
def runtime(tmp_path: Path) -> str:
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in RUNTIME_FILES:
        (folder / name).write_text(name)
    return str(folder)


def test_it_serves_until_it_is_interrupted(tiny_bundle, runtime):
    command = [sys.executable, "-m", "engine", "web", str(tiny_bundle), "--port", "0"]
    with subprocess.Popen(
        [*command, "--runtime", runtime], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("tiny fp32 at http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[3]) as answer:
            assert b"<title>Optical flow</title>" in answer.read()
        os.kill(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "ended\n"
    assert process.returncode == 0


def test_it_writes_a_folder(tiny_bundle, runtime, tmp_path, capsys):
    site = tmp_path / "site"
    arguments = ["web", str(tiny_bundle), "--runtime", runtime, "-o", str(site)]
    assert main(arguments) == 0
    files = [path for path in site.rglob("*") if path.is_file()]
    assert capsys.readouterr().out == f"tiny fp32; wrote {site}: {len(files)} files\n"
    assert (site / "model.onnx").read_bytes() == (tiny_bundle / "model.onnx").read_bytes()
    assert (site / "runtime" / RUNTIME_FILES[1]).read_text() == RUNTIME_FILES[1]
    assert '"offline": true' in (site / "site.json").read_text()
    assert main(arguments) == 1
    assert capsys.readouterr().err == (
        f"flow: {site} exists and contains files; expected a new name. Give another, or --force to "
        "overwrite.\n"
    )
    assert main([*arguments, "--force"]) == 0


def test_the_default_bundle_is_refused_and_nothing_written(runtime, tmp_path, capsys):
    site = tmp_path / "site"
    assert main(["web", str(DEFAULT_BUNDLE), "--runtime", runtime, "-o", str(site)]) == 1
    error = capsys.readouterr().err
    assert "has the network in int8, which browsers compute no faster than fp32" in error
    assert "`python -m export.build_engine --network coarse_to_fine_slim --precision fp32 " in error
    assert not site.exists()


def test_a_port_in_use(tiny_bundle, runtime, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["web", str(tiny_bundle), "--runtime", runtime, "--port", port]) == 1
    assert capsys.readouterr().err == (
        f"flow: 127.0.0.1:{port} cannot be listened on: Address already in use; expected an "
        "address of this machine and a free port. Give another --port, or 0 for any.\n"
    )
