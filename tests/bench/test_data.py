import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data import SYNTHETIC_SEED, Pair, load_pairs, motorcycle, resize_pair
from engine.errors import InputError
from engine.flow.formats import read_flow, write_flow


def pair_of(flow, valid):
    image = np.zeros((*valid.shape, 3), np.uint8)
    return Pair("pair", image, image, np.where(valid[..., None], flow, np.nan), valid)


def write_pair(folder, stem, *, height=6, width=8):
    rng = np.random.default_rng(int(stem))
    images = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    for number, image in enumerate(images, start=1):
        cv2.imwrite(str(folder / f"{stem}_img{number}.ppm"), image[..., ::-1])
    flow = rng.normal(0, 5, (height, width, 2)).astype(np.float32)
    write_flow(folder / f"{stem}_flow.flo", flow)
    return images, flow


def test_motorcycle_moves_left():
    pair, _ = motorcycle()
    height, width = pair.valid.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def photometric_error(sign):
        u = np.nan_to_num(pair.flow[..., 0])
        warped = cv2.remap(pair.image2, x + sign * u, y, cv2.INTER_LINEAR)
        return np.abs(warped.astype(int) - pair.image1)[pair.valid].mean()

    # Warped by the true flow, the second image is the first; any other way it is not.
    assert photometric_error(1) < 12
    assert photometric_error(0) > 30
    assert photometric_error(-1) > 30
    assert (np.isfinite(pair.flow).all(axis=-1) == pair.valid).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_constant_flow_stays_constant(height, width, seed):
    valid = np.random.default_rng(seed).random((13, 17)) < 0.7
    flow = np.broadcast_to(np.float32([3, -5]), (13, 17, 2))
    small = resize_pair(pair_of(flow, valid), height, width)
    assert small.image1.shape == (height, width, 3)
    assert small.flow.dtype == np.float32
    expected = [3 * width / 17, -5 * height / 13]
    np.testing.assert_allclose(
        small.flow[small.valid], np.broadcast_to(expected, (small.valid.sum(), 2)), rtol=1e-4
    )
    assert np.isnan(small.flow[~small.valid]).all()


def test_halving_averages_the_valid_pixels():
    flow = np.arange(32, dtype=np.float32).reshape(4, 4, 2)
    valid = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
    small = resize_pair(pair_of(flow, valid), 2, 2)
    # Four, one, none and two of the four pixels below are valid; half of them is enough.
    np.testing.assert_array_equal(small.valid, [[True, False], [False, True]])
    np.testing.assert_allclose(small.flow[0, 0], flow[:2, :2].mean(axis=(0, 1)) / 2)
    np.testing.assert_allclose(small.flow[1, 1], (flow[2, 2] + flow[3, 3]) / 2 / 2)


def test_own_size_is_left_alone():
    pair, _ = motorcycle()
    assert resize_pair(pair, *pair.valid.shape) is pair


def test_folder(tmp_path):
    written = {stem: write_pair(tmp_path, stem) for stem in ("00001", "00002", "00003", "00004")}
    loaded = load_pairs(str(tmp_path), limit=2, cache=tmp_path)
    assert [pair.name for pair in loaded.pairs] == ["00001", "00003"]
    assert loaded.to_json()["available"] == 4
    for pair in loaded.pairs:
        images, flow = written[pair.name]
        np.testing.assert_array_equal([pair.image1, pair.image2], images)
        np.testing.assert_array_equal(pair.flow, flow)
    assert len(load_pairs(str(tmp_path), limit=9, cache=tmp_path).pairs) == 4


def test_folder_with_a_part_missing(tmp_path):
    write_pair(tmp_path, "00001")
    (tmp_path / "00001_flow.flo").unlink()
    with pytest.raises(FileNotFoundError, match=r"00001_flow\.flo is missing; each pair needs"):
        load_pairs(str(tmp_path), limit=1, cache=tmp_path)


def test_folder_with_parts_of_different_sizes(tmp_path):
    write_pair(tmp_path, "00001")
    flow, _ = read_flow(tmp_path / "00001_flow.flo")
    write_flow(tmp_path / "00001_flow.flo", flow[:-1])
    with pytest.raises(InputError, match=r"00001_\*: images of .+x.+ and .+x.+, and a flow of "):
        load_pairs(str(tmp_path), limit=1, cache=tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set 'motorcicle'; expected 'motorcycle'"):
        load_pairs("motorcicle", limit=1, cache=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no <id>_img1\.ppm"):
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
        assert len(load_pairs("synthetic", limit=1, cache=tmp_path).pairs) == 1
    assert len(calls) == 1
    assert calls[0][:3] == ("training.synthetic", "--pairs", "1")


def test_synthetic_pairs_of_another_renderer_are_rendered_anew(tmp_path, monkeypatch):
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


def test_an_image_that_cannot_be_read(tmp_path):
    write_pair(tmp_path, "00001")
    (tmp_path / "00001_img2.ppm").write_bytes(b"P6")
    with pytest.raises(InputError, match=r"00001_img2\.ppm is not a picture OpenCV can"):
        load_pairs(str(tmp_path), limit=1, cache=tmp_path)
