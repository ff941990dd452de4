"""What the whole bench needs, and how pip is asked for what is missing."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench import packages
from bench.packages import NoNetworkError, PipError, folder_of_wheels, install, main, run_pip

ROOT = Path(__file__).parents[2]


def test_requirements_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        re.match(r"[\w-]+", each)[0]
        for extra, texts in project["optional-dependencies"].items()
        if extra != "tensorrt"  # the other package of TensorRT, from an index of its own
        for each in texts
    }
    found = packages.requirements()
    names = [packages.name_of(each) for each in found]
    assert len(set(names)) == len(names)
    assert set(names) == named - {"flownet-engine", "torch"} | {"numpy", "onnxruntime-gpu"}
    assert all(re.search(r"==[0-9.]+$", each) for each in found)
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    runtime = f"onnxruntime-gpu[cuda,cudnn]=={pins['onnxruntime']}"
    assert runtime in found
    assert f"numpy=={pins['numpy']}" in found
    assert set(packages.requirements(cuda_libraries=False)) == {
        *(each for each in found if each != runtime),
        runtime.replace("[cuda,cudnn]", ""),
    }


def test_constraints_leave_what_is_there_alone():
    lines = packages.constraints(without={"numpy"}).splitlines()
    assert not [line for line in lines if line.startswith(("numpy==", "torch==", "onnxruntime=="))]
    assert [line for line in lines if line.startswith("onnxruntime-gpu==")]


KNOWN = set(map(packages.name_of, packages.requirements()))


class Machine:
    """A pip that installs everything but what is in ``refused``, and what it was asked for."""

    def __init__(self):
        self.present = {"torch", "numpy"}
        self.refused = {}
        self.calls = []

    def pip(self, arguments):
        words = [re.split(r"==|\[", each)[0] for each in arguments]
        names = [word for word in words if word in KNOWN]
        dry = "--dry-run" in arguments
        self.calls.append((arguments[0], *names, *(["dry"] if dry else [])))
        if arguments[0] == "uninstall":
            self.present -= set(arguments)
            return
        file = Path(arguments[arguments.index("--constraint") + 1])
        pinned = {line.split("==")[0] for line in file.read_text().splitlines()}
        assert not pinned & {"torch", "numpy"}  # they keep the versions they have
        for name in names:
            if name in self.refused:
                raise self.refused[name]
        if not dry:
            self.present |= set(names)


@pytest.fixture
def machine(monkeypatch):
    found = Machine()
    monkeypatch.setattr(packages, "run_pip", found.pip)
    monkeypatch.setattr(packages, "installed", lambda: set(found.present))
    monkeypatch.setattr(packages, "_overwritten", lambda: False)
    return found


def test_nothing_is_installed_where_nothing_is_missing(machine, capsys):
    machine.present |= set(map(packages.name_of, packages.requirements()))
    assert main([]) == 0
    assert machine.calls == []
    assert capsys.readouterr().out == "all packages are there\n"


def test_only_what_is_missing_is_installed(machine):
    assert main([]) == 0
    ((command, *names),) = machine.calls
    assert command == "install"
    assert "numpy" not in names
    assert {*names, "numpy"} == set(map(packages.name_of, packages.requirements()))


def test_what_does_not_compile_keeps_nothing_back(machine, capsys):
    machine.refused = {"pycuda": PipError("pip failed: no nvcc")}
    assert main([]) == 1
    assert "missing: pycuda: pip failed: no nvcc\n" in capsys.readouterr().err
    assert "tensorrt-rtx" in machine.present
    assert "pycuda" not in machine.present


def test_without_a_network_it_is_asked_once(machine):
    machine.refused = {"pycuda": NoNetworkError("the package index cannot be reached")}
    (said,) = install(["pycuda==1", "rich==2"], None)
    assert said == "pycuda, rich: the package index cannot be reached"
    assert len(machine.calls) == 1


def test_the_cuda_build_replaces_the_other(machine):
    machine.present.add("onnxruntime")
    assert install(["onnxruntime-gpu[cuda,cudnn]==1"], None) == []
    gpu = "onnxruntime-gpu"
    assert machine.calls == [("install", gpu, "dry"), ("uninstall",), ("install", gpu)]
    assert "onnxruntime" not in machine.present


def test_a_build_that_another_has_overwritten_is_installed_again(machine, monkeypatch):
    """As `pip install` of the project does, which asks for the CPU build."""
    machine.present |= {*KNOWN, "onnxruntime"}
    monkeypatch.setattr(packages, "_overwritten", lambda: "onnxruntime" in machine.present)
    assert main([]) == 0
    gpu = "onnxruntime-gpu"
    assert machine.calls == [("install", gpu, "dry"), ("uninstall", gpu), ("install", gpu)]
    assert "onnxruntime" not in machine.present


@pytest.mark.parametrize(("folders", "overwritten"), [(("a", "a"), True), (("a", "b"), False)])
def test_builds_overwrite_each_other_in_one_folder(tmp_path, monkeypatch, folders, overwritten):
    """Not where a machine's environment is seen through another one's."""
    for folder, name in zip(folders, ("onnxruntime", "onnxruntime_gpu"), strict=True):
        info = tmp_path / folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / folder) for folder in {*folders}])
    assert packages._overwritten() == overwritten


def test_nothing_is_taken_away_that_cannot_be_replaced(machine):
    machine.present.add("onnxruntime")
    machine.refused = {"onnxruntime-gpu": PipError("there is no onnxruntime-gpu==1")}
    assert install(["onnxruntime-gpu==1", "rich==2"], None) == [
        "onnxruntime-gpu: there is no onnxruntime-gpu==1"
    ]
    assert {"onnxruntime", "rich"} <= machine.present


def test_a_missing_pytorch_is_told(machine, capsys):
    machine.present.remove("torch")
    assert main([]) == 1
    assert "missing: PyTorch is not installed; expected a CUDA build" in capsys.readouterr().err


def test_wheels_of_a_folder_and_of_a_bundle(tmp_path):
    assert folder_of_wheels(tmp_path) == tmp_path
    script = tmp_path / "install.sh"
    script.write_text('[ "$1" = join ] && mkdir "$(dirname "$0")/wheels"')
    assert folder_of_wheels(tmp_path) == tmp_path / "wheels"
    assert (tmp_path / "wheels").is_dir()
    script.write_text("echo 'error: parts are missing' >&2; exit 1")
    with pytest.raises(PipError, match=r"^[^ ]*: parts are missing$"):
        folder_of_wheels(tmp_path)
    with pytest.raises(PipError, match="none: no such folder"):
        folder_of_wheels(tmp_path / "none")


def test_a_broken_bundle_is_told(machine, tmp_path, capsys):
    assert main(["--wheels", str(tmp_path / "none")]) == 1
    assert "none: no such folder; expected one with wheels in it" in capsys.readouterr().err


def test_runs_where_nothing_is_installed():
    """Its imports may not be among what it is to install."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import bench.packages"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_real_pip_without_a_network(monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    unreachable = ["--index-url", "http://127.0.0.1:9/simple", "--retries", "1", "--isolated"]
    with pytest.raises(NoNetworkError, match="the package index cannot be reached; check the net"):
        run_pip(["download", *unreachable, "first==1.0"])


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        ("OSError: [Errno 28] No space left on device\n", PipError, "no space left on the disk"),
        ("ERROR: No matching distribution found for x==9\n", PipError, "there is no x==9 for this"),
        (
            "WARNING: Retrying ... NewConnectionError\nERROR: No matching distribution found for x",
            NoNetworkError,
            "cannot be reached",
        ),
        (
            "  a.hpp:1:9: fatal error: cuda.h: No such file\nERROR: Failed building wheel for x\n",
            PipError,
            r"pip failed: a\.hpp:1:9: fatal error: cuda\.h: .* \| ERROR: Failed building",
        ),
        ("", PipError, "pip failed: no message"),
    ],
)
def test_what_pip_said(monkeypatch, output, kind, message):
    done = subprocess.CompletedProcess([], 1, stdout=output)
    monkeypatch.setattr("bench.packages.subprocess.run", lambda *_, **__: done)
    with pytest.raises(kind, match=message) as caught:
        run_pip(["install"])
    assert type(caught.value) is kind
