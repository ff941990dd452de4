"""An animated GIF from parts of a video, by FFmpeg's filters."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from engine.video.container import import_av
from engine.video.parts import Part, opened

if TYPE_CHECKING:
    from av.filter.context import FilterContext
    from av.filter.graph import Graph
    from av.video.frame import VideoFrame

_TIME_BASE = Fraction(1, 100)  # of the format, in seconds
# A fixed pattern, so that what stands still does not flicker, and is not stored again.
_DITHER = "dither=bayer:bayer_scale=4:diff_mode=rectangle"


def write_gif(path: Path, parts: Sequence[Part]) -> None:
    """Write a GIF that repeats for ever, in the 256 colours that suit all its images best.

    The parts are read twice, for the colours and for the images, so memory does not grow with them.

    Raises:
        av.FFmpegError: The file cannot be written.
    """
    av = import_av()
    first = next(_frames(parts))
    palette = _palette(first, _frames(parts))
    graph = av.filter.Graph()
    images, colors, sink = _source(graph, first), _source(graph, palette), graph.add("buffersink")
    reduce = graph.add("paletteuse", _DITHER)
    images.link_to(reduce, 0, 0)
    colors.link_to(reduce, 0, 1)
    reduce.link_to(sink)
    graph.configure()
    colors.push(palette)
    colors.push(None)
    with av.open(f"file:{path}", "w", format="gif") as output:
        stream = output.add_stream("gif")
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "pal8"
        stream.codec_context.time_base = _TIME_BASE
        for frame in chain(_frames(parts), [None]):
            images.push(frame)
            for reduced in _finished(sink):
                output.mux(stream.encode(reduced))
        output.mux(stream.encode(None))


def _palette(first: "VideoFrame", frames: "Iterable[VideoFrame]") -> "VideoFrame":
    """Return the best colours of all frames."""
    graph = import_av().filter.Graph()
    images, sink = _source(graph, first), graph.add("buffersink")
    graph.link_nodes(images, graph.add("palettegen"), sink).configure()
    for frame in chain(frames, [None]):
        images.push(frame)
    palette: VideoFrame = sink.pull()
    return palette


def _source(graph: "Graph", frame: "VideoFrame") -> "FilterContext":
    return graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )


def _finished(sink: "FilterContext") -> "Iterator[VideoFrame]":
    av = import_av()
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            frame: VideoFrame = sink.pull()  # type: ignore[assignment]  # typed as any frame
            yield frame


def _frames(parts: Sequence[Part]) -> "Iterator[VideoFrame]":
    for part in parts:
        with opened(part.path) as video:
            if video is not None:
                container, stream = video
                yield from islice(container.decode(stream), part.images)
