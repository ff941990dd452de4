"""Where training and validation pairs come from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from training.synthetic import FLO_MAGIC, Pairs, SyntheticPairs

# Flying Chairs' official split: one line a pair, 1 = training, 2 = validation.
SPLIT_FILES = ("FlyingChairs_train_val.txt", "chairs_split.txt")


def read_image(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
                    raise FileNotFoundError(f"{path}: missing; every pair needs img1, img2, flow")
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


def read_flo(path: Path) -> np.ndarray:
    """Read a Middlebury .flo file as (H, W, 2) float32 (format: vision.middlebury.edu/flow).

    Raises:
        ValueError: wrong magic number, or the size does not fit the header.
    """
    raw = path.read_bytes()
    header = np.frombuffer(raw[:4], "<f4")
    if len(raw) < 12 or header[0] != np.float32(FLO_MAGIC):
        raise ValueError(f"{path}: not a .flo file")
    width, height = (int(n) for n in np.frombuffer(raw[4:12], "<i4"))
    if width <= 0 or height <= 0 or len(raw) != 12 + 8 * width * height:
        raise ValueError(f"{path}: {len(raw)} bytes do not hold a {height}x{width} flow")
    return np.frombuffer(raw, "<f4", offset=12).reshape(height, width, 2).copy()


class SyntheticStream:
    """An endless stream of synthetic batches over a pool of rendered pairs.

    Every step replaces the oldest ``fresh`` pairs, so rendering costs what the machine can afford:
    on a GPU ``fresh`` is the batch and nothing is seen twice; on a CPU pairs are reused, under new
    augmentation each time.

    Args:
        renderer: renders the pairs.
        pool: how many pairs to keep.
        fresh: how many to render per step.
        batch: pairs per step.
        seed: of everything drawn here.
        step: how many steps a resumed run has behind it.
    """

    def __init__(
        self,
        renderer: SyntheticPairs,
        *,
        pool: int,
        fresh: int,
        batch: int,
        seed: int,
        step: int = 0,
    ) -> None:
        self.renderer, self.fresh, self.batch, self.seed = renderer, fresh, batch, seed
        self.rendered = step * fresh
        shape = (pool, 3, renderer.height, renderer.width)
        self.pool = Pairs(
            torch.empty(shape, dtype=torch.uint8, device=renderer.device),
            torch.empty(shape, dtype=torch.uint8, device=renderer.device),
            torch.empty((pool, 2, *shape[2:]), device=renderer.device),
            torch.empty((pool, 1, *shape[2:]), dtype=torch.bool, device=renderer.device),
        )
        chunk = 8
        for start in tqdm(range(0, pool, chunk), desc="rendering the pool", unit="batch"):
            self._render(min(chunk, pool - start))

    def _render(self, count: int) -> None:
        pairs = self.renderer.render(count, self.seed + self.rendered)
        slots = torch.arange(self.rendered, self.rendered + count) % len(self.pool.flow)
        for field in ("image1", "image2", "flow", "occluded"):
            getattr(self.pool, field)[slots] = getattr(pairs, field)
        self.rendered += count

    def __iter__(self) -> Iterator[Pairs]:
        choice = torch.Generator().manual_seed(self.seed + self.rendered)
        while True:
            self._render(self.fresh)
            slots = torch.randint(len(self.pool.flow), (self.batch,), generator=choice)
            yield Pairs(*(getattr(self.pool, f)[slots] for f in self.pool.__dataclass_fields__))


class DatasetStream:
    """An endless shuffled stream of batches from a data set of equally sized pairs."""

    def __init__(
        self, dataset: Dataset[tuple[Tensor, Tensor, Tensor]], *, batch: int, seed: int
    ) -> None:
        if len(dataset) < batch:  # type: ignore[arg-type]
            raise ValueError(f"{len(dataset)} pairs do not fill a batch of {batch}")  # type: ignore[arg-type]
        self.loader = DataLoader(
            dataset,
            batch,
            shuffle=True,
            drop_last=True,
            num_workers=2,
            persistent_workers=True,
            generator=torch.Generator().manual_seed(seed),
        )

    def __iter__(self) -> Iterator[Pairs]:
        while True:
            for image1, image2, flow in self.loader:
                # Real sets say nothing of occlusion: every pixel counts as visible.
                yield Pairs(image1, image2, flow, torch.zeros_like(flow[:, :1], dtype=torch.bool))


def validation_pairs(renderer: SyntheticPairs, *, count: int, seed: int) -> list[Pairs]:
    """A fixed validation set: ``count`` pairs in batches of four."""
    return [renderer.render(4, seed + i) for i in range(0, count, 4)]


def dataset_pairs(dataset: Dataset[tuple[Tensor, Tensor, Tensor]], limit: int) -> list[Pairs]:
    """The first ``limit`` pairs of a data set, one a batch."""
    items: Sequence[int] = range(min(limit, len(dataset)))  # type: ignore[arg-type]
    pairs = []
    for index in items:
        image1, image2, flow = (tensor[None] for tensor in dataset[index])
        pairs.append(Pairs(image1, image2, flow, torch.zeros_like(flow[:, :1], dtype=torch.bool)))
    return pairs
