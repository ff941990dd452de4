"""Opening video files by PyAV, which contains FFmpeg; every failure gets its own message."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from engine.errors import BackendNotInstalledError, InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Disposition
    from av.video.stream import VideoStream

# FFmpeg also "decodes" single pictures, and draws text files as the screens of old terminals.
_TEXT_FORMATS = ("adf", "bin", "idf", "tty", "xbin")


def import_av() -> ModuleType:
    """Return PyAV.

    Raises:
        BackendNotInstalledError: PyAV is not installed, or does not load.
    """
    try:
        import av
    except ImportError as error:
        raise BackendNotInstalledError(
            f"reading and writing videos needs PyAV, which cannot be imported ({error}). "
            "Install it: pip install 'flownet-engine[video]'."
        ) from error
    module: ModuleType = av
    return module


def open_video(path: Path) -> "tuple[InputContainer, VideoStream]":
    """Open a video file; return the container, for the caller to close, and its video stream.

    Raises:
        BackendNotInstalledError: PyAV is not installed.
        InputError: There is no such file, it is no video, it contains no video stream, or FFmpeg
            has no decoder for it.
        OSError: The file cannot be read.
    """
    av = import_av()
    if not path.is_file():
        raise InputError(_not_a_file(path))
    path.open("rb").close()  # FFmpeg's errors are less clear than the operating system's
    try:
        # With its protocol, so that a name such as "concat:a" is only a name.
        container: InputContainer = av.open(f"file:{path}")
    except av.FFmpegError as error:
        raise InputError(_not_a_video(path, error.strerror)) from error
    except UnicodeDecodeError as error:
        raise InputError(_not_a_video(path, "its texts are not UTF-8")) from error
    try:
        return container, _video_stream(path, container, av.stream.Disposition.attached_pic)
    except BaseException:
        container.close()
        raise


def _not_a_file(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder; expected a video file. Use `flow folder` for its pictures."
    if str(path) == "-":
        return "a video cannot be read from stdin; expected a video file. Write it to a file first."
    found = "is a pipe, a socket or a device" if path.exists() else "does not exist"
    return f"{path} {found}; expected a video file. Check the path."


def _not_a_video(path: Path, reason: str) -> str:
    with path.open("rb") as stream:
        start = stream.read(8)
    if not start:
        return f"{path} is empty; expected a video file. Copy it or record it again."
    if start[4:] == b"ftyp":  # MP4 and its relatives
        return (
            f"{path} cannot be opened as a video: {reason}. It was cut off and has lost its index; "
            "expected a whole file. Copy it or record it again."
        )
    return (
        f"{path} cannot be opened as a video: {reason}. Expected a file of a kind that FFmpeg "
        "reads. Give another file."
    )


def _video_stream(path: Path, container: "InputContainer", cover: "Disposition") -> "VideoStream":
    name = container.format.name
    if name.endswith("_pipe") or name == "image2":
        raise InputError(
            f"{path} is a picture ({name.removesuffix('_pipe')}), whatever its suffix; expected a "
            "video. For two pictures use `flow infer`, for a folder of them `flow folder`."
        )
    stream = container.streams.best("video")
    if stream is None or name in _TEXT_FORMATS or stream.disposition & cover:
        kinds = sorted({stream.type for stream in container.streams})
        streams = f"{' and '.join(kinds)} only" if kinds else "no stream"
        found = "text" if name in _TEXT_FORMATS else streams
        raise InputError(f"{path} contains {found}; expected a video stream. Give another file.")
    if stream.codec_context is None:
        raise InputError(
            f"{path}: FFmpeg has no decoder for its video stream; expected a codec that PyAV's "
            "FFmpeg can decode. Convert it to H.264 with the program that wrote it."
        )
    video: VideoStream = stream  # type: ignore[assignment]  # `best` is typed as any stream
    return video
