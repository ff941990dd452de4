"""``flow web``: a page that computes flow in the browser, served here or written into a folder."""

import argparse
import shutil
from pathlib import Path

from engine.bundle.shipped import bundle_named
from engine.cli import common
from engine.cli.outputs import OutputNames, write_in_folder
from engine.errors import InputError
from engine.system.argument_types import int_between
from engine.system.files import replacing
from engine.web.runtime import runtime_files
from engine.web.server import Server
from engine.web.site import DESCRIPTION, SiteFiles, site_files

_HOST, _PORT = "127.0.0.1", 8000

_EPILOG = """examples:
  flow web build/browser
  flow web build/browser -o site

BUNDLE has the network in fp32 or fp16 as one graph. The page computes on the GPU by WebGPU, else on
the CPU by WebAssembly; pictures and videos stay in the browser. It needs onnxruntime-web, which
`npm ci --prefix engine/web` installs in a checkout. With -o, any static host can serve the folder.
Ctrl-C ends the server."""


def add_command(commands: common.Commands) -> None:
    """Add ``web`` to the parser's commands."""
    parser = common.add_command(
        commands, "web", run, help="serve a page that computes flow in the browser", epilog=_EPILOG
    )
    add = parser.add_argument
    # fmt: off
    add("bundle", type=bundle_named, metavar="BUNDLE",
        help="bundle in fp32 or fp16 (the one that ships is in int8)")
    add("-o", "--output", type=Path, metavar="DIR",
        help="write the page into a folder for a static host; serve nothing")
    add("--force", action="store_true", help="overwrite files that exist")
    add("--host", default=_HOST, metavar="NAME", help=f"to listen on (default: {_HOST}); browsers "
        "give other machines neither threads nor WebGPU nor the camera without https")
    add("--port", type=int_between(0, 65535), default=_PORT, metavar="N",
        help=f"to listen on (default: {_PORT}); 0: any that is free")
    add("--runtime", type=Path, metavar="DIR",
        help="dist/ of onnxruntime-web (default: where `npm ci` installs it)")
    add("--trust", type=Path, metavar="FILE",
        help="public key: open the bundle only if it is signed by it")
    # fmt: on


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    if options.output is not None:
        OutputNames([], force=options.force).add_new_folder(options.output)
    manifest, site = site_files(
        options.bundle,
        runtime_files(options.runtime),
        trust=options.trust,
        offline=options.output is not None,
    )
    what = f"{manifest.network} {manifest.precision}"
    if options.output is None:
        _serve(options.host, options.port, site, what)
    else:
        _write(options.output, site)
        print(f"{what}; wrote {common.printable(options.output)}: {len(site)} files")
    return 0


def _serve(host: str, port: int, site: SiteFiles, what: str) -> None:
    try:
        server = Server(host, port, site)
    except (OSError, UnicodeError) as error:  # the latter: of a host that is no name
        reason = error.strerror if isinstance(error, OSError) else "the name is not valid"
        raise InputError(
            f"{host}:{port} cannot be listened on: {reason}; expected an address of this "
            "machine and a free port. Give another --port, or 0 for any."
        ) from error
    with server:
        print(f"{what} at {server.url} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")


def _write(folder: Path, site: SiteFiles) -> None:
    # Last what the page reads first.
    for name in sorted(site, key=lambda name: name == DESCRIPTION):
        content = site[name]
        if isinstance(content, bytes):
            write_in_folder(folder / name, content)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with replacing(folder / name, sync=False) as temporary:
                shutil.copyfile(content, temporary)
