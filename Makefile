# Everything a fresh machine needs: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/flownets_slim-fp16-384x512
PACKAGES := engine training export kernels bench

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format kernels gpu clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## create .venv with everything pinned

# torch comes first and by its exact version: a looser demand by another package would bring another
# build of it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 --constraint constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup  ## build a bundle, compare the backends on a real pair, write the report
	$(BIN)/python -m export.build_engine --network flownets_slim --precision fp16 --size 384x512 -o $(DEMO)
	$(BIN)/python -m bench.compare --bundle $(DEMO) --data motorcycle --json build/demo.json --report build/demo.html

test: setup lint kernels  ## lint, compile the kernels, run the tests
	$(BIN)/python -m pytest --durations=5
	ctest --test-dir build --output-on-failure

lint: setup  ## ruff, mypy, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files --cached --others --exclude-standard '*.cpp' '*.cu' '*.cuh' '*.h' '*.c')

format: setup  ## reformat the sources
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files --cached --others --exclude-standard '*.cpp' '*.cu' '*.cuh' '*.h' '*.c')

kernels:  ## build the correlation kernels (CUDA too where nvcc is)
	cmake -S . -B build -DCMAKE_BUILD_TYPE=Release
	cmake --build build --parallel 2

# The card's name, as a file name: nvidia-h200.json.
GPU = $(shell nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1 | tr 'A-Z ' 'a-z-')

gpu: setup kernels  ## on a machine with an NVIDIA GPU: the GPU tests and the whole bench
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pycuda==2026.1
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m bench.compare --full --json bench/results/$(GPU).json --report build/gpu.html

clean:  ## remove what the other targets made, except .venv
	rm -rf build dist
