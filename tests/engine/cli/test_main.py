"""The command itself: usage, help and exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.cli.main import main

ROOT = Path(engine.__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "flow"),
        (["inferr"], "flow"),
        (["infer", "a.png"], "flow infer"),
        (["infer", "a.png", "b.png", "--bundel", "x"], "flow infer"),
        (["folder", "frames", "-o", "o.mp4", "--stride", "2"], "flow folder"),
        (["doctor", "--x"], "flow doctor"),
    ],
)
def test_usage_errors(arguments, command, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flow: ")
    assert line.endswith(f" See {command} --help.")


VERBS = ("infer", "video", "folder", "show", "convert", "eval", "score", "serve", "doctor")


@pytest.mark.parametrize("command", ["flow", *(f"flow {verb}" for verb in VERBS)])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split()[1:], "--help"])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: {command} [-h]")
    assert f"examples:\n  {command}" in output
    assert "align" not in output


def test_an_interrupt_is_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.cli.infer.run", interrupted)
    assert main(["infer", "a.png", "b.png"]) == 130
    assert capsys.readouterr().err == "flow: interrupted.\n"


def test_module_runs(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "engine", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run("--version").stdout.strip() == engine.__version__
    failed = run("infer", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", "flow.flo")
    assert failed.returncode == 1
    assert failed.stderr.startswith(
        f"flow: {tmp_path}/a.png does not exist; expected a picture, e.g. a .png or .jpg."
    )


def test_names_reach_the_terminal_escaped_and_cut(capsys):
    assert main(["show", "\x1b[31m.flo"]) == 1
    assert capsys.readouterr().err == "flow: \\x1b[31m.flo does not exist; expected a flow file.\n"
    assert main(["show", "x" * 300 + ".flo"]) == 1
    message = "... of 304 characters: File name too long. Choose a shorter name.\n"
    assert capsys.readouterr().err == f"flow: {'x' * 40}{message}"
