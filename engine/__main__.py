"""The command line: ``flow`` or ``python -m engine``."""

import argparse
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import engine
from engine.backends.registry import AUTO, AUTO_ORDER, BACKENDS, open_backend
from engine.bundle.manifest import Manifest, read_manifest, verify_files
from engine.engine import Flow, FlowEngine
from engine.errors import EngineError, sentence
from engine.flow.colour import flow_to_color
from engine.flow.formats import check_flow_format, write_flow
from engine.images import check_picture_format, read_image, write_image
from engine.loader import DEFAULT_BUNDLE, check_device, check_threads
from engine.system.cache import VARIABLE as CACHE_VARIABLE
from engine.system.cache import cache_folder
from engine.system.cpu import cpu_model, gpus
from engine.system.threads import available_threads

# Distributions that decide what works, for a report of a problem.
_PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "pycuda",
    "opencv-python-headless",
    "opencv-python",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after printing what went wrong on one line."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (EngineError, OSError) as error:
        print(f"flow: {sentence(str(error) or type(error).__name__)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flow", description="Optical flow from two pictures.")
    parser.add_argument("--version", action="version", version=engine.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    infer = commands.add_parser("infer", help="flow from one picture to another")
    infer.add_argument("image1", type=Path, help="first picture")
    infer.add_argument("image2", type=Path, help="second picture, of the same size")
    infer.add_argument(
        "-o", "--output", type=Path, help=".flo, .png (KITTI), .pfm, .npy or .npz to write"
    )
    infer.add_argument(
        "--picture", type=Path, help="picture to write: hue is direction, strength is speed"
    )
    infer.add_argument(
        "--align", action="store_true", help="take out first what most of the picture moves by"
    )
    infer.set_defaults(run=_infer)

    doctor = commands.add_parser("doctor", help="what runs here, and what not and why")
    doctor.set_defaults(run=_doctor)
    infer.add_argument("--backend", default=AUTO, help=f"{AUTO} (default), {', '.join(BACKENDS)}")
    for command in (infer, doctor):
        command.add_argument("--bundle", type=Path, help="folder (default: the one that ships)")
        command.add_argument("--device", type=int, default=0, help="index of the GPU (default: 0)")
        command.add_argument("--threads", type=int, help="CPU threads (default: all allowed)")
    return parser


def _infer(options: argparse.Namespace) -> int:
    _check_outputs(options)
    image1, image2 = read_image(options.image1), read_image(options.image2)
    with engine.load(
        options.bundle,
        backend=options.backend,
        device=options.device,
        threads=options.threads,
        align=options.align,
    ) as flow_engine:
        flow = flow_engine.infer(image1, image2)
        summary = _summary(flow, flow_engine)
    # Files first: a closed stdout must not lose them.
    if options.output is not None:
        write_flow(options.output, flow)
    if options.picture is not None:
        write_image(options.picture, flow_to_color(flow))
    print(summary)
    for path in filter(None, (options.output, options.picture)):
        print("wrote", _printable(path))
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, or that would replace an input or one another."""
    if options.output is None and options.picture is None:
        raise engine.InputError("nothing to write; expected -o FILE, --picture FILE or both.")
    if options.output is not None:
        check_flow_format(options.output)
    if options.picture is not None:
        check_picture_format(options.picture)
    taken = {os.path.realpath(path): "an input" for path in (options.image1, options.image2)}
    for path in filter(None, (options.output, options.picture)):
        if not path.parent.is_dir():
            raise engine.InputError(
                f"{path} cannot be written: {path.parent} is not a folder. Create it."
            )
        if role := taken.get(os.path.realpath(path)):
            raise engine.InputError(f"{path} is also {role}; expected another file to write to.")
        taken[os.path.realpath(path)] = "the other output"


def _summary(flow: Flow, flow_engine: FlowEngine) -> str:
    speed = np.hypot(flow[..., 0], flow[..., 1])
    height, width = speed.shape
    manifest, backend = flow_engine.manifest, flow_engine.backend
    return (
        f"{height}x{width}, mean {speed.mean():.2f} px, largest {speed.max():.2f} px; "
        f"{manifest.network} {manifest.precision}, {backend.name} on {backend.device}"
    )


def _doctor(options: argparse.Namespace) -> int:
    """Print the report; the exit code is 0 when at least one backend opens."""
    check_device(options.device)
    check_threads(options.threads)
    cache = cache_folder() or f"none ({CACHE_VARIABLE} says so, or there is no home)"
    for subject, fact in (
        ("engine", engine.__version__),
        ("python", f"{platform.python_version()}, {platform.platform()}"),
        ("packages", ", ".join(_installed())),
        ("cpu", f"{cpu_model()}, {available_threads()} threads for this process"),
        ("gpu", _gpus()),
        ("cache", _printable(cache)),
    ):
        print(f"{subject:<9} {fact}")
    bundle = options.bundle or DEFAULT_BUNDLE
    try:
        manifest = read_manifest(bundle)
        verify_files(bundle, manifest)
    except EngineError as error:
        print(f"bundle    {_printable(error)}")
        print("backends  not tried: they need a bundle; pass one with --bundle DIR")
        return 1
    files = ", ".join(f"{name} {file.bytes / 1e6:.1f} MB" for name, file in manifest.files.items())
    print(f"bundle    {manifest.network} {manifest.precision} ({files}), {_printable(bundle)}")
    opened = [name for name in AUTO_ORDER if _try_backend(name, bundle, manifest, options)]
    print(f"auto      {opened[0] if opened else 'nothing runs here'}")
    return 0 if opened else 1


def _try_backend(name: str, bundle: Path, manifest: Manifest, options: argparse.Namespace) -> bool:
    try:
        backend = open_backend(
            name, bundle, manifest, device=options.device, threads=options.threads
        )
    except EngineError as error:
        print(f"  {name:<17} no   {_printable(error)}")
        return False
    print(f"  {name:<17} yes  {backend.runtime_version} on {backend.device}")
    backend.close()
    return True


def _printable(what: object) -> str:
    """As text; a file name in it that is not UTF-8 as stderr would print it."""
    return str(what).encode(errors="backslashreplace").decode()


def _installed() -> Iterator[str]:
    for package in _PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _gpus() -> str:
    try:
        return "; ".join(gpus()) or "none found"
    except EngineError as error:
        return f"none found ({error})"


if __name__ == "__main__":
    sys.exit(main())
