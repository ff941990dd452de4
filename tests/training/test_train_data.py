"""Training on data sets: folders, sparse flow, and pairs that are refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from engine.flow.formats import write_flow
from engine.images import write_image
from tests.support.pictures import image
from tests.training.runs import chairs, chairs_with_a_damaged_picture, options, trainer_for
from training.config import TrainingError, parse
from training.inputs import open_inputs
from training.train import main
from training.weights import load_weights

pytestmark = pytest.mark.usefixtures("narrow_network")


def test_trains_on_a_folder(tmp_path: Path) -> None:
    """The second folder's pairs are no multiples of 64: padded as the runtime pads."""
    data, other = chairs(tmp_path / "data"), chairs(tmp_path / "other", "70x90")
    run = tmp_path / "run"
    main(options(run, "--data", f"chairs:{data}", "--validate", f"chairs:{other}", "--steps", "2"))
    metadata = load_weights(run / "narrow.safetensors").metadata
    assert metadata["licence"] == "as of chairs:data"
    assert json.loads(metadata["epe"]).keys() == {"chairs, 4 pairs", "synthetic"}


def test_trains_on_sparse_flow_of_several_sizes(tmp_path: Path) -> None:
    """KITTI's flow is known at a quarter of the pixels, and its pairs differ by a few of them."""
    rng = np.random.default_rng(0)
    for scene, size in (("000000", (96, 128)), ("000001", (94, 129)), ("000010", (95, 127))):
        flow = rng.normal(0, 3, (*size, 2)).astype(np.float32)
        flow[rng.random(size) < 0.75] = np.nan
        training = tmp_path / "training"
        for frame in ("10", "11"):
            write_png(training / "image_2" / f"{scene}_{frame}.png", size)
        (training / "flow_occ").mkdir(exist_ok=True)
        write_flow(training / "flow_occ" / f"{scene}_10.png", flow)
    run, source = tmp_path / "run", f"kitti2015:{tmp_path}"
    main(options(run, "--data", source, "--validate", source, "--steps", "2"))
    errors = json.loads(load_weights(run / "narrow.safetensors").metadata["epe"])
    assert errors.keys() == {"kitti2015, 1 pairs", "synthetic"}
    assert 0 < errors["kitti2015, 1 pairs"] < 100


def write_png(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image(*size, 1))


def test_validation_on_training_pairs_is_refused(tmp_path: Path) -> None:
    data = chairs(tmp_path / "data")
    both = ("--data", f"chairs:{data}", "--validate", f"chairs:{data}")
    with pytest.raises(TrainingError, match="these are the training pairs"):
        trainer_for(options(tmp_path / "run", *both))
    # By another name, too.
    (tmp_path / "link").symlink_to(data)
    for other in (f"{data}/", tmp_path / "link"):
        with pytest.raises(TrainingError, match="these are the training pairs"):
            trainer_for(options(tmp_path / "run", *both[:3], f"chairs:{other}"))
    (data / "FlyingChairs_train_val.txt").write_text("1\n1\n2\n1\n")
    assert len(open_inputs(parse(options(tmp_path / "run", *both))).validation) == 1


def test_pairs_that_do_not_fill_a_batch_are_refused(tmp_path: Path) -> None:
    data = ("--data", f"chairs:{chairs(tmp_path / 'data')}", "--batch-size", "5")
    with pytest.raises(TrainingError, match="4 pairs do not fill a batch of 5; lower --batch-size"):
        trainer_for(options(tmp_path / "run", *data))


def test_pairs_of_different_sizes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other = chairs(tmp_path / "data"), chairs(tmp_path / "other", "70x90")
    for part in ("img1.ppm", "img2.ppm", "flow.flo"):
        (other / f"00002_{part}").replace(data / f"00002_{part}")
    assert main(options(tmp_path / "run", "--data", f"chairs:{data}")) == 2
    said = capsys.readouterr().err
    assert "its pair is of 96x128, the smallest sides are 70 and 90; expected nearly one" in said


def test_a_file_that_spoils_the_validation_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = chairs_with_a_damaged_picture(tmp_path / "data")
    assert main(options(tmp_path / "run", "--validate", f"chairs:{data}")) == 2
    said = capsys.readouterr().err
    assert re.match(r"error: --validate chairs:.*00002_img2\.ppm.*expected a picture", said)
