"""Data sets on disk."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.pairs import Pairs, read_flo, read_image

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
        """Return image 1, image 2 (3, H, W) uint8 and flow (2, H, W) float32."""
        path1, path2, flow_path = self.pairs[index]
        images = [torch.from_numpy(read_image(path)).permute(2, 0, 1) for path in (path1, path2)]
        return images[0], images[1], torch.from_numpy(read_flo(flow_path)).permute(2, 0, 1)


def first_pairs(dataset: FlyingChairs, limit: int) -> list[Pairs]:
    """The first ``limit`` pairs of a data set, one a batch."""
    pairs = []
    for index in range(min(limit, len(dataset))):
        image1, image2, flow = (tensor[None] for tensor in dataset[index])
        pairs.append(Pairs(image1, image2, flow, torch.zeros_like(flow[:, :1], dtype=torch.bool)))
    return pairs
