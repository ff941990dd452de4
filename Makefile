# Everything a fresh machine needs: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/flownets_pyramid_slim-fp16-384x512

C_FILES := find kernels tests -regex '.*\.\(c\|cpp\|cuh?\|h\)' -print0

# Else CMake's own make tells of every folder that it enters.
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format kernels gpu train-gpu clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## create .venv with everything pinned

# torch comes first and by its exact version: a looser demand by another package would bring another
# build of it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check torch==2.13.0 --constraint constraints.txt
	$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup  ## build a bundle, compare the backends on a real pair, write the report
	$(BIN)/python -m export.build_engine --network flownets_pyramid_slim --precision fp16 --size 384x512 -o $(DEMO)
	$(BIN)/python -m bench.compare --bundle $(DEMO) --data motorcycle --json build/demo.json --report build/demo.html

test: setup lint kernels  ## lint, compile the kernels, run the tests
	$(BIN)/python -m pytest --durations=5
	ctest --test-dir build --output-on-failure

lint: setup  ## ruff, mypy, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(C_FILES) | xargs -0 $(BIN)/clang-format --dry-run -Werror

format: setup  ## reformat the sources
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(C_FILES) | xargs -0 $(BIN)/clang-format -i

kernels:  ## build the correlation kernels (CUDA too where nvcc is)
	cmake -S . -B build -DCMAKE_BUILD_TYPE=Release
	cmake --build build --parallel 2

# With WHEELS=DIR, a bundle of `python -m bench.offline_bundle`, no network is needed: .venv then sees
# the packages of PYTHON, a CUDA build of PyTorch among them, and gets from DIR what these lack.
GPU_SETUP := $(if $(WHEELS),.venv/offline,setup)

.venv/offline:
	$(PYTHON) -m venv .venv
	$(PYTHON) -c 'import sys; print(*[path for path in sys.path if path.endswith("-packages")], sep="\n")' \
		> "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/machine.pth"
	-$(BIN)/python -m bench.packages --wheels $(WHEELS)
	touch $@

gpu: $(GPU_SETUP)  ## with an NVIDIA GPU: its tests and the whole bench (STAGES=a,b WHEELS=DIR)
	$(BIN)/python -m bench.gpu $(if $(WHEELS),--wheels $(WHEELS)) $(if $(STAGES),--stages $(STAGES))

# There the trainer compiles the network and computes in bf16 unless told otherwise. Each pair is
# trained on about four times (BATCH * 8 / 128). The full network's rate is the papers' 1e-4 for a
# batch of 8, times the root of the batch's growth.
MINUTES ?= 15
BATCH ?= 64
TRAIN = $(BIN)/python -m training.train --device cuda --minutes $(MINUTES) --height 320 --width 448 \
	--batch-size $(BATCH) --fresh 128 --fresh-every 8 --pool 4096 --report-every 1000

train-gpu: $(GPU_SETUP)  ## with an NVIDIA GPU: train the networks, MINUTES=15 each, into runs/gpu
	$(TRAIN) --network flownets_pyramid_slim --out runs/gpu/flownets_pyramid_slim
	$(TRAIN) --network flownets_slim --out runs/gpu/flownets_slim
	$(TRAIN) --network flownetc_slim --lr 1.5e-4 --out runs/gpu/flownetc_slim
	$(TRAIN) --network flownets --lr 3e-4 --out runs/gpu/flownets

clean:  ## remove what the other targets made, except .venv and runs/
	rm -rf build dist
