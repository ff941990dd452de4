"""``flow doctor``: report which backends work on this machine, and why the others do not."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from engine.cli import common
from engine.cli.report import Report, collect
from engine.system.cpu import is_arm

_FASTEST = "the fastest that works here"
_EPILOG = """examples:
  flow doctor
  flow doctor --json > report.json
  flow doctor --bundle build/mine

exit status: 0 if at least one backend can open the bundle, else 1"""


def add_command(commands: common.Commands) -> None:
    """Add ``doctor`` to the parser's commands."""
    parser = common.add_command(
        commands,
        "doctor",
        run,
        help="report which backends work on this machine, and why the others do not",
        epilog=_EPILOG,
    )
    common.add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0 if at least one backend opens the bundle."""
    report = collect(
        options.bundle, device=options.device, threads=options.threads, trust=options.trust
    )
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(_lines(report)))
    return 0 if report["auto"] else 1


def _lines(report: Report) -> list[str]:
    """Return the report as text."""
    cpu, bundle = report["cpu"], report["bundle"]
    subjects = {
        "engine": _text(report["engine"], lambda it: it["version"]),
        "python": f"{report['python']}, {report['platform']}",
        "packages": _text(report["packages"], lambda it: ", ".join(map(" ".join, it.items()))),
        "cpu": _text(cpu, lambda it: f"{it['model']}, {it['threads']} threads for this process"),
        "gpu": _gpu_text(report["gpus"]),
        "cache": _text(
            report["cache"] or "none (FLOWNET_ENGINE_CACHE is empty, or there is no home)"
        ),
        "refine": _text(report["refinement"]),
        "bundle": _text(bundle, _bundle_text),
    }
    lines = [f"{subject:<9} {fact}" for subject, fact in subjects.items()]
    if "error" in bundle:
        return [*lines, "backends  not tried: they need a bundle; pass one with --bundle DIR"]
    lines += [_backend_line(name, backend) for name, backend in report["backends"].items()]
    return [*lines, f"auto      {_auto_text(report)}"]


def _gpu_text(gpus: Any) -> str:
    if isinstance(gpus, dict):
        return f"none found ({gpus['error']})"
    return "; ".join(gpus) or "none found"


def _bundle_text(bundle: Report) -> str:
    files = ", ".join(
        f"{name} {file['precision'] or file['role']} {file['bytes'] / 1e6:.1f} MB"
        for name, file in bundle["files"].items()
    )
    return f"{bundle['network']} {bundle['precision']} ({files}), {bundle['path']}"


def _auto_text(report: Report) -> str:
    name = report["auto"]
    if name is None:
        return "nothing runs here"
    why = "the first that works here; no Arm CPU was timed" if is_arm() else _FASTEST
    return f"{name}, in {report['backends'][name]['arithmetic']}: {why}"


def _backend_line(name: str, backend: Report) -> str:
    if "error" in backend:
        return f"  {name:<17} no   {backend['error']}"
    return (
        f"  {name:<17} yes  {backend['version']} on {backend['device']}, in {backend['arithmetic']}"
    )


def _text(value: Any, show: Callable[[Any], str] = str) -> str:
    return value["error"] if isinstance(value, dict) and "error" in value else show(value)
