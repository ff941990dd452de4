"""Throughput of ``flow extract``: what its command line refuses; the docs' tests run it."""

import pytest

from bench import bulk


def test_a_bundle_that_is_missing_is_told_before_clips_are_made(monkeypatch, capsys):
    monkeypatch.setattr(bulk, "make_clip", lambda *_: pytest.fail("made a clip"))
    assert bulk.main(["--bundle", "nowhere"]) == 2
    assert "error: nowhere is not a bundle" in capsys.readouterr().err
