"""``flow serve``: offer a bundle to other programs, by the Open Inference Protocol."""

import argparse
import os
from pathlib import Path

from engine.bundle.shipped import bundle_named
from engine.cli import common, inference
from engine.errors import BackendNotInstalledError, InputError
from engine.serving.settings import Settings
from engine.system.argument_parser import UsageError
from engine.system.argument_types import (
    int_between,
    non_negative_float,
    positive_float,
    positive_int,
    size,
)

TOKEN_VARIABLE = "FLOWNET_ENGINE_TOKEN"
_LONGEST_TOKEN = 4096
_LOCAL = ("127.0.0.1", "localhost", "::1")
_EPILOG = f"""examples:
  flow serve
  flow serve build/mine --port 8001 --warm-up 384x512
  flow serve --host 0.0.0.0 --token-file token

Models: flow_pair takes image1 and image2, flow_stream each frame of a sequence once. Ctrl-C and
SIGTERM end the server after the running requests. ${TOKEN_VARIABLE} may hold the token, too."""


def add_command(commands: common.Commands) -> None:
    """Add ``serve`` to the parser's commands."""
    parser = common.add_command(
        commands,
        "serve",
        run,
        help="offer a bundle to other programs, by the Open Inference Protocol (v2, HTTP)",
        epilog=_EPILOG,
    )
    defaults = Settings()
    parser.add_argument(
        "served", nargs="?", type=bundle_named, metavar="BUNDLE", help="as --bundle"
    )
    # fmt: off
    add = parser.add_argument_group("address").add_argument
    add("--host", default=defaults.host, metavar="NAME",
        help=f"address to listen on (default: {defaults.host}, this machine alone)")
    add("--port", type=int_between(0, 65535), default=defaults.port, metavar="N",
        help=f"0 takes a free one (default: {defaults.port})")
    add("--token-file", type=Path, metavar="FILE",
        help="file with the token that requests have to show (Authorization: Bearer TOKEN)")
    add("--no-token", action="store_true",
        help="let everybody who reaches another --host than this machine use the server")
    add = parser.add_argument_group("batches").add_argument
    add("--max-batch", type=int_between(1, 1024), default=defaults.max_batch, metavar="N",
        help=f"pairs computed at once (default: {defaults.max_batch})")
    add("--window", type=non_negative_float, default=1e3 * defaults.window, metavar="MS",
        help="how long a pair waits for others of its size (default: "
        f"{1e3 * defaults.window:g})")
    add("--warm-up", type=size, action="append", default=[], metavar="HxW",
        help="compute images of this size before listening; may be given several times")
    add = parser.add_argument_group("limits").add_argument
    add("--queue", type=positive_int, default=defaults.queue, metavar="N",
        help=f"requests answered at a time; status 503 beyond (default: {defaults.queue})")
    add("--timeout", type=positive_float, default=defaults.timeout, metavar="S",
        help="seconds to send a request, to compute it and to read the answer; status 408 or 504 "
        f"(default: {defaults.timeout:g})")
    add("--max-mib", type=positive_int, default=defaults.max_bytes >> 20, metavar="N",
        help=f"MiB of a request; status 413 (default: {defaults.max_bytes >> 20})")
    add("--max-pixels", type=positive_int, default=defaults.max_pixels, metavar="N",
        help=f"pixels of an input; status 413 (default: {defaults.max_pixels})")
    add("--sequences", type=positive_int, default=defaults.sequences, metavar="N",
        help=f"sequences open at a time; status 503 (default: {defaults.sequences})")
    add("--idle", type=positive_float, default=defaults.idle, metavar="S",
        help=f"close a sequence after S seconds without a frame (default: {defaults.idle:g})")
    # fmt: on
    inference.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    try:  # an optional dependency
        from engine.serving.server import serve, warm_up
    except ModuleNotFoundError as error:
        raise BackendNotInstalledError(
            f"flow serve needs the package {error.name}: pip install 'flownet-engine[serve]'"
        ) from error
    if options.served is not None and options.bundle is not None:
        raise UsageError("BUNDLE and --bundle are the same; give one of them")
    options.bundle = options.served or options.bundle
    settings = _settings(options)
    with inference.open_engine(options) as flow_engine:
        warm_up(flow_engine, options.warm_up, settings.max_batch)
        what = inference.describe(flow_engine)
        serve(flow_engine, settings, lambda it: print(f"{what}, at {it.address}/v2", flush=True))
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        host=options.host,
        port=options.port,
        token=_token(options),
        max_batch=options.max_batch,
        window=options.window / 1e3,
        queue=options.queue,
        timeout=options.timeout,
        max_bytes=options.max_mib << 20,
        max_pixels=options.max_pixels,
        sequences=options.sequences,
        idle=options.idle,
    )


def _token(options: argparse.Namespace) -> str | None:
    """Return the token; None: there is none, and the server needs none."""
    if options.token_file is not None:
        where = str(options.token_file)
        with options.token_file.open("rb") as stream:  # may be a pipe, or have no end
            token = stream.read(_LONGEST_TOKEN).decode("ascii", "replace").strip()
    elif TOKEN_VARIABLE in os.environ:
        where, token = f"${TOKEN_VARIABLE}", os.environ[TOKEN_VARIABLE].strip()
    elif options.host in _LOCAL or options.no_token:
        return None
    else:
        raise InputError(
            f"--host {options.host} lets other machines use the server; expected --token-file "
            f"FILE, or ${TOKEN_VARIABLE}, or --no-token where something else guards it."
        )
    if not (token.isascii() and token.isprintable() and " " not in token and len(token) >= 16):
        raise InputError(
            f"{where} holds no token; expected at least 16 characters without spaces, e.g. of "
            "`openssl rand -hex 32`."
        )
    return str(token)
