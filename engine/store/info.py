"""The attributes of a store, and the names of flows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Literal

from engine.bundle.strict_json import SchemaError, parsed
from engine.errors import FlowFileError
from engine.store.levels import DEFAULT_STEP, check_step, is_step

NAME_BYTES = 256


@dataclass(frozen=True)
class StoreInfo:
    """The attributes of a store.

    Attributes:
        source: name of what the flow belongs to: a video, a folder.
        bundle: SHA-256 of the manifest of the bundle, which has those of its files; None for flow
            of other origin.
        network: name of the network; None likewise.
        step: difference between neighbouring levels in pixels, a power of two.
        max_error: half the step: the largest error of a component in pixels.
        time_base: unit of the times in seconds, as ``1/12800``.
        complete: False while a store is written, and if that was interrupted.
        units: of the flow.
        format: identifies the format.
        version: of the format.
    """

    source: str
    bundle: str | None
    network: str | None
    step: float
    max_error: float
    time_base: str
    complete: Literal[True, False]
    units: Literal["px"] = "px"
    format: Literal["flownet-engine flow store"] = "flownet-engine flow store"
    version: Literal[1] = 1

    @classmethod
    def begun(
        cls,
        source: str,
        time_base: Fraction,
        *,
        bundle: str | None = None,
        network: str | None = None,
        step: float = DEFAULT_STEP,
    ) -> "StoreInfo":
        """Return the attributes of a store that is not complete yet.

        Raises:
            InputError: The step is no power of two from 1/4096 to 16.
        """
        check_step(step)
        return cls(source, bundle, network, step, step / 2, str(time_base), complete=False)

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as they are written."""
        return asdict(self)


def parse_info(attributes: Any) -> StoreInfo:
    """Return the attributes of a group.

    Raises:
        FlowFileError: The group is no store, or one of another version.
    """
    if not isinstance(attributes, Mapping) or attributes.get("format") != StoreInfo.format:
        raise FlowFileError(
            f"is another Zarr group; expected one whose attribute 'format' is {StoreInfo.format!r}."
        )
    try:
        info: StoreInfo = parsed(StoreInfo, attributes, "attributes")
        if not is_step(info.step):
            raise SchemaError(f"attributes.step is {info.step}; expected a power of two")
        if info.max_error != info.step / 2:
            raise SchemaError(f"attributes.max_error is {info.max_error}; expected half the step")
        parse_time_base(info.time_base)
    except SchemaError as error:
        raise FlowFileError(f"is malformed: {error}") from None
    return info


def parse_time_base(text: str) -> Fraction:
    """Return ``1/25`` as a fraction.

    Raises:
        SchemaError: It is no positive fraction.
    """
    try:
        value = Fraction(text) if len(text) <= 40 and "e" not in text.lower() else Fraction(0)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise SchemaError(f"attributes.time_base is {text[:40]!r}; expected seconds, e.g. '1/25'")
    return value


def is_name(name: str) -> bool:
    """Return whether a name is a relative path without ``..`` and of at most 256 bytes."""
    path = PurePosixPath(name)
    fits = 0 < len(name.encode(errors="surrogateescape")) <= NAME_BYTES
    return (
        fits
        and "\0" not in name
        and path.as_posix() == name
        and path.name != ""
        and (not path.is_absolute() and ".." not in path.parts)
    )
