"""Data sets on disk."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.data.pairs import Pairs, flo_size, read_flo, read_image

# Flying Chairs' official split: one line a pair, 1 = training, 2 = validation.
SPLIT_FILES = ("FlyingChairs_train_val.txt", "chairs_split.txt")


class FlyingChairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """A folder of ``<id>_img1.ppm <id>_img2.ppm <id>_flow.flo``, the layout of Flying Chairs.

    With the official split file in the folder (or its parent), ``split`` selects from it; without
    one, every pair belongs to every split.

    Args:
        folder: where the files lie (``data`` below it is used if it exists, as in the archive).
        split: "train" or "validation".

    Raises:
        FileNotFoundError: no pairs, or a pair lacks a file; the message names the first one.
        ValueError: the split file does not fit the pairs.
    """

    def __init__(self, folder: str | Path, *, split: str = "train") -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        data = folder / "data" if (folder / "data").is_dir() else folder
        first = sorted(data.glob("*_img1.ppm"))
        if not first:
            raise FileNotFoundError(f"{data}: no pairs; expected files like 00001_img1.ppm")
        self.pairs = []
        for image1 in first:
            stem = image1.name.removesuffix("_img1.ppm")
            triple = (image1, data / f"{stem}_img2.ppm", data / f"{stem}_flow.flo")
            for path in triple:
                if not path.is_file():
                    raise FileNotFoundError(
                        f"{path}: missing; every pair needs img1, img2 and flow"
                    )
            self.pairs.append(triple)
        self._select(folder, split)

    def _select(self, folder: Path, split: str) -> None:
        wanted = {"train": 1, "validation": 2}[split]
        for name in SPLIT_FILES:
            for path in (folder / name, folder.parent / name):
                if path.is_file():
                    labels = [int(float(word)) for word in path.read_text().split()]
                    if len(labels) != len(self.pairs):
                        raise ValueError(
                            f"{path}: {len(labels)} labels for {len(self.pairs)} pairs"
                        )
                    both = zip(self.pairs, labels, strict=True)
                    self.pairs = [pair for pair, label in both if label == wanted]
                    return

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return image 1, image 2 (3, H, W) uint8 and flow (2, H, W) float32.

        Raises:
            ValueError: a file cannot be decoded, or the three differ in size.
            OSError: a file cannot be read.
        """
        path1, path2, flow_path = self.pairs[index]
        found = (read_image(path1), read_image(path2), read_flo(flow_path))
        sizes = ["{}x{}".format(*array.shape) for array in found]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"{flow_path}: a flow of {sizes[2]} for images of {sizes[0]} and {sizes[1]}; "
                "expected one size: restore them or remove the pair"
            )
        image1, image2, flow = (torch.from_numpy(array).permute(2, 0, 1) for array in found)
        return image1, image2, flow

    def check_alike(self) -> None:
        """Make sure that all pairs are of one size, as far as the headers of their flow tell.

        Raises:
            ValueError: one is not, or is no flow file.
            OSError: a file cannot be read.
        """
        (_, _, first), *others = self.pairs
        expected = flo_size(first)
        for *_, path in others:
            found = flo_size(path)
            if found != expected:
                sizes = "{}x{}, that of {} {}x{}".format(*found, first.name, *expected)
                raise ValueError(
                    f"{path}: its pair is of {sizes}; expected pairs of one size, which make a "
                    "batch: crop them, or keep them in folders of their own"
                )


def first_pairs(dataset: FlyingChairs, limit: int) -> list[Pairs]:
    """The first ``limit`` pairs of a data set, one a batch."""
    pairs = []
    for index in range(min(limit, len(dataset))):
        image1, image2, flow = (tensor[None] for tensor in dataset[index])
        pairs.append(Pairs(image1, image2, flow, torch.zeros_like(flow[:, :1], dtype=torch.bool)))
    return pairs
