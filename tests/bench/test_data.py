import numpy as np
import pytest

from bench.data import SYNTHETIC_SEED, load_pairs
from engine.data.pair import PairsError
from tests.support.pictures import flow, image, write_pair


def test_folder(tmp_path):
    for stem in ("00001", "00002", "00003", "00004"):
        write_pair(tmp_path, stem)
    loaded = load_pairs(str(tmp_path), limit=2, cache=tmp_path)
    assert [pair.name for pair in loaded.read()] == ["00001", "00003"]
    assert loaded.to_json() == {
        "name": str(tmp_path),
        "source": f"folder {tmp_path.name}",
        "pairs": ["00001", "00003"],
        "available": 4,
        "sizes": ["64x64"],
    }
    assert [pair.name for pair in loaded.read(1)] == ["00001"]
    for pair in loaded.read():
        np.testing.assert_array_equal(pair.image1, image(64, 64, 1))
        np.testing.assert_array_equal(pair.flow, flow(64, 64))
    assert len(load_pairs(f"chairs:{tmp_path}", limit=9, cache=tmp_path)) == 4


def test_folder_without_a_flow(tmp_path):
    write_pair(tmp_path, "00001")
    (tmp_path / "00001_flow.flo").unlink()
    with pytest.raises(
        PairsError, match=r"00001_img1\.png has no true flow; expected 00001_flow\.\*"
    ):
        load_pairs(str(tmp_path), limit=1, cache=tmp_path)


def test_synthetic_pairs_are_rendered_once(tmp_path, monkeypatch):
    calls = []

    def render(module, *arguments):
        calls.append((module, *arguments))
        folder = type(tmp_path)(arguments[-1])
        folder.mkdir(parents=True)
        write_pair(folder, "00001")

    monkeypatch.setattr("bench.data.run_module", render)
    for _ in range(2):
        assert len(load_pairs("synthetic", limit=1, cache=tmp_path)) == 1
    assert len(calls) == 1
    assert calls[0][:3] == ("training.synthetic", "--pairs", "1")


def test_synthetic_pairs_of_another_renderer_are_rendered_again(tmp_path, monkeypatch):
    for name in ("training", "cache"):
        (tmp_path / name).mkdir()
    calls = []

    def render(module, *arguments):
        calls.append(module)
        folder = type(tmp_path)(arguments[-1])
        folder.mkdir(parents=True)
        write_pair(folder, "00001")

    monkeypatch.setattr("bench.data.run_module", render)
    monkeypatch.setattr("bench.environment.ROOT", tmp_path)
    for source in ("old", "new", "new"):
        (tmp_path / "training" / "shapes.py").write_text(source)
        load_pairs("synthetic", limit=1, cache=tmp_path / "cache")
    assert len(calls) == 2


def test_synthetic_pairs_are_no_training_pairs():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from training.synthetic.scene import draw_scene
    from training.validation import VALIDATION_SEED

    assert abs(SYNTHETIC_SEED - VALIDATION_SEED) > 1e8
    assert SYNTHETIC_SEED > 1e9
    scenes = [
        draw_scene(1, 64, 64, textures=2, masks=2, seed=seed).motion
        for seed in (SYNTHETIC_SEED, SYNTHETIC_SEED, SYNTHETIC_SEED + 1)
    ]
    assert scenes[0].equal(scenes[1])
    assert not scenes[0].equal(scenes[2])
