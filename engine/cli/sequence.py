"""What ``flow video`` and ``flow folder`` share: run, resume and summary."""

import argparse
import errno
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path

import engine
from engine.bundle.manifest import MANIFEST_FILE
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.cli import colours, common, inference, sequence_outputs
from engine.errors import EngineError, InputError
from engine.system.files import sha256_of
from engine.system.hidden_names import hidden_stem
from engine.system.progress import progress_bar
from engine.video.frame import FrameSource
from engine.video.journal import Journal, Progress, fingerprint
from engine.video.live_page import live_page
from engine.video.outputs import Output, Write
from engine.video.painter import Painter
from engine.video.pipeline import FlowFrame, flow_frames
from engine.video.views import SideBySide

# Options that do not change what is written.
_WITHOUT_EFFECT = ("run", "force", "threads", "bundle", "show")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the outputs, and of inference along a sequence."""
    sequence_outputs.add_options(parser)
    inference.add_options(parser)
    parser.add_argument(
        "--warm-start",
        action="store_true",
        help="start a recurrent network, RAFT, from the last flow; needs a bundle built with "
        "--split",
    )


def open_journal(options: argparse.Namespace, source: Path) -> Journal | None:
    """Check the outputs; return the journal of this command, beside its first output.

    Raises:
        InputError: An output is refused, or there is none.
    """
    journal = None
    for first in sequence_outputs.paths(options)[:1]:
        path = first.with_name(f"{hidden_stem(first)}.journal.json")
        journal = Journal(path, _job(options, source))
    resumed = journal is not None and journal.read() is not None
    sequence_outputs.check(options, [source], resumed=resumed)
    return journal


def _job(options: argparse.Namespace, source: Path) -> dict[str, str]:
    """Return what the content of the outputs depends on."""
    job = {name: str(value) for name, value in vars(options).items() if name not in _WITHOUT_EFFECT}
    manifest = (options.bundle or DEFAULT_BUNDLE) / MANIFEST_FILE
    with suppress(OSError):  # reported when it is opened
        job |= {"bundle": sha256_of(manifest), "content": fingerprint(source)}
    return job | {"version": engine.__version__}


def run(options: argparse.Namespace, source: FrameSource, journal: Journal | None) -> int:
    """Compute the flow of a sequence, write the outputs and print a summary; return 0.

    Args:
        options: of the command.
        source: the frames.
        journal: says what an interrupted run has finished; None: the source cannot be read again.
    """
    painter = Painter(source.height, source.width, scale=options.scale)
    outputs = list(sequence_outputs.outputs(options, source, painter))
    progress = _resumed(journal, outputs, painter)
    finished = progress.flows
    with inference.open_engine(options) as flow_engine:
        network = inference.describe(flow_engine)
        flows = flow_frames(
            islice(source, finished, None),
            flow_engine,
            warm_start=options.warm_start,
            known_motion=options.compensate_motion,
            first_index=finished,
        )
        known = 0
        started = time.perf_counter()
        with _kept(journal, progress, outputs), ExitStack() as stack:
            writes = [
                stack.enter_context(_opened(output, journal, progress))
                for output in outputs
                if str(output.path) not in progress.complete
            ]
            if options.show:
                writes.append(stack.enter_context(_page(painter)))
            stack.enter_context(_until_interrupted(source, progress))
            for step in _write_all(flows, writes, source, painter, progress):
                known += step.second.motion is not None
                if journal is not None:
                    journal.note(progress)
        seconds = time.perf_counter() - started
    for fault in source.faults():
        print(f"flow: note: {common.printable(fault)}", file=sys.stderr)
    print(
        f"{progress.flows} flows of {source.height}x{source.width}, mean motion "
        f"{progress.motion / progress.flows:.2f} px; {seconds:.2f} s, "
        f"{(progress.flows - finished) / seconds:.1f} frames/s; {network}"
    )
    if known:
        print(f"motion vectors of the video gave the global motion of {known} flows")
    if painter.scale:
        print(colours.describe(painter.scale))
    for output in outputs:
        print("wrote", common.printable(output.path))
    return 0


@contextmanager
def _opened(output: Output, journal: Journal | None, progress: Progress) -> Iterator[Write]:
    """Yield what writes the next flow to an output; if the block ends well, note its completion."""
    with output.open(progress.flows) as write:
        yield write
    progress.complete.append(str(output.path))
    if journal is not None:
        with suppress(OSError):  # outputs come first
            journal.write(progress)


@contextmanager
def _page(painter: Painter) -> Iterator[Write]:
    """Yield what shows a flow in a browser."""
    view = SideBySide(painter, every=2)
    with live_page() as page:
        print(f"open {page.address} in a browser; Ctrl-C ends", flush=True)
        yield lambda step: page.show(view.draw(step))


def _resumed(journal: Journal | None, outputs: Sequence[Output], painter: Painter) -> Progress:
    """Return what all outputs have from an interrupted run; nothing if there was none."""
    progress = None if journal is None else journal.read()
    if progress is None:
        return Progress()
    # Not those of which something was taken away since.
    there = [str(output.path) for output in outputs if _left(progress, output) >= progress.flows]
    progress.complete = [path for path in progress.complete if path in there]
    flows = _finished(progress, outputs)
    if flows == 0 or len(progress.scale) != len(painter.state()):  # the latter: it is damaged
        return Progress()
    painter.resume(progress.scale)
    print(f"flow: note: {flows} flows are there from an interrupted run", file=sys.stderr)
    motion = progress.motion * flows / progress.flows
    return Progress(flows, motion, progress.scale, progress.complete)


def _finished(progress: Progress, outputs: Sequence[Output]) -> int:
    """Return the number of flows that all outputs have."""
    return min([progress.flows, *(_left(progress, output) for output in outputs)])


def _left(progress: Progress, output: Output) -> int:
    """Return the number of flows that an output has."""
    return output.finished(complete=str(output.path) in progress.complete)


@contextmanager
def _until_interrupted(source: FrameSource, progress: Progress) -> Iterator[None]:
    """End the block at Ctrl-C without an error if that is the way to end the source."""
    try:
        yield
    except KeyboardInterrupt:
        if not source.live or progress.flows == 0:
            raise


@contextmanager
def _kept(journal: Journal | None, progress: Progress, outputs: Sequence[Output]) -> Iterator[None]:
    """Remove the journal at the end of the block; if that raises, write it and tell what is kept.

    Raises:
        KeyboardInterrupt: The block was interrupted.
        OSError: The disk is full.
    """
    try:
        yield
    except BaseException as error:
        flows, kept = _finished(progress, outputs), "it cannot be continued."
        if not flows:
            kept = "no flow is kept."
            if journal is not None:
                journal.remove()
        elif journal is not None:
            with suppress(OSError):  # the disk may be full
                journal.write(progress)
                kept = f"{flows} flows are kept, the same command goes on after them."
        if isinstance(error, EngineError) and flows:
            print(f"flow: note: {kept}", file=sys.stderr)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted; {kept}") from error
        if isinstance(error, OSError) and error.errno in _FULL:
            raise OSError(
                f"{error.filename} cannot be written: {error.strerror}; {kept} Free some space."
            ) from error
        raise
    if journal is not None:
        journal.remove()


def _write_all(
    steps: Generator[FlowFrame, None, None],
    writes: Sequence[Write],
    source: FrameSource,
    painter: Painter,
    progress: Progress,
) -> Iterator[FlowFrame]:
    """Write every flow to every output, and count it; yield it."""
    expected = None if source.expected_frames is None else max(1, source.expected_frames - 1)
    finished, started = progress.flows, time.perf_counter()
    with closing(steps), progress_bar("", expected, completed=finished) as advance:
        for step in steps:
            for write in writes:
                write(step)
            # The count comes last: a flow that counts, whatever interrupts this, has all the rest.
            progress.scale = painter.state()
            progress.motion += float(step.magnitudes.mean())
            progress.flows += 1
            rate = (progress.flows - finished) / (time.perf_counter() - started)
            advance(f"{rate:.1f} frames/s")
            yield step
    if not progress.flows:  # a camera: readers have two frames
        raise InputError(
            f"{source.path} sent one frame; expected at least two. Leave --end out, or check the "
            "camera."
        )
