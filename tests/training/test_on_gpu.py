"""Networks and training on a GPU, where tensors that are made on the CPU do not serve."""

import json
from pathlib import Path

import pytest
import torch

from training.networks import NETWORKS, build_network
from training.synthetic.kinds import SCENES
from training.synthetic.render import SyntheticPairs
from training.train import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use"),
]
SLIM = [name for name in NETWORKS if name.endswith("_slim")]


@pytest.mark.parametrize("name", SLIM)
def test_the_flow_is_that_of_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    network = build_network(name, seed=0).eval()
    images = torch.rand(2, 1, 3, 128, 192) - 0.5
    with torch.no_grad():
        expected = network(*images)
        found = network.cuda()(*images.cuda())
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scenes", SCENES)
def test_the_same_seed_renders_the_same_pairs(scenes: str) -> None:
    expected, found = (
        SyntheticPairs(96, 128, scenes=scenes, device=name).render(4, 7) for name in ("cpu", "cuda")
    )
    torch.testing.assert_close(found.flow.cpu(), expected.flow, rtol=1e-4, atol=1e-3)
    # Where rounding decides which of two shades or layers a pixel gets, it may be the other one.
    difference = (found.image1.cpu().int() - expected.image1.int()).abs()
    assert (difference > 1).float().mean() < 1e-3


@pytest.mark.parametrize(
    "what", ["--network flownets_pyramid_slim --int8", "--recipe coarse_to_fine --lr 1e-3"]
)
def test_training_learns_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(torch, "compile", lambda network: network)  # it takes a minute
    run = "--steps 40 --batch-size 4 --height 64 --width 64 --pool 8 --fresh 4 --fresh-every 2"
    options = f"{what} {run} --report-every 20 --device cuda".split()
    main([*options, "--out", str(tmp_path)])
    first, last = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert last["epe"]["synthetic"] < first["epe"]["synthetic"]
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
