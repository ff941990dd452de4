"""Bundles for machines without a network: packed, joined by the real script; with a fake pip."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import offline_releases, packages
from bench.offline_bundle import main
from bench.offline_parts import MOST, packed, write_bundle
from bench.offline_releases import Release, Target, build_requirements, reachable, resolve
from bench.packages import NoNetworkError, PipError

ROOT = Path(__file__).parents[2]
TARGET = Target("3.12", 28, "x86_64")

sizes = st.lists(st.integers(0, 60), max_size=12)
contents = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_+.-]{0,8}\.(whl|tar\.gz)", fullmatch=True),
    st.binary(max_size=60),
    min_size=1,
    max_size=8,
)
limits = st.integers(1, 30)


def join(bundle):
    command = ["sh", str(bundle / "install.sh"), "join"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def bundle_of(folder, files, limit):
    """A bundle in ``folder`` of files that are then gone, as on the other machine."""
    with tempfile.TemporaryDirectory() as source:
        for name, content in files.items():
            Path(source, name).write_bytes(content)
        return write_bundle(
            list(Path(source).iterdir()), folder, limit=limit, requirements=["a==1"], python="3.12"
        )


@given(sizes=sizes, limit=limits)
def test_parts_hold_every_byte_once_within_the_limit(sizes, limit):
    files = {Path(f"file{index}"): size for index, size in enumerate(sizes)}
    parts = packed(files, limit)
    assert all(0 <= sum(piece.size for piece in part) <= limit for part in parts)
    assert all(parts)
    assert len({piece.name for part in parts for piece in part}) == sum(map(len, parts))
    for file, size in files.items():
        # In the order of the parts, as the script reads them.
        pieces = [piece for part in parts for piece in part if piece.file == file]
        assert [piece.offset for piece in pieces] == list(range(0, size, limit) or [0])
        assert sum(piece.size for piece in pieces) == size
        assert (len(pieces) == 1) == (size <= limit)
        assert [piece.name for piece in pieces] == sorted(piece.name for piece in pieces)


@settings(max_examples=15, deadline=None)
@given(files=contents, limit=limits)
def test_the_script_joins_what_was_cut(files, limit):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = bundle_of(folder, files, limit)
        parts = sorted(folder.glob("part-*"))
        assert len(parts) == count
        assert all(sum(file.stat().st_size for file in part.iterdir()) <= limit for part in parts)
        sums = dict(
            reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines()
        )
        written = {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file() and file.name != "SHA256SUMS"
        }
        assert sums == written
        for _ in range(2):  # again does no harm
            done = join(folder)
            assert done.returncode == 0, done.stderr
            joined = {file.name: file.read_bytes() for file in (folder / "wheels").iterdir()}
            assert joined == files


def test_a_second_bundle_replaces_the_first(tmp_path):
    bundle_of(tmp_path, {"one.whl": b"1" * 90}, 10)
    assert bundle_of(tmp_path, {"two.whl": b"2" * 15}, 10) == 2
    assert join(tmp_path).returncode == 0
    assert [file.name for file in (tmp_path / "wheels").iterdir()] == ["two.whl"]


@pytest.mark.parametrize("damage", ["change", "part", "sums"])
def test_the_script_refuses_a_damaged_bundle(tmp_path, damage):
    bundle_of(tmp_path, {"a.whl": b"abcdefgh", "b.whl": b"xyz"}, 6)
    if damage == "change":
        (tmp_path / "part-001" / "a.whl.cut-001").write_bytes(b"abcdeF")
    elif damage == "part":
        shutil.rmtree(tmp_path / "part-001")
    else:
        (tmp_path / "SHA256SUMS").unlink()
    done = join(tmp_path)
    assert done.returncode == 1
    expected = "no SHA256SUMS beside install.sh" if damage == "sums" else "part-001/a.whl.cut-001"
    assert expected in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "wheels").exists()


def python_that(folder, *, version="3.12", refuses="", runtime=False):
    """A Python for ``install.sh`` that logs what pip is asked for."""
    script = folder / "python"
    script.write_text(
        f"""#!/bin/sh
case "$1 $2 $3" in
    "-c "*) echo {version} ;;
    "-m pip show") exit {0 if runtime else 1} ;;
    *) echo "$@" >>"{folder}/log"; case "$*" in {refuses or "-"}) exit 1 ;; esac ;;
esac
"""
    )
    script.chmod(0o755)
    return {**os.environ, "PYTHON": str(script)}


def install(bundle, environment):
    done = subprocess.run(
        ["sh", str(bundle / "install.sh")], env=environment, capture_output=True, text=True
    )
    log = bundle.parent / "log"
    return done, log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(b"wheel")
    write_bundle(
        [tmp_path / "x-1-py3-none-any.whl"],
        folder,
        limit=3,
        requirements=["x[y]==1", "source==2"],
        python="3.12",
    )
    return folder


OFFLINE = "-m pip install --no-index --find-links wheels"


def test_the_script_installs_from_the_bundle_alone(bundle, tmp_path):
    done, log = install(bundle, python_that(tmp_path))
    assert done.returncode == 0, done.stderr
    assert log == [f"{OFFLINE} -r requirements.txt"]
    assert (bundle / "requirements.txt").read_text() == "x[y]==1\nsource==2\n"


def test_what_does_not_compile_keeps_nothing_back(bundle, tmp_path):
    environment = python_that(tmp_path, refuses="*requirements.txt|*source==2")
    done, log = install(bundle, environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: not installed: source==2"
    assert log[1:] == [f"{OFFLINE} x[y]==1", f"{OFFLINE} source==2"]


def test_the_script_refuses_another_python(bundle, tmp_path):
    done, log = install(bundle, python_that(tmp_path, version="3.11"))
    assert (done.returncode, log) == (1, [])
    assert "these wheels are for Python 3.12" in done.stderr
    assert "PYTHON=python3.12 sh install.sh" in done.stderr


def test_the_script_does_not_install_one_onnxruntime_over_the_other(bundle, tmp_path):
    done, log = install(bundle, python_that(tmp_path, runtime=True))
    assert (done.returncode, log) == (1, [])
    assert "pip uninstall onnxruntime" in done.stderr


def test_too_small_parts_are_refused():
    with pytest.raises(ValueError, match=f"expected at most {MOST}. Give a larger --part-size"):
        packed({Path("big"): MOST + 1}, 1)


# What the target needs

RELEASES = {
    "a": Release("a", "1", ("b>=2", 'new; python_version >= "3.12"', 'c; extra == "x"'), False),
    "b": Release("b", "2", ('old; python_version < "3.12"', 'w; sys_platform == "win32"'), False),
    "c": Release("c", "3", ("a[x]", 'arm; platform_machine == "aarch64"'), True),
    "old": Release("old", "1", (), False),
}


def test_markers_are_those_of_the_target():
    needed, lacking = reachable(["A==1"], RELEASES, TARGET.markers)
    assert ([each.name for each in needed], lacking) == (["a", "b"], ["new"])
    needed, lacking = reachable(["a[x]==1"], RELEASES, Target("3.11", 28, "aarch64").markers)
    assert ([each.name for each in needed], lacking) == (["a", "b", "c", "old"], ["arm"])


def archive(path, pyproject=None):
    with tarfile.open(path, "w:gz") as content:
        files = {"x-1/setup.py": "", "x-1/doc/pyproject.toml": "not toml"}
        files |= {"x-1/pyproject.toml": pyproject} if pyproject else {}
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            content.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        (None, ["setuptools", "wheel"]),
        ("[tool.x]\n", ["setuptools", "wheel"]),
        ('[build-system]\nrequires = ["numpy>=1.24"]\n', ["numpy>=1.24"]),
    ],
)
def test_what_a_source_archive_needs_to_be_built(tmp_path, pyproject, expected):
    assert build_requirements(archive(tmp_path / "x-1.tar.gz", pyproject)) == expected


# The command, with a pip that answers from a small index: what each name requires

INDEX = {
    **{packages.name_of(each): [] for each in packages.requirements()},
    "opencv-python-headless": ['only-new; python_version >= "3.12"'],
    "only-new": [],
    "pycuda": ["mako"],
    "mako": [],
    "setuptools": [],
    "wheel": [],
}


class FakePip:
    """``pip install --dry-run`` in a Python before 3.12, and ``pip download``."""

    def __init__(self):
        self.downloaded = []
        self.fails_after = None

    def __call__(self, arguments):
        command = self._resolve if arguments[0] == "install" else self._download
        command(arguments)

    def _resolve(self, arguments):
        assert {"--dry-run", "--ignore-installed"} <= set(arguments)
        at = arguments.index("--report") + 1
        queue = [packages.name_of(text) for text in arguments[at + 1 :]]
        for name in queue:
            queue += [need for need in INDEX[name] if need in INDEX and need not in queue]
        items = [
            {
                "download_info": {"url": f"file:///x.{'tar.gz' if name == 'pycuda' else 'whl'}"},
                "metadata": {"name": name, "version": "1", "requires_dist": INDEX[name]},
            }
            for name in queue
        ]
        Path(arguments[at]).write_text(json.dumps({"install": items}))

    def _download(self, arguments):
        name, version = arguments[-1].split("==")
        if len(self.downloaded) == self.fails_after:
            raise NoNetworkError("the package index cannot be reached")
        self.downloaded.append(name)
        folder = Path(arguments[arguments.index("--dest") + 1])
        stem = f"{name.replace('-', '_')}-{version}"
        if name == "pycuda":
            assert arguments[-3:-1] == ["--no-binary", "pycuda"]
            archive(folder / f"{stem}.tar.gz")
        else:
            assert "--only-binary=:all:" in arguments
            assert "--platform=manylinux_2_17_x86_64" in arguments
            (folder / f"{stem}-py3-none-any.whl").write_bytes(name.encode() * 7)


@pytest.fixture
def pip(monkeypatch):
    fake = FakePip()
    monkeypatch.setattr(offline_releases, "run_pip", fake)
    return fake


def run(output, *extra):
    return main(["-o", str(output), "--python", "3.12", "--part-size", "1kB", *extra])


def test_a_whole_bundle(pip, tmp_path, capsys):
    output = tmp_path / "bundle"
    assert run(output) == 0
    assert join(output).returncode == 0
    names = {file.name.partition("-")[0] for file in (output / "wheels").iterdir()}
    # Of what no resolution here names: needed there, to build pycuda, and by pycuda.
    assert {"only_new", "setuptools", "wheel", "mako"} <= names
    assert names == {name.replace("-", "_") for name in INDEX}
    wanted = (output / "requirements.txt").read_text().split()
    assert wanted == packages.requirements()
    assert not (output / ".download").exists()
    assert f"next: copy {output} there, then: make gpu WHEELS=bundle" in capsys.readouterr().out


def test_a_run_that_broke_off_goes_on(pip, tmp_path, capsys):
    output = tmp_path / "bundle"
    pip.fails_after = 5
    assert run(output) == 1
    assert "the package index cannot be reached" in capsys.readouterr().err
    assert not (output / "SHA256SUMS").exists()
    abandoned = next((output / ".download").iterdir()) / ".partial-killed"
    abandoned.mkdir()
    (abandoned / "half.whl").write_bytes(b"ha")
    pip.fails_after = None
    assert run(output) == 0
    assert len(pip.downloaded) == len(set(pip.downloaded)) == len(INDEX)
    assert join(output).returncode == 0


def test_another_python_starts_anew(pip, tmp_path):
    pip.fails_after = 5
    assert run(tmp_path, "--python", "3.13") == 1
    pip.fails_after = None
    assert run(tmp_path) == 0
    assert len(pip.downloaded) == 5 + len(INDEX)
    assert (tmp_path / "python-version").read_text() == "3.12\n"


def test_cuda_may_be_left_out(pip, tmp_path):
    assert run(tmp_path, "--without-cuda") == 0
    assert "[" not in (tmp_path / "requirements.txt").read_text()


def test_a_full_disk_is_told(pip, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "part-001")

    monkeypatch.setattr("bench.offline_bundle.write_bundle", full)
    assert run(tmp_path) == 1
    assert "No space left on device: 'part-001'; free some space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: -o/--output"),
        (["--python", "2.7"], "--python 2.7: expected a version of Python like 3.12"),
        (["--platform", "win_amd64"], "expected one like manylinux_2_28_x86_64"),
        (["--part-size", "50"], "--part-size 50: expected a number and kB"),
        (["--part-size", "0MB"], "--part-size 0MB: expected a number and kB"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, arguments, message, capsys):
    output = [] if not arguments else ["-o", str(tmp_path / "bundle")]
    assert main([*output, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


# The real pip, in a process of its own, without a network


def wheel(folder, name, version, requires=()):
    stem = f"{name}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as content:
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        content.writestr(f"{stem}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", *lines]))
        content.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        content.writestr(f"{stem}.dist-info/RECORD", "")


def test_the_real_pip_resolves_and_downloads(tmp_path, monkeypatch):
    index, downloads = tmp_path / "index", tmp_path / "downloads"
    index.mkdir()
    downloads.mkdir()
    wheel(index, "first", "1.0", ["second>=2", 'never; python_version < "3"'])
    wheel(index, "second", "2.5")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    found = resolve(["first==1.0"])
    assert sorted(map(str, found)) == ["first==1.0", "second==2.5"]
    assert {each.is_source for each in found} == {False}
    needed, lacking = reachable(["first"], {each.name: each for each in found}, TARGET.markers)
    assert (len(needed), lacking) == (2, [])
    file = offline_releases.download(needed[0], TARGET, downloads)
    assert file.read_bytes() == (index / "first-1.0-py3-none-any.whl").read_bytes()
    with pytest.raises(PipError, match=r"other==1 for Python 3\.12 on many.*there is no other==1"):
        offline_releases.download(Release("other", "1", (), False), TARGET, downloads)
    assert list(downloads.iterdir()) == [file]
