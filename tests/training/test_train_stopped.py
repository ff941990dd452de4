"""Training that is stopped: by signals, a full disk, files that cannot be read or are damaged."""

import math
import os
import resource
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.runs import chairs, chairs_with_a_damaged_picture, options, trainer_for
from training.data.batch import PairBatch
from training.train import main
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("narrow_network")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_its_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: int,
    code: int,
) -> None:
    steps = Trainer.train_step

    def signalled(self: Trainer, pairs: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        if self.step == 2:
            os.kill(os.getpid(), number)
        return steps(self, pairs)

    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(Trainer, "train_step", signalled)
    arguments = options(tmp_path / "run", "--report-every", "100")
    assert main(arguments) == code
    said = capfd.readouterr().err
    assert "stopping after this step" in said
    assert f"stopped; the same command continues from {tmp_path}/run/checkpoint.pt" in said
    assert trainer_for(arguments).step == 3
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_signal_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def signalled(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not interrupted")

    monkeypatch.setattr(Trainer, "train_step", signalled)
    assert main(options(tmp_path / "run")) == 130
    assert "interrupted; the same command starts again" in capfd.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(tmp_path / "run")
    trainer_for(arguments).save()
    kept = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    save, limits = Trainer.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def with_a_full_disk(self: Trainer) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
        try:
            save(self)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(Trainer, "save", with_a_full_disk)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "checkpoint.pt cannot be written: File too large. Free space" in said
    assert "the run stopped before step 2; the same command continues from" in said
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == kept
    assert not list((tmp_path / "run").glob(".checkpoint*"))


def test_a_pair_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = chairs_with_a_damaged_picture(tmp_path / "data")
    assert main(options(tmp_path / "run", "--data", f"chairs:{data}")) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert "00002_img2.ppm" in first
    assert second.startswith("the run stopped before step 0; there is no checkpoint yet")


def test_reading_needs_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers have little of it, or none."""

    def refused(*_: object, **__: object) -> None:
        raise OSError("no space left on /dev/shm")

    monkeypatch.setattr("torch.multiprocessing.reductions.reduce_storage", refused)
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refused)
    data = chairs(tmp_path / "data")
    assert main(options(tmp_path / "run", "--data", f"chairs:{data}")) == 0


def test_too_little_memory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def allocate(*_: object) -> None:
        torch.empty(10**14)

    monkeypatch.setattr(Trainer, "train_step", allocate)
    assert main(options(tmp_path / "run")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: not enough memory: lower --batch-size, --height and --width, or --pool"


def changed(name: str, value: object) -> Callable[[Path], None]:
    """Replace an entry of the run's state."""

    def change(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        content["state"][name] = value
        torch.save(content, path)

    return change


def reshaped(path: Path) -> None:
    """Give the optimizer a momentum that is not of its parameter's shape."""
    content = torch.load(path, weights_only=True)
    content["state"]["optimizer"]["Muon"]["state"] = {0: {"momentum": torch.zeros(3)}}
    torch.save(content, path)


def flipped(path: Path) -> None:
    """Change one bit of the largest tensor."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "half": lambda path: path.write_bytes(path.read_bytes()[:100_000]),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "one bit": flipped,
    "a list": lambda path: torch.save([1], path),
    "no optimizer": changed("optimizer", None),
    "optimizer of other shapes": reshaped,
    "another step": changed("step", "soon"),
    "negative step": changed("step", -1),
    "endless time": changed("seconds", math.inf),
    "another network": changed("network", {"conv1.0.weight": torch.zeros(1)}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_named_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    trainer_for(options(tmp_path / "run")).save()
    damage(path)
    before = path.read_bytes()
    assert main(options(tmp_path / "run")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is damaged: ")
    assert line.endswith("Restore a copy of it, or delete it to start the run again")
    assert path.read_bytes() == before
