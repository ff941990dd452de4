# Everything a fresh machine needs: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/flownets_pyramid_slim-fp16-384x512

# What setup.py compiles.
LIBRARIES := engine/backends/openvino/_operators.so engine/refinement/_kernel.so

C_FILES := find capi kernels tests -regex '.*\.\(c\|cpp\|cuh?\|h\)' -print0

# Else CMake's own make tells of every folder that it enters.
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-avx2 lint format kernels docs clean train-gpu fuzz soak sanitize \
	sanitize-capi audit gpu gpu-doctor gpu-tests gpu-correlation gpu-compare gpu-kernels

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## create .venv with everything pinned

# torch comes first and by its exact version: a looser demand by another package would bring another
# build of it.
.venv/ready: pyproject.toml constraints.txt setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check torch==2.13.0 --constraint constraints.txt
	$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	! command -v npm >/dev/null || npm ci --prefix engine/web --silent --no-audit --no-fund
	touch $@

demo: setup  ## build a bundle, compare the backends on a real pair, write the report
	$(BIN)/python -m export.build_engine --network flownets_pyramid_slim --precision fp16 --size 384x512 -o $(DEMO)
	$(BIN)/python -m bench.compare --bundle $(DEMO) --data motorcycle --precisions fp32,fp16 \
		--json build/demo.json --report build/demo.html

test: setup  ## lint, compile the kernels, build the documentation, run the tests
	$(MAKE) --jobs=2 --output-sync lint kernels docs ARCHITECTURES="75-real;80"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder \
		--durations=5
	ctest --test-dir build --output-on-failure

# The limit is oneDNN's, which OpenVINO and PyTorch compute with; the second one is PyTorch's own.
test-avx2: export ONEDNN_MAX_CPU_ISA := AVX2
test-avx2: export ATEN_CPU_CAPABILITY := avx2
test-avx2: test  ## the same as on a CPU without AVX-512 and VNNI

lint: setup  ## ruff, mypy, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(C_FILES) | xargs -0 $(BIN)/clang-format --dry-run -Werror

format: setup  ## reformat the sources
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(C_FILES) | xargs -0 $(BIN)/clang-format -i

# The sources tell GPUs before and from compute capability 8.0 on apart: the tests compile both forms.
# Newer GPUs than 8.0 get that one's PTX, which has the tensor-core kernel that the host code chooses.
kernels: setup $(LIBRARIES)  ## build the kernels (CUDA too where nvcc is)
	cmake -S . -B build -DCMAKE_BUILD_TYPE=Release \
		$(if $(ARCHITECTURES),-D CMAKE_CUDA_ARCHITECTURES="$(ARCHITECTURES)",-U CMAKE_CUDA_ARCHITECTURES)
	cmake --build build --parallel 2

$(LIBRARIES) &: setup.py $(wildcard kernels/*.cpp kernels/*.h kernels/openvino/*) | .venv/ready
	$(BIN)/python setup.py -q build_ext --inplace --force

fuzz: MINUTES := 30
SEED ?= 0
fuzz: setup  ## read mutated files with every reader, MINUTES=30 SEED=0; saves what it finds
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED) --out build/fuzz

INFERENCES ?= 100000
soak: setup  ## INFERENCES=100000 in four threads: flows bit-equal, memory flat
	$(BIN)/python -m tests.soak --inferences $(INFERENCES)

# AddressSanitizer and UndefinedBehaviorSanitizer find their faults in C++ alone, so without CUDA.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -g
sanitize: sanitize-capi  ## run the tests of the C++ sources with sanitizers, and with valgrind if it is installed
	cmake -S . -B build/sanitize -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CUDA_COMPILER=NOTFOUND \
		-DCMAKE_CXX_FLAGS="$(SANITIZE)"
	cmake --build build/sanitize --parallel 2
	ctest --test-dir build/sanitize --output-on-failure
	cmake -S . -B build/plain -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CUDA_COMPILER=NOTFOUND
	cmake --build build/plain --target correlation_cpu_test
	! command -v valgrind || OMP_NUM_THREADS=1 valgrind -q --error-exitcode=1 build/plain/correlation_cpu_test

# OpenVINO's threading library starts under neither sanitizers nor valgrind: ONNX Runtime instead.
SANITIZE_CAPI = cmake -S capi -DCMAKE_BUILD_TYPE=Debug -DCMAKE_UNITY_BUILD=ON -DFLOW_ENGINE_TESTS=ON \
	-DFLOW_ENGINE_OPENVINO=OFF -DFLOW_ENGINE_ONNXRUNTIME=ON -DONNXRUNTIME_ROOT=$(ONNXRUNTIME_ROOT)
VALGRIND_CAPI := valgrind -q --error-exitcode=1 --leak-check=full --suppressions=tests/capi/valgrind.supp
sanitize-capi:
ifdef ONNXRUNTIME_ROOT
	$(SANITIZE_CAPI) -B build/sanitize-capi -DCMAKE_C_FLAGS="$(SANITIZE)" -DCMAKE_CXX_FLAGS="$(SANITIZE)"
	cmake --build build/sanitize-capi --parallel 2
	ctest --test-dir build/sanitize-capi --output-on-failure
	$(SANITIZE_CAPI) -B build/plain-capi
	cmake --build build/plain-capi --parallel 2
	! command -v valgrind || $(VALGRIND_CAPI) build/plain-capi/tests/flow_engine_test engine/bundle/default
else
	@echo "ONNXRUNTIME_ROOT is not set, a folder with ONNX Runtime's include/ and lib/: the C library is left out"
endif

audit: .venv/audit-ready  ## look up known vulnerabilities of every pinned package
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

.venv/audit-ready:
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install -qq --disable-pip-version-check pip-audit==2.10.1
	touch $@

docs: setup  ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# GPU_PYTHON=python3 uses an environment of your own instead of .venv, for example a container with a
# CUDA build of PyTorch. `make -k gpu` continues after a target that failed.
GPU_PYTHON ?= $(BIN)/python
GPU_BUILD := build/gpu
GPU_SETUP := $(if $(filter $(BIN)/python,$(GPU_PYTHON)),.venv/gpu-ready)
GPU_RUN := FLOW_KERNELS=$(CURDIR)/$(GPU_BUILD) $(GPU_PYTHON) -m
GPU_QUERY := nvidia-smi --format=csv,noheader --query-gpu
GPU_NAME = $(shell $(GPU_QUERY)=name | head -n 1 | tr A-Z a-z | tr -cs 'a-z0-9\n' -)
GPU_RESULTS = bench/results/$(GPU_NAME)

# The CPU and the CUDA build of ONNX Runtime share one folder: only one of them may be installed.
.venv/gpu-ready: .venv/ready
	$(BIN)/pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(BIN)/pip install --quiet --constraint constraints.txt "onnxruntime-gpu[cuda,cudnn]==1.31.1" pycuda==2026.1
	touch $@

gpu: gpu-doctor gpu-tests gpu-correlation gpu-compare  ## with an NVIDIA GPU: the four targets below

gpu-doctor: $(GPU_SETUP)  ## what the GPU is, and which runtimes can use it
	$(GPU_RUN) engine doctor

# Only their files are collected: others import packages that a container with PyTorch lacks.
gpu-tests: gpu-kernels  ## the tests that need a GPU
	$(GPU_RUN) pytest -m gpu $$(grep -rl --include='test_*.py' 'mark\.gpu' tests)

gpu-correlation: gpu-kernels  ## time every implementation of the correlation
	$(GPU_RUN) bench.correlation --require-gpu --json $(GPU_RESULTS)-correlation.json

GPU_ROWS ?= --network flownets_pyramid_slim,coarse_to_fine_slim,flownets_slim,flownetc_slim,flownets,flownetc \
	--sizes 384x512,448x1024 --precisions fp32,fp16 --backends pytorch-cuda,onnxruntime-cuda,tensorrt --seconds 1

gpu-compare: gpu-kernels  ## time networks and runtimes; every one (hours) with GPU_ROWS=--full
	$(GPU_RUN) bench.compare $(GPU_ROWS) --require-gpu --json $(GPU_RESULTS).json --report build/gpu.html

# Removed first, so that no test runs on an earlier library.
gpu-kernels: $(GPU_SETUP)  ## compile the CUDA kernels for this machine's GPU
	@$(GPU_QUERY)=name || { echo "error: no NVIDIA GPU on this machine" >&2; exit 1; }
	rm -f $(GPU_BUILD)/libflow_correlation_cuda.so
	cmake -S . -B $(GPU_BUILD) -DCMAKE_BUILD_TYPE=Release \
		-DCMAKE_CUDA_ARCHITECTURES="$$($(GPU_QUERY)=compute_cap | tr -d . | sort -u | paste -s -d ';')"
	cmake --build $(GPU_BUILD) --parallel
	@test -f $(GPU_BUILD)/libflow_correlation_cuda.so \
		|| { echo "error: CMake found no working nvcc; put it on PATH" >&2; exit 1; }

# There the trainer compiles the network and computes in bf16 unless told otherwise. Each pair is
# trained on about four times (BATCH * 8 / 128). The full network's rate is the papers' 1e-4 for a
# batch of 8, times the root of the batch's growth.
MINUTES ?= 15
BATCH ?= 64
TRAIN = $(GPU_PYTHON) -m training.train --device cuda --minutes $(MINUTES) --height 320 --width 448 \
	--batch-size $(BATCH) --fresh 128 --fresh-every 8 --pool 4096 --report-every 1000

train-gpu: $(if $(GPU_SETUP),setup)  ## with an NVIDIA GPU: train the networks, MINUTES=15 each, into runs/gpu
	$(TRAIN) --recipe coarse_to_fine --out runs/gpu/coarse_to_fine_slim
	$(TRAIN) --network flownets_pyramid_slim --out runs/gpu/flownets_pyramid_slim
	$(TRAIN) --network flownets_slim --out runs/gpu/flownets_slim
	$(TRAIN) --network flownetc_slim --lr 1.5e-4 --out runs/gpu/flownetc_slim
	$(TRAIN) --network flownets --lr 3e-4 --out runs/gpu/flownets

clean:  ## remove what the other targets made, except .venv and runs/
	rm -rf build dist
