"""What the whole bench needs of the package index, from pyproject.toml and constraints.txt.

python -m bench.packages
python -m bench.packages --wheels DIR

Installs what this environment lacks, and nothing else: what is there keeps its version. With
``--wheels`` it comes from a folder of wheels, or from a bundle of ``bench.offline_bundle``, and the
network is left alone. PyTorch is not among it: which build is right, the machine decides.

Imports nothing that might be what is missing.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("dev", "tensorrt-rtx")
CPU_RUNTIME, GPU_RUNTIME = "onnxruntime", "onnxruntime-gpu"
CUDA_LIBRARIES = "[cuda,cudnn]"

_NETWORK_FAULTS = (
    "NewConnectionError", "Failed to establish a new connection", "ConnectTimeoutError",
    "ReadTimeoutError", "NameResolutionError", "Temporary failure in name resolution",
    "ProxyError", "Network is unreachable", "Connection refused", "Connection reset",
)  # fmt: skip


class PipError(RuntimeError):
    """pip did not do what it was asked; the message says why and what to do."""


class NoNetworkError(PipError):
    """The package index cannot be reached."""


def run_pip(arguments: Sequence[str]) -> None:
    """Run pip in this environment.

    Raises:
        PipError: it failed; what it said itself is at the end of the message.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise _explained(done.stdout)


def _explained(output: str) -> PipError:
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no message"]
    last = ([line for line in lines if line.lower().startswith("error")] or lines)[-1]
    if "No space left on device" in output:
        return PipError(f"no space left on the disk; free some and run this again ({last})")
    if any(fault in output for fault in _NETWORK_FAULTS):
        return NoNetworkError(
            f"the package index cannot be reached; check the network and pip's settings ({last})"
        )
    unknown = re.search(r"No matching distribution found for (\S+)", output)
    if unknown:
        return PipError(
            f"there is no {unknown[1]} for this Python and platform, or none at all; "
            f"check the name and version in pyproject.toml and constraints.txt ({last})"
        )
    # Of a build that fails, pip's own last line says no more than that.
    causes = [line for line in lines if "fatal error" in line]
    return PipError(f"pip failed: {' | '.join(dict.fromkeys([*causes[:1], last]))}")


def normalised(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The normalised name that a requirement begins with."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    if match is None:
        raise ValueError(f"{requirement!r} is no requirement; expected NAME or NAME==VERSION")
    return normalised(match[0])


def pins() -> dict[str, str]:
    """Version by name, as constraints.txt has them; ONNX Runtime's in its CUDA build."""
    lines = (ROOT / "constraints.txt").read_text().split()
    found = {normalised(name): version for name, version in (line.split("==") for line in lines)}
    # The releases of both builds have the same numbers.
    found[GPU_RUNTIME] = found.pop(CPU_RUNTIME)
    del found["torch"]
    return found


def requirements(*, cuda_libraries: bool = True) -> list[str]:
    """What is needed beside PyTorch, each at its exact version, without what these need in turn.

    Args:
        cuda_libraries: whether ONNX Runtime's CUDA libraries are, which a CUDA build of PyTorch
            brings as well.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found: dict[str, str] = {}
    queue = [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]
    for requirement in queue:  # grows while it is read
        name = name_of(requirement)
        if name == project["name"]:
            named = re.findall(r"[\w-]+", requirement.partition("[")[2])
            queue += [each for extra in named for each in extras[extra]]
        elif name != "torch":
            found[name] = requirement
    found[GPU_RUNTIME] = GPU_RUNTIME
    del found[CPU_RUNTIME]
    known = pins()
    exact = {name: f"{name}=={known[name]}" if name in known else found[name] for name in found}
    if cuda_libraries:
        exact[GPU_RUNTIME] = exact[GPU_RUNTIME].replace(GPU_RUNTIME, GPU_RUNTIME + CUDA_LIBRARIES)
    return sorted(exact.values())


def constraints(*, without: Collection[str] = ()) -> str:
    """The pins as a constraints file, without those of the distributions named."""
    return "".join(f"{name}=={pin}\n" for name, pin in pins().items() if name not in without)


def missing(wanted: Sequence[str]) -> list[str]:
    """Those of the requirements whose distribution is not installed, in whatever version."""
    present = installed()
    if _overwritten():
        present.remove(GPU_RUNTIME)
    return [requirement for requirement in wanted if name_of(requirement) not in present]


def installed() -> set[str]:
    """Names of all distributions that this Python sees."""
    return {normalised(found.name) for found in metadata.distributions() if found.name}


def install(wanted: Sequence[str], wheels: Path | None) -> list[str]:
    """Install requirements, leaving alone what is there already.

    Args:
        wanted: the requirements.
        wheels: the folder they come from; None: the package index.

    Returns:
        A sentence for each that could not be installed.
    """
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "constraints.txt")
        file.write_text(constraints(without=installed()))
        command = ["install", "--quiet", "--constraint", str(file), *source]
        try:
            _replace_cpu_runtime(wanted, command)
            run_pip([*command, *wanted])
        except NoNetworkError as error:
            return [f"{', '.join(map(name_of, wanted))}: {error}"]
        except PipError:
            # One by one: what does not compile here keeps none of the others back.
            return [said for each in wanted if (said := _attempt([*command, each]))]
    return []


def _attempt(command: Sequence[str]) -> str | None:
    try:
        run_pip(command)
    except PipError as error:
        return f"{name_of(command[-1])}: {error}"
    return None


def _replace_cpu_runtime(wanted: Sequence[str], command: Sequence[str]) -> None:
    """Make room for ONNX Runtime's CUDA build, whose files have the CPU build's names."""
    gpu = [each for each in wanted if name_of(each) == GPU_RUNTIME]
    if gpu and CPU_RUNTIME in installed():
        run_pip([*command, "--dry-run", *gpu])  # nothing is taken away before it can be replaced
        print(f"replacing {CPU_RUNTIME} by {GPU_RUNTIME}", flush=True)
        builds = {CPU_RUNTIME, GPU_RUNTIME} & installed()
        run_pip(["uninstall", "--quiet", "--yes", *sorted(builds)])


def _overwritten() -> bool:
    """Whether both builds of ONNX Runtime are in one folder, where the last one's files are left.

    `pip install` of this project brings the CPU build back to an environment that has the other.
    """
    folders: dict[str, set[str]] = {CPU_RUNTIME: set(), GPU_RUNTIME: set()}
    for found in metadata.distributions():
        folders.get(normalised(found.name or ""), set()).add(str(found.locate_file("")))
    return bool(folders[CPU_RUNTIME] & folders[GPU_RUNTIME])


def folder_of_wheels(given: Path) -> Path:
    """The wheels of a bundle of ``bench.offline_bundle``, joined, or the folder itself.

    Raises:
        PipError: there is no such folder, or the bundle is damaged or incomplete.
    """
    if not given.is_dir():
        raise PipError(f"{given}: no such folder; expected one with wheels in it")
    script = given / "install.sh"
    if not script.is_file():
        return given
    done = subprocess.run(["sh", str(script), "join"], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise PipError(f"{given}: {done.stderr.strip().removeprefix('error: ')}")
    return given / "wheels"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 (something is still missing)."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.packages", description="Install what the whole bench needs and lacks."
    )
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="from this folder alone")
    options = parser.parse_args(arguments)
    wanted = missing(requirements())
    failures = []
    if wanted:
        print(f"installing {', '.join(wanted)}", flush=True)
        try:
            wheels = options.wheels and folder_of_wheels(options.wheels.resolve())
            failures = install(wanted, wheels)
        except PipError as error:
            failures = [str(error)]
    if "torch" not in installed():
        failures.append("PyTorch is not installed; expected a CUDA build of it on this machine")
    for failure in failures:
        print(f"missing: {failure}", file=sys.stderr)
    if not failures:
        print("all packages are there")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
