"""Which files a page has, and how they are served."""

import http.client
import json
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from engine.bundle.manifest import read_manifest, write_manifest
from engine.errors import BundleError, InputError
from engine.web.runtime import RUNTIME_FILES, runtime_files, version
from engine.web.server import Server
from engine.web.site import site_files
from tests.support.http_servers import in_thread
from tests.support.pages import ROOT
from tests.support.tiny_network import in_precision, manifest_for, tiny_int8_model

WEB = ROOT / "engine/web"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that are named as those of onnxruntime-web."""
    folder = tmp_path_factory.mktemp("dist")
    for name in RUNTIME_FILES:
        (folder / name).write_text(name)
    return folder


@pytest.fixture(scope="module")
def connection(tiny_bundle: Path, runtime: Path) -> Iterator[http.client.HTTPConnection]:
    _, site = site_files(tiny_bundle, runtime_files(runtime))
    with Server("127.0.0.1", 0, site) as server, in_thread(server):
        opened = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        yield opened
        opened.close()


def test_site_of_a_bundle(tiny_bundle, runtime):
    manifest, site = site_files(tiny_bundle, runtime_files(runtime))
    assert manifest == read_manifest(tiny_bundle)
    assert site["model.onnx"] == (tiny_bundle / "model.onnx").read_bytes()
    assert {name for name in site if name.startswith("runtime/")} == {
        f"runtime/{name}" for name in RUNTIME_FILES
    }
    description = json.loads(site["site.json"])
    assert (description["model"], description["offline"]) == ("model.onnx", False)
    assert description["manifest"]["divisor"] == 64
    assert description["manifest"]["files"]["model.onnx"]["precision"] == "fp32"


def test_the_pair_of_the_check_is_not_refined(tiny_bundle, tmp_path, runtime):
    """The page compares it with what the device computes, which is the network alone."""
    shutil.copytree(tiny_bundle, tmp_path / "refined")
    manifest = replace(read_manifest(tiny_bundle), refine="variational")
    write_manifest(tmp_path / "refined", manifest)
    found, site = site_files(tmp_path / "refined", runtime_files(runtime))
    assert found.refine == json.loads(site["site.json"])["manifest"]["refine"] == "variational"
    assert site["check.bin"] == site_files(tiny_bundle, runtime_files(runtime))[1]["check.bin"]


def test_the_page_asks_for_files_of_the_site_only(tiny_bundle, runtime):
    _, site = site_files(tiny_bundle, runtime_files(runtime))
    for path in (WEB / "page").glob("*.js"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "} from ")):
                assert line.split('"')[1].removeprefix("./") in site, (path.name, line)


def test_int8_is_refused(tmp_path, runtime):
    bundle = tmp_path / "int8"
    bundle.mkdir()
    onnx.save(tiny_int8_model(127), bundle / "model.onnx")
    write_manifest(bundle, manifest_for(bundle, "int8"))
    with pytest.raises(BundleError) as raised:
        site_files(bundle, runtime_files(runtime))
    assert str(raised.value).startswith(
        f"{bundle} has the network in int8, which browsers compute no faster than fp32; expected "
        "fp32 or fp16. Build one for browsers: "
        "`python -m export.build_engine --network tiny --weights FILE --precision fp32 "
        "--targets onnxruntime "
    )
    assert str(raised.value).endswith(f"-o {bundle}-fp32`.")
    write_manifest(bundle, in_precision(read_manifest(bundle), "fp32"))
    with pytest.raises(BundleError, match="has int8 weights; the manifest says fp32"):
        site_files(bundle, runtime_files(runtime))


def test_two_graphs_are_refused(tiny_split_bundle, runtime):
    with pytest.raises(BundleError, match=r"has no model\.onnx, but features\.onnx, match\.onnx; "):
        site_files(tiny_split_bundle, runtime_files(runtime))


def test_a_changed_model_is_refused(tiny_bundle, tmp_path, runtime):
    manifest = read_manifest(tiny_bundle)
    file = replace(manifest.files["model.onnx"], bytes=4)
    (tmp_path / "model.onnx").write_bytes(b"1234")
    write_manifest(tmp_path, replace(manifest, files={"model.onnx": file}))
    with pytest.raises(BundleError, match=r"has SHA-256 .* changed"):
        site_files(tmp_path, runtime_files(runtime))


def test_runtime_that_is_not_there(tmp_path, runtime):
    shutil.copy(runtime / RUNTIME_FILES[0], tmp_path)
    with pytest.raises(InputError) as raised:
        runtime_files(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path} has no {RUNTIME_FILES[1]}; expected dist/ of onnxruntime-web {version()}. "
        f"Install it once: `npm ci --prefix {WEB}`; that is found by itself."
    )
    with pytest.raises(InputError, match="none is not a folder; expected dist/"):
        runtime_files(tmp_path / "none")


def test_the_versions_of_npm_agree():
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert lock["node_modules/onnxruntime-web"]["version"] == version()


def test_the_wheel_has_the_page_and_not_the_runtime():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "engine.web" in tool["packages"]
    patterns = [pattern for pattern in tool["package-data"]["engine"] if pattern.startswith("web/")]
    files = [path for pattern in patterns for path in (ROOT / "engine").glob(pattern)]
    assert {"index.html", "app.js", "package.json"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 200_000


def test_headers(connection):
    for path, kind in {
        "/": "text/html",
        "/app.js": "text/javascript",
        "/runtime/ort.wasm.bundle.min.mjs": "text/javascript",
        "/runtime/ort-wasm-simd-threaded.wasm": "application/wasm",
        "/model.onnx": "application/octet-stream",
    }.items():
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind), path
        assert len(answer.read()) == int(answer.headers["Content-Length"])
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    "path", ["/none", "/../server.py", "/%2e%2e/server.py", "//etc/passwd", "//["]
)
def test_other_paths_are_not_found(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b"")


def test_head_has_no_content(connection):
    connection.request("HEAD", "/app.js")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert int(answer.headers["Content-Length"]) == (WEB / "page/app.js").stat().st_size
