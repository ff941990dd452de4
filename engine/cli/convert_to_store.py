"""``flow convert IN OUT.zarr``: flow files, or another store, to a store."""

import argparse
import shutil
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from engine.cli import common, flow_files, stores
from engine.cli.outputs import OutputNames, shown
from engine.errors import InputError
from engine.store.reader import FlowStore
from engine.store.writer import check_store_name, move_store, partial_store, write_store
from engine.system.progress import track


def run(options: argparse.Namespace) -> int:
    """Write a store; return the exit status."""
    source, output = options.input, options.output
    if options.format is not None:
        raise InputError(f"{output} is a store; expected no format. Leave --format out.")
    if options.clip:
        raise InputError(
            f"{output} is a store, and --clip limits flow to what .png stores; expected no --clip. "
            "Leave it out; for flow that is too large, give a larger --store-step."
        )
    files = flow_files.named(source, options.source)
    names = OutputNames([source], force=options.force)
    check_store_name(output)
    names.add_new_folder(output)
    hidden = partial_store(output)
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        error = _write(hidden, files, source, step=options.store_step)
        move_store(hidden, output)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    change = f"at most {error:.2g} px off" if error else "exact"
    count = f"{len(files)} flows to " if len(files) > 1 else ""
    print(f"wrote {count}{common.printable(output)}: {change}")
    return 0


def _write(path: Path, files: dict[Path, str], source: Path, *, step: float) -> float:
    """Write all flows and return the largest error of a component in pixels."""
    old = FlowStore(source) if stores.is_store(source) else None
    flows = (
        (name, flow_files.read(file)) for file, name in track(list(files.items()), "converting")
    )
    first_name, first = next(flows)
    error = 0.0
    with write_store(
        path,
        (first.shape[0], first.shape[1]),
        source=shown(Path(source.name)) if old is None else old.info.source,
        time_base=Fraction(1) if old is None else old.time_base,
        bundle=None if old is None else old.info.bundle,
        network=None if old is None else old.info.network,
        step=step,
    ) as store:
        for index, (name, flow) in enumerate(chain([(first_name, first)], flows)):
            store.append(flow, name=name, times=_times(old, index))
            difference = np.abs(FlowStore(path)[-1] - flow)
            error = max(error, float(difference.max(where=~np.isnan(flow), initial=0)))
    return error


def _times(old: FlowStore | None, index: int) -> tuple[Fraction, Fraction]:
    """Return those of the store that is converted; files have none: one second each."""
    if old is None:
        return Fraction(index), Fraction(index + 1)
    first, second = old.pts[index].tolist()
    return first * old.time_base, second * old.time_base
