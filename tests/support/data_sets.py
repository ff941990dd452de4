"""Small folders in the layouts of the published data sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.flow.formats import write_flow
from engine.images import write_image
from engine.types import Array
from tests.support.pictures import flow, image

HEIGHT, WIDTH = 32, 48


def picture(path: Path, seed: int = 0) -> None:
    """Write a picture that differs for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image(HEIGHT, WIDTH, seed))


def mask(path: Path, marked: Array) -> None:
    """Write a picture, white where a mask is True."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.repeat(np.uint8(255) * marked[..., None].astype(np.uint8), 3, axis=-1))


def vectors(path: Path, values: Array | None = None) -> None:
    """Write a flow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, flow(HEIGHT, WIDTH) if values is None else values)


def half(rows: bool) -> Array:
    """Return a mask of the upper rows or of the left columns."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(y < HEIGHT // 2 if rows else x < WIDTH // 2)


def chairs(root: Path) -> None:
    for name in ("00001", "00002", "00003"):
        for number in (1, 2):
            picture(root / "data" / f"{name}_img{number}.ppm", number)
        vectors(root / "data" / f"{name}_flow.flo")
    (root / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n")


def chairs1485(root: Path) -> None:
    for number in range(10):
        for part in ("img1.ppm", "img2.ppm"):
            picture(root / f"{number:05}_{part}", number)
        vectors(root / f"{number:05}_flow.flo")


def things(root: Path) -> None:
    for part, scene in (("TRAIN", "A/0000"), ("TEST", "C/0149")):
        for camera in ("left", "right"):
            for frame in ("0006", "0007", "0008"):
                for rendered in ("frames_cleanpass", "frames_finalpass"):
                    picture(root / rendered / part / scene / camera / f"{frame}.png", int(frame))
                for past, word in (("into_future", "IntoFuture"), ("into_past", "IntoPast")):
                    name = f"OpticalFlow{word}_{frame}_{camera[0].upper()}.pfm"
                    vectors(root / "optical_flow" / part / scene / past / camera / name)


def sintel(root: Path) -> None:
    scenes = {"alley_1": (1, 2, 3), "bamboo_2": (24, 25, 26), "market_6": (1, 2)}
    for scene, frames in scenes.items():
        for frame in frames:
            name = f"{scene}/frame_{frame:04}"
            for rendered in ("albedo", "clean", "final"):
                picture(root / "training" / rendered / f"{name}.png", frame)
            mask(root / "training" / "invalid" / f"{name}.png", half(rows=False))
        for frame in frames[:-1]:
            name = f"{scene}/frame_{frame:04}"
            vectors(root / "training" / "flow" / f"{name}.flo")
            mask(root / "training" / "occlusions" / f"{name}.png", half(rows=True))
    for frame in (1, 2):
        for rendered in ("clean", "final"):
            picture(root / "test" / rendered / "cave_3" / f"frame_{frame:04}.png", frame)


def kitti2012(root: Path) -> None:
    _kitti(root, ("colored_0", "image_0"))


def kitti2015(root: Path) -> None:
    _kitti(root, ("image_2",))
    for scene in ("000000", "000010"):
        objects = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        objects[half(rows=False)] = 1  # the first object, nearly black
        (root / "training/obj_map").mkdir(exist_ok=True)
        write_image(root / "training/obj_map" / f"{scene}_10.png", objects)


def _kitti(root: Path, folders: tuple[str, ...]) -> None:
    for part in ("training", "testing"):
        for folder in folders:
            for scene in ("000000", "000010"):
                for frame in ("10", "11"):
                    picture(root / part / folder / f"{scene}_{frame}.png", int(frame))
    for scene in ("000000", "000010"):
        all_pixels = flow(HEIGHT, WIDTH)
        visible = all_pixels.copy()
        visible[half(rows=True)] = np.nan
        vectors(root / "training/flow_occ" / f"{scene}_10.png", all_pixels)
        vectors(root / "training/flow_noc" / f"{scene}_10.png", visible)


def hd1k(root: Path) -> None:
    for sequence, count in (("000000", 3), ("000001", 2)):
        for frame in range(count):
            name = f"{sequence}_{frame:04}.png"
            picture(root / "hd1k_input/image_2" / name, frame)
            vectors(root / "hd1k_flow_gt/flow_occ" / name)
    for frame in (10, 11):
        picture(root / "hd1k_challenge/image_2" / f"000002_{frame:04}.png", frame)


def chairssdhom(root: Path) -> None:
    for part, names in (("train", ("00000", "00001")), ("test", ("00000",))):
        for name in names:
            picture(root / "data" / part / "t0" / f"{name}.png", 0)
            picture(root / "data" / part / "t1" / f"{name}.png", 1)
            vectors(root / "data" / part / "flow" / f"{name}.pfm")


def middlebury(root: Path) -> None:
    for scene in ("Beanbags", "Grove2", "Venus"):
        for frame in (9, 10, 11):
            picture(root / "other-data" / scene / f"frame{frame:02}.png", frame)
    for scene in ("Grove2", "Venus"):
        vectors(root / "other-gt-flow" / scene / "flow10.flo")
    for frame in (10, 11):
        picture(root / "eval-data/Army" / f"frame{frame}.png", frame)


def spring(root: Path) -> None:
    fine = np.zeros((2 * HEIGHT, 2 * WIDTH, 2), np.float32)
    fine[::2, ::2, 0], fine[::2, 1::2, 0], fine[1::2, ::2, 0], fine[1::2, 1::2, 0] = 1, 2, 3, 4
    fine[1, 1] = np.nan  # the last vector of the first pixel
    for camera in ("left", "right"):
        for frame in ("0001", "0002"):
            for scene in ("train/0001", "test/0003"):
                folder = root / scene / f"frame_{camera}"
                picture(folder / f"frame_{camera}_{frame}.png", int(frame))
        for direction, frame in (("FW", "0001"), ("BW", "0002")):
            name = f"flow_{direction}_{camera}"
            vectors(root / "train/0001" / name / f"{name}_{frame}.flo5", fine)
            maps = root / "train/0001/maps" / f"matchmap_{name}"
            mask(maps / f"matchmap_{name}_{frame}.png", half(rows=True))


def frames(root: Path) -> None:
    for number in (2, 9, 10):
        picture(root / f"frame{number}.jpg", number)


TREES: dict[str, Callable[[Path], None]] = {
    tree.__name__: tree
    for tree in (
        chairs, chairs1485, things, sintel, kitti2012, kitti2015, hd1k, chairssdhom, middlebury,
        spring, frames,
    )
}  # fmt: skip
