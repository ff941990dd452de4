"""``flow serve``: its options, and the process itself."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import engine
from engine.bundle.shipped import bundle_named
from engine.cli import serve
from engine.cli.main import main
from engine.serving.settings import Settings

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"


@pytest.fixture
def served(monkeypatch, tiny_bundle):
    """Return what the command would serve, and how."""
    calls = []
    monkeypatch.setattr(
        "engine.serving.server.serve",
        lambda flow_engine, settings, on_ready: calls.append((flow_engine.manifest, settings)),
    )
    monkeypatch.delenv(serve.TOKEN_VARIABLE, raising=False)
    options = ["--backend", "onnxruntime", "--threads", "1"]

    def run(*arguments, bundle=tiny_bundle):
        assert (
            main(["serve", *([] if bundle is None else [str(bundle)]), *options, *arguments]) == 0
        )
        return calls[-1]

    return run


def test_defaults(served):
    manifest, settings = served()
    assert manifest.network == "tiny"
    assert settings == Settings()
    assert served(bundle=None)[0].network == "coarse_to_fine_slim"


def test_every_option(served, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    _, settings = served(
        *("--host", "0.0.0.0", "--port", "0", "--token-file", str(tmp_path / "token")),
        *("--max-batch", "3", "--window", "7", "--queue", "5", "--timeout", "1.5"),
        *("--max-mib", "2", "--max-pixels", "9", "--sequences", "4", "--idle", "8"),
    )
    assert settings == Settings(
        host="0.0.0.0",
        port=0,
        token=TOKEN,
        max_batch=3,
        window=0.007,
        queue=5,
        timeout=1.5,
        max_bytes=2 << 20,
        max_pixels=9,
        sequences=4,
        idle=8,
    )


def test_examples_name_folders_or_bundles_that_ship(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    bundles = re.findall(r"^  flow serve (\w\S*)", capsys.readouterr().out, re.MULTILINE)
    assert "build/mine" in bundles
    assert [name for name in bundles if "/" not in name and not bundle_named(name).is_dir()] == []


def test_token_of_the_environment(served, monkeypatch):
    monkeypatch.setenv(serve.TOKEN_VARIABLE, TOKEN)
    assert served()[1].token == TOKEN


def test_warm_up_computes_every_batch(served, monkeypatch):
    shapes = []
    monkeypatch.setattr(
        engine.FlowEngine, "infer", lambda _, a, b: shapes.append((a.shape, b.shape))
    )
    served("--warm-up", "8x16", "--warm-up", "64x32", "--max-batch", "2")
    assert [first[:3] for first, _ in shapes] == [(1, 8, 16), (2, 8, 16), (1, 64, 32), (2, 64, 32)]
    assert all(first == second for first, second in shapes)


def test_refused(served, tiny_bundle, tmp_path, capsys, monkeypatch):
    (tmp_path / "short").write_text("short")
    (tmp_path / "binary").write_bytes(b"\xff" * 32)
    for arguments, code, text in (
        (
            ["--host", "0.0.0.0"],
            1,
            "lets other machines use the server; expected --token-file FILE",
        ),
        (["--token-file", str(tmp_path / "none")], 1, "none: No such file or directory."),
        (["--token-file", "/dev/zero"], 1, "/dev/zero holds no token; expected at least 16"),
        (["--token-file", str(tmp_path / "short")], 1, "holds no token; expected at least 16"),
        (["--token-file", str(tmp_path / "binary")], 1, "holds no token; expected at least 16"),
        ([str(tiny_bundle), "--bundle", "other"], 2, "BUNDLE and --bundle are the same"),
        (["--port", "70000"], 2, "'70000' is out of range"),
        (["--window", "-1"], 2, "'-1' is out of range"),
        (["--max-batch", "0"], 2, "'0' is out of range"),
    ):
        assert main(["serve", *arguments]) == code
        assert text in capsys.readouterr().err
    assert served("--host", "0.0.0.0", "--no-token")[1].token is None


def test_without_the_packages(served, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "engine.serving.server")
    assert main(["serve"]) == 1
    assert "flow serve needs the package uvicorn: pip install" in capsys.readouterr().err


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_until_a_signal(tiny_bundle, end):
    command = [sys.executable, "-m", "engine", "serve", str(tiny_bundle), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--backend", "onnxruntime", "--threads", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("tiny fp32, onnxruntime on cpu, at http://127.0.0.1:")
    with urllib.request.urlopen(line.split()[-1].replace("/v2", "/health"), timeout=30) as answer:
        assert json.load(answer)["status"] == "ok"
    process.send_signal(end)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_port_in_use(tiny_bundle, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code = main(["serve", str(tiny_bundle), "--backend", "onnxruntime", "--port", port])
    assert code == 1
    assert f"127.0.0.1:{port}: Address already in use." in capsys.readouterr().err
    assert main(["serve", str(tiny_bundle), "--host", "no.such.invalid", "--no-token"]) == 1
    assert "no.such.invalid:8000: " in capsys.readouterr().err
    assert main(["serve", str(tiny_bundle), "--host", "ä..b", "--no-token"]) == 1
    assert "'ä..b' is no name of a host; expected" in capsys.readouterr().err
