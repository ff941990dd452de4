"""Synthetic pairs: the flow is exact, the seed decides, the statistics are as published."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.data.batch import PairBatch
from training.data.sets import PairDataset
from training.data.streams import SyntheticStream
from training.synthetic.__main__ import main, write_pair
from training.synthetic.render import SyntheticPairs, boxes
from training.synthetic.scene import Sampler, affine


@pytest.fixture(scope="module")
def renderer() -> SyntheticPairs:
    return SyntheticPairs(96, 128)


@pytest.fixture(scope="module")
def pairs(renderer: SyntheticPairs) -> PairBatch:
    return renderer.render(8, seed=1)


def warped(image: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Image 2 brought back by the flow, and where it lies inside."""
    height, width = image.shape[-2:]
    y = torch.arange(height)[:, None] + flow[:, 1]
    x = torch.arange(width)[None, :] + flow[:, 0]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    return F.grid_sample(image.float(), grid, align_corners=False), (grid.abs() < 1).all(-1)


def test_shapes_and_types(pairs: PairBatch) -> None:
    assert pairs.image1.shape == pairs.image2.shape == (8, 3, 96, 128)
    assert pairs.image1.dtype == pairs.image2.dtype == torch.uint8
    assert pairs.flow.shape == (8, 2, 96, 128)
    assert pairs.flow.dtype == torch.float32
    assert pairs.occluded.shape == (8, 1, 96, 128)
    assert pairs.occluded.dtype == torch.bool


def test_flow_leads_to_the_same_colour(pairs: PairBatch) -> None:
    """Warping image 2 back by the flow gives image 1, except where it is occluded."""
    back, inside = warped(pairs.image2, pairs.flow)
    seen = inside & ~pairs.occluded[:, 0]
    # Away from layer borders, where a pixel mixes two colours.
    border = F.max_pool2d((~seen).float()[:, None], 5, 1, 2)[:, 0] > 0
    error = (back - pairs.image1.float()).abs().mean(1)
    still = (pairs.image2.float() - pairs.image1.float()).abs().mean(1)
    moving = pairs.flow.norm(dim=1) > 1
    assert error[seen & ~border].median() < 2
    assert error[seen & ~border & moving].mean() < 0.35 * still[seen & ~border & moving].mean()


def test_occluded_pixels_differ(pairs: PairBatch) -> None:
    back, inside = warped(pairs.image2, pairs.flow)
    error = (back - pairs.image1.float()).abs().mean(1)
    hidden = pairs.occluded[:, 0] & inside
    assert error[hidden].mean() > 5 * error[~pairs.occluded[:, 0] & inside].mean()


def test_seed_decides(renderer: SyntheticPairs, pairs: PairBatch) -> None:
    again = renderer.render(8, seed=1)
    assert torch.equal(again.image1, pairs.image1)
    assert torch.equal(again.flow, pairs.flow)
    assert not torch.equal(renderer.render(8, seed=2).flow, pairs.flow)


def test_boxes_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing every layer over the whole frame gives the same pairs."""
    renderer = SyntheticPairs(96, 128)
    in_boxes = renderer.render(4, seed=5)
    whole = (slice(None), slice(None))
    monkeypatch.setattr(
        "training.synthetic.render.boxes", lambda to_mask, *_: [whole] * to_mask.shape[1]
    )
    drawn_whole = renderer.render(4, seed=5)
    for field in fields(PairBatch):
        assert torch.equal(getattr(in_boxes, field.name), getattr(drawn_whole, field.name))


def test_box_by_hand() -> None:
    """A map that spans 20 pixels about (30, 40) covers columns 20-40 and rows 30-50."""
    to_mask = torch.eye(3).repeat(1, 3, 1, 1)
    to_mask[:, 1:] = affine(
        torch.zeros(1),
        torch.tensor([0.1]),
        torch.tensor([30.0, 40.0]),
        torch.tensor([-30.0, -40.0]),
    )
    present = torch.tensor([[True, True, False]])
    _, box, absent = boxes(to_mask, present, torch.ones_like(present), 96, 36)
    assert box == (slice(30, 51), slice(20, 36))
    assert absent[0].stop - absent[0].start <= 0


def test_motion_statistics(renderer: SyntheticPairs) -> None:
    """Heavy-tailed: most of it small, some beyond 60 pixels, mean near Flying Chairs' 11-13."""
    motion = torch.cat([renderer.render(16, 100 + s).flow.norm(dim=1).flatten() for s in range(6)])
    assert 6 < motion.mean() < 22
    assert motion.median() < motion.mean()
    assert 0.002 < (motion > 60).float().mean() < 0.12


def test_affine_by_hand() -> None:
    """Quarter turn and doubling about (10, 20), then a shift of (1, 2): (11, 20) -> (11, 24)."""
    quarter = torch.tensor(torch.pi / 2)
    matrix = affine(
        quarter, torch.tensor(2.0), torch.tensor([10.0, 20.0]), torch.tensor([1.0, 2.0])
    )
    moved = matrix @ torch.tensor([11.0, 20.0, 1.0])
    torch.testing.assert_close(moved, torch.tensor([11.0, 24.0, 1.0]))


def test_heavy_tail_stands_still_beyond_its_reach() -> None:
    values = Sampler((100_000,), 0).heavy_tailed(3, 10, 120)
    assert values.abs().max() <= 120
    # |z|^3 / 10 > 1 for |z| > 2.154: P = 0.0312
    assert (values == 0).float().mean() == pytest.approx(0.0312, abs=0.003)


def test_stream_replaces_the_oldest(renderer: SyntheticPairs) -> None:
    stream = SyntheticStream(renderer, pool=4, fresh=1, batch=2, seed=9)
    before = stream.pool.flow.clone()
    batch = next(iter(stream))
    assert batch.image1.shape == (2, 3, 96, 128)
    changed = [not torch.equal(a, b) for a, b in zip(before, stream.pool.flow, strict=True)]
    assert changed == [True, False, False, False]


def test_stream_renders_every_so_many_steps(renderer: SyntheticPairs) -> None:
    stream = SyntheticStream(renderer, pool=4, fresh=2, every=2, batch=1, seed=9)
    batches, pools = iter(stream), [stream.pool.flow.clone()]
    for _ in range(4):
        next(batches)
        pools.append(stream.pool.flow.clone())
    changed = [
        [not torch.equal(a, b) for a, b in zip(*pair, strict=True)] for pair in pairwise(pools)
    ]
    first, none, second = [True, True, False, False], [False] * 4, [False, False, True, True]
    assert changed == [first, none, second, none]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_stream_resumes_where_it_was(renderer: SyntheticPairs, every: int) -> None:
    def flows(step: int, count: int) -> list[torch.Tensor]:
        stream = SyntheticStream(renderer, pool=5, fresh=2, every=every, batch=3, seed=9, step=step)
        batches = iter(stream)
        return [next(batches).flow for _ in range(count)]

    for one, two in zip(flows(0, 5)[3:], flows(3, 2), strict=True):
        assert torch.equal(one, two)


def test_nothing_is_seen_twice_when_all_are_fresh(renderer: SyntheticPairs) -> None:
    batches = iter(SyntheticStream(renderer, pool=4, fresh=4, batch=4, seed=0))
    seen = {flow.numpy().tobytes() for _ in range(3) for flow in next(batches).flow}
    assert len(seen) == 12


def test_command_writes_flying_chairs_layout(tmp_path: Path, renderer: SyntheticPairs) -> None:
    main(["--pairs", "2", "--size", "96x128", "--seed", "3", "-o", str(tmp_path)])
    dataset = PairDataset(str(tmp_path))
    assert len(dataset) == 2
    image1, image2, flow = dataset[1]
    expected = renderer.render(1, seed=4)
    assert torch.equal(image1, expected.image1[0])
    assert torch.equal(image2, expected.image2[0])
    assert torch.equal(flow, expected.flow[0])


@pytest.mark.parametrize("size", ["96", "0x64", "axb", "64x-1"])
def test_command_refuses_a_bad_size(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--size", size, "-o", str(tmp_path / "out")])
    assert "is not a size; expected HxW" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_refuses_more_than_is_read_or_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--pairs", "1", "-o", str(tmp_path / "out"), "--size"]
    with pytest.raises(SystemExit):
        main([*command, "99999x99999"])
    assert "99999x99999: pictures of more than 33554432 pixels are" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

    def render(*_: object) -> None:
        torch.empty(10**14)

    monkeypatch.setattr(SyntheticPairs, "render", render)
    with pytest.raises(SystemExit) as caught:
        main([*command, "64x80"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: not enough memory: give a smaller --size\n"


@pytest.mark.parametrize("held", ["00007_flow.flo", "frame_img1.png"])
def test_command_replaces_no_pairs(
    held: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / held).write_bytes(b"precious")
    with pytest.raises(SystemExit) as caught:
        main(["--pairs", "1", "--size", "64x80", "-o", str(tmp_path)])
    assert caught.value.code == 2
    expected = f"contains pairs already ({held}); name a new folder, or remove them"
    assert expected in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [held]


@pytest.mark.parametrize("output", ["file", "file/out"])
def test_command_refuses_a_file(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        main(["--pairs", "1", "--size", "64x80", "-o", str(tmp_path / output)])
    assert caught.value.code == 2
    assert "file is a file; expected a folder" in capsys.readouterr().err


def test_a_stopped_command_may_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that was killed and could not tidy up: no pair is in the folder until the end."""
    command = ["--pairs", "2", "--size", "64x80", "-o", str(tmp_path)]

    def write(folder: Path, name: str, pair: PairBatch) -> None:
        write_pair(folder, name, pair)
        if name == "00002":
            assert not [path for path in tmp_path.iterdir() if path.is_file()]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.synthetic.__main__.write_pair", write)
        with pytest.raises(SystemExit) as stopped:
            main(command)
    assert stopped.value.code == 130
    assert not list(tmp_path.iterdir())
    left = tmp_path / ".partial-killed"
    left.mkdir()
    (left / "00001_img1.ppm").touch()
    main(command)
    assert len(list(tmp_path.iterdir())) == 6


def test_written_flow_is_middlebury(tmp_path: Path) -> None:
    main(["--pairs", "1", "--size", "64x80", "-o", str(tmp_path)])
    raw = (tmp_path / "00001_flow.flo").read_bytes()
    assert raw[:4] == b"PIEH"
    assert np.frombuffer(raw[4:12], "<i4").tolist() == [80, 64]
    assert len(raw) == 12 + 64 * 80 * 8
