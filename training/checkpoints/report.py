"""What is known about a checkpoint."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from training.checkpoints.convert import changes, fault, not_finite, recognised
from training.checkpoints.files import Contents, read_file
from training.checkpoints.recognise import Match
from training.checkpoints.stated import Stated
from training.networks.registry import network_without_weights


@dataclass(frozen=True)
class Report:
    """A checkpoint; names of tensors are those of the file.

    Attributes:
        file: path as given.
        container: for example "PyTorch", and the prefix that all names had.
        layout: the repository whose names these are.
        network: name in the registry.
        parameters: number of trained parameters of that network.
        tensors: number of tensors in the file.
        dtypes: type -> number of tensors.
        normalisation: key of `training.normalise.NORMALISATIONS`, part of an exported graph.
        colours: order of the channels that the publisher's network reads; all read RGB here.
        taken: the unit of the flow, normalisation and colours -> value in the file and source.
        flow_scale: the network here predicts pixels divided by it.
        output_stride: the flow has this fraction of the images' size.
        upsampling: how it is brought to the images' size.
        renamed: tensors that have another name here -> that name.
        changes: what is done to tensors beside renaming -> number of tensors.
        ignored: tensors that are not needed.
        missing: tensors that the network needs and the file does not have.
        left_over: tensors that the network has no place for.
        wrong_shapes: tensor -> shape found, shape expected.
        not_finite: tensors with NaN or infinity.
        left_out: classes of objects in the file that were not read.
        facts: numbers and texts beside the tensors.
        licence: of the published weights.
        note: what the publisher's code does otherwise.
        problem: why no network can be made of the file; None: one can.
    """

    file: str
    container: str
    layout: str
    network: str
    parameters: int
    tensors: int
    dtypes: dict[str, int]
    normalisation: str
    colours: str
    taken: dict[str, str]
    flow_scale: float
    output_stride: int
    upsampling: str
    renamed: dict[str, str]
    changes: dict[str, int]
    ignored: list[str]
    missing: list[str]
    left_over: list[str]
    wrong_shapes: dict[str, tuple[str, str]]
    not_finite: list[str]
    left_out: list[str]
    facts: dict[str, object]
    licence: str
    note: str
    problem: str | None


def inspect(path: Path, stated: Stated | None = None) -> Report:
    """Describe a checkpoint of a known network, whole or damaged.

    Args:
        path: the file.
        stated: facts that hold whatever the file says.

    Raises:
        CheckpointError: the file cannot be read, is of no known network, or says what cannot be.
        OSError: the file cannot be read.
    """
    contents = read_file(path)
    match = recognised(path, contents, stated)
    assert match.facts is not None
    network = network_without_weights(match.network)
    layout, bad = match.layout, not_finite(contents)
    problem = fault(match)
    if problem is None and bad:
        problem = "some values are NaN or infinite"
    if problem is None and match.left_over:
        problem = "some tensors have no place in the network"
    prefix = f", {contents.prefix!r} before every name" if contents.prefix else ""
    return Report(
        file=str(path),
        container=contents.container + prefix,
        layout=layout.publisher,
        network=match.network,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        tensors=len(contents.tensors),
        dtypes=_dtypes(contents),
        normalisation=match.facts.normalisation.value,
        colours=match.facts.color.value,
        taken=match.facts.in_words(),
        flow_scale=network.flow_scale,
        output_stride=network.output_stride,
        upsampling=layout.upsampling.get(match.network, network.interpolation),
        renamed=_renamed(match),
        changes=changes(match),
        ignored=list(match.ignored),
        missing=list(match.missing),
        left_over=list(match.left_over),
        wrong_shapes=dict(match.wrong),
        not_finite=bad,
        left_out=list(contents.left_out),
        facts=dict(contents.plain_facts),
        licence=layout.licence,
        note=layout.note(match.network),
        problem=problem,
    )


def _dtypes(contents: Contents) -> dict[str, int]:
    kinds = (str(value.dtype).removeprefix("torch.") for value in contents.tensors.values())
    return dict(Counter(kinds))


def _renamed(match: Match) -> dict[str, str]:
    """Return the tensors of the file that become one tensor of another name here."""
    pairs = ((tuple(origin.tensors), name) for name, origin in match.origins.items())
    return {
        found[0]: name
        for found, name in pairs
        if len(found) == 1 and found[0] not in (name, *match.missing)
    }
