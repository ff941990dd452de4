"""The name of the bundle that ships, in the commands that take a bundle."""

import argparse
from pathlib import Path

import pytest

import engine
from bench.cli import add_bundle_options
from bench.compare_options import parse_options
from engine.bundle.shipped import bundle_named
from engine.cli.main import _parser


def test_names_and_folders():
    assert bundle_named("default") == engine.DEFAULT_BUNDLE
    for folder in ("./default", "build/default", "Default", ""):
        assert bundle_named(folder) == Path(folder)


@pytest.mark.parametrize(
    "command",
    [
        "doctor --bundle",
        "extract clips -o flows --bundle",
        "folder frames --flow flows --bundle",
        "infer a.png b.png --bundle",
        "score clips --bundle",
        "serve --bundle",
        "video clip.mp4 --bundle",
        "web",
    ],
)
def test_commands(command):
    for name, folder in (
        ("default", engine.DEFAULT_BUNDLE),
        ("build/default", Path("build/default")),
    ):
        assert _parser().parse_args([*command.split(), name]).bundle == folder


def test_benchmarks():
    parser = argparse.ArgumentParser()
    add_bundle_options(parser)
    assert parser.parse_args(["--bundle", "default"]).bundle == engine.DEFAULT_BUNDLE
    options = parse_options(["--bundle", "default"])
    assert options.bundles == (engine.DEFAULT_BUNDLE,)
