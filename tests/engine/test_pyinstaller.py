"""The hook for frozen applications, as PyInstaller finds and runs it."""

import runpy
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import engine
from engine.backends.openvino import operators
from engine.backends.registry import BACKENDS
from engine.pyinstaller import hook_dirs
from engine.refinement import kernel

ROOT = Path(engine.__file__).parents[1]


def test_the_hook_is_found():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hooks = project["project"]["entry-points"]["pyinstaller40"]
    assert hooks == {"hook-dirs": "engine.pyinstaller:hook_dirs"}
    assert "engine.pyinstaller" in project["tool"]["setuptools"]["packages"]
    (folder,) = hook_dirs()
    assert (Path(folder) / "hook-engine.py").is_file()


def test_the_hook_collects_what_is_imported_by_name(monkeypatch):
    asked = {"data": [], "libraries": {}, "modules": []}
    utilities = ModuleType("PyInstaller.utils.hooks")
    utilities.collect_data_files = lambda name, **_: asked["data"].append(name) or []
    utilities.collect_dynamic_libs = lambda name, search_patterns: (
        asked["libraries"].update({name: search_patterns}) or []
    )
    utilities.collect_submodules = lambda name: asked["modules"].append(name) or [f"{name}.*"]
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, utilities.__name__, utilities)
    found = runpy.run_path(str(Path(hook_dirs()[0]) / "hook-engine.py"))
    assert asked["data"][0] == "engine"  # with the default bundle
    assert all(module.startswith("engine.backends.") for module in BACKENDS.values())
    assert {"engine.backends.*", "onnxruntime"} <= {*found["hiddenimports"]}
    assert "onnxruntime" in asked["libraries"]
    assert asked["libraries"]["engine"] == [operators._LIBRARY.name, kernel._LIBRARY.name]
