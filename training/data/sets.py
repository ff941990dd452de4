"""Pairs on disk as tensors."""

from itertools import islice

import torch
from torch import Tensor

from engine.data.data_set import Use
from engine.data.files import PairFiles, read_pair, require_flows
from engine.data.pair import PairsError
from engine.data.sources import DATA_SETS, parse_source
from engine.flow.formats import read_flow_size
from engine.images.padding import CentreCrop
from training.data.batch import PairBatch

_LARGEST_LOSS = 0.1  # of a side; KITTI's pairs differ by 2 %


class PairDataset:
    """The pairs of a data set, all with true flow.

    Attributes:
        name: of the data set.
        files: of each pair.
        size: height and width that pairs are cropped to, at their centre; None: not cropped.

    Args:
        source: as in `engine.data.sources.parse_source`.
        use: the pairs are those of the data set's split for this, see `DataSet.split_for`.

    Raises:
        PairsError: no pairs, one without flow, or the split file does not fit them.
    """

    def __init__(self, source: str, *, use: Use = "train") -> None:
        data_set, folder, pass_name = parse_source(source)
        self.name = data_set
        split = DATA_SETS[data_set].split_for(use)
        self.files = DATA_SETS[data_set].find_pairs(folder, split=split, pass_name=pass_name)
        self.size: tuple[int, int] | None = None
        require_flows(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return image 1, image 2 (3, H, W) uint8 and flow (2, H, W) float32, NaN where unknown.

        Raises:
            PairsError: a file cannot be decoded, the three differ in size, or the flow is unknown
                at every pixel.
            OSError: a file cannot be read.
        """
        files = self.files[index]
        pair = read_pair(files)
        if not pair.valid.any():
            raise PairsError(
                f"{files.flow}: flow is unknown at every pixel; expected some known pixels: remove "
                "the pair"
            )
        cut = CentreCrop(pair.size, self.size or pair.size).apply
        image1, image2, flow = (
            torch.from_numpy(cut(array)).permute(2, 0, 1)
            for array in (pair.image1, pair.image2, pair.flow)
        )
        return image1, image2, flow

    def crop_to_one_size(self) -> tuple[int, int]:
        """Crop all pairs to their smallest height and width, by the headers of the flow files.

        Returns:
            (height, width).

        Raises:
            PairsError: a pair would lose more than a tenth of a side.
            FlowFileError: a header is malformed.
            OSError: a file cannot be read.
        """
        sizes = {files.flow: _size_of(files) for files in self.files if files.flow is not None}
        height, width = (min(sides) for sides in zip(*sizes.values(), strict=True))
        for path, size in sizes.items():
            if height < (1 - _LARGEST_LOSS) * size[0] or width < (1 - _LARGEST_LOSS) * size[1]:
                raise PairsError(
                    "{}: its pair is of {}x{}, the smallest sides are {} and {}; expected nearly "
                    "one size, as pairs are cropped to make a batch: crop them, or keep them in "
                    "folders of their own".format(path, *size, height, width)
                )
        self.size = height, width
        return self.size


def _size_of(files: PairFiles) -> tuple[int, int]:
    assert files.flow is not None
    height, width = read_flow_size(files.flow)
    return height // files.vectors_per_side, width // files.vectors_per_side


def first_pairs(dataset: PairDataset, limit: int) -> list[PairBatch]:
    """Return the first ``limit`` pairs, each a batch of one."""
    items = (dataset[index] for index in range(len(dataset)))
    return [PairBatch.all_visible(*(x[None] for x in item)) for item in islice(items, limit)]
