# Everything a newcomer needs: `make demo` and `make test`. Both install first; a second call installs nothing.

SHELL := /bin/bash
# The first Python >= 3.11 on PATH; choose another with `make install PYTHON=/path/to/python`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$p"; break; fi; done)
BIN := .venv/bin
STAMP := .venv/.installed
OPERATORS := .venv/.operators

.PHONY: help install demo smoke test test-long lint types sanitize emulate cuda clean

help:
	@echo "make demo      prepare real pictures, train, test and predict (8 to 12 minutes; FAST=1 for a few steps)"
	@echo "make smoke     short runs of CSA and OAT on their real data sets, once these are prepared"
	@echo "make test      the test suite"
	@echo "make test-long the long tests, such as training killed at random moments (SEED=n for other moments)"
	@echo "make lint      ruff: rules and format"
	@echo "make types     mypy --strict"
	@echo "make sanitize  the operators' tests under the address and undefined-behaviour sanitizers"
	@echo "make emulate   the operators' tests on the CUDA kernels, run thread by thread on the CPU"
	@echo "make cuda      compile the CUDA kernels and check what came out; needs nvcc, no GPU"
	@echo "make install   .venv with everything, and the compiled operators where there is a compiler (CUDA: and a driver)"
	@echo "make clean     remove .venv and caches of tools"

install: $(STAMP) $(OPERATORS)

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "vision_suite needs Python >= 3.11 and found none on PATH: install one, or make install PYTHON=/path/to/python" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "vision_suite needs Python >= 3.11, and $(PYTHON) is older: make install PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt install python3-venv)" >&2; \
		rm -rf .venv; exit 1; }

$(STAMP): setup.py constraints.txt | $(BIN)/python
	@echo "installing into .venv (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

# Without a compiler attention runs on PyTorch alone; the line says so and the rest goes on.
$(OPERATORS): $(STAMP) $(shell find cuda_ext -name '*.cpp' -o -name '*.h' -o -name '*.inl' -o -name '*.cu*' -o -name '*.py')
	-@VISION_SUITE_OPS=reference $(BIN)/python -m vision_suite.ops build
	@touch $(OPERATORS)

demo: install
	$(BIN)/vision-suite demo $(if $(filter-out 0,$(FAST)),--fast)

SMOKE = --trainer.default_root_dir=runs/smoke --trainer.enable_progress_bar=false
smoke: install
	$(BIN)/vision-suite doctor
	$(BIN)/vision-suite fit -c csa/watch_tad $(SMOKE) --trainer.max_epochs=1 --trainer.limit_train_batches=4
	$(BIN)/vision-suite validate -c csa/watch_tad $(SMOKE) --ckpt_path=last
	$(BIN)/vision-suite fit -c oat/onestop_mini $(SMOKE) --trainer.max_epochs=1
	$(BIN)/vision-suite test -c oat/onestop_mini $(SMOKE) --ckpt_path=last

# As many processes as this one may use cores; a test file stays in one process, which makes its fixtures once.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile \
	-n $$($(BIN)/python -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')

# W&B's own engine of sweeps, which ours is compared with; its dependencies are of another age.
.sweeps-ref: | install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ sweeps==0.3.0 jsonref==1.1.0

test: install .sweeps-ref
	$(PYTEST)

test-long: install
	$(PYTEST) -m long

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

sanitize: install
	$(BIN)/python cuda_ext/sanitize.py

emulate: install
	OMP_NUM_THREADS=1 $(BIN)/python cuda_ext/emulate

cuda: install
	$(BIN)/python cuda_ext/inspect_cuda.py

types: install
	$(BIN)/mypy vision_suite

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
