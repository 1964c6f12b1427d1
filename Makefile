# `make help` lists the targets. Needs git, make and Python 3.11, 3.12 or 3.13; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.venv
STAMP := $(VENV)/.moso-environment
UV_PIN := uv==0.13.9
# The first of these that runs and that the lock file covers; `make setup PYTHON=/path/to/python3.12` names another.
PYTHON ?= $(or $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && \
  echo $$python && break; done),python3)

# DVC stages call `python`: it must be the environment's.
export PATH := $(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
# pip knows wheels beside the index by PIP_FIND_LINKS (a CPU build of torch, say); uv wants to be told in its own words.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Where Python is told to write no bytecode, every process would compile again what it imports; uv writes it once.
export UV_COMPILE_BYTECODE ?= $(if $(PYTHONDONTWRITEBYTECODE),1)

.PHONY: help setup repro demo-retrain bar ablations bench bench-scale bench-plan bench-data bench-serve chaos images
.PHONY: test test-slow test-ray test-cluster test-containers lint compile code-deps clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## the environment alone: .venv, from requirements.lock

# With dependency resolution: a CUDA build of torch brings libraries that the lock cannot name for every machine.
# Done once; again when the lock file or the packaging changed.
$(STAMP): requirements.lock pyproject.toml setup.py
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "moso needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$("$(PYTHON)" --version 2>/dev/null || echo not found)."; \
	  echo "Install one of them, or name it: make setup PYTHON=/path/to/python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x "$(VENV)/bin/python" || "$(PYTHON)" -m venv "$(VENV)"
	@"$(VENV)/bin/python" -m pip --version >/dev/null 2>&1 || "$(VENV)/bin/python" -m ensurepip --upgrade >/dev/null
	@echo "environment: $(VENV) ($$("$(VENV)/bin/python" --version)), from requirements.lock"
	@"$(VENV)/bin/python" -m pip install --quiet --disable-pip-version-check "$(UV_PIN)"
	@"$(VENV)/bin/uv" pip install --quiet --python "$(VENV)/bin/python" -r requirements.lock
	@"$(VENV)/bin/uv" pip install --python "$(VENV)/bin/python" --no-deps --no-build-isolation --quiet -e .
	@touch "$(STAMP)"

repro: $(STAMP)  ## the whole pipeline (dvc repro), then where to look
	@python -m pipelines.repro

demo-retrain: $(STAMP)  ## new recordings, drift, a candidate refused, one promoted and served, a rollback (minutes)
	@python -m pipelines.demo_retrain

bar: $(STAMP)  ## whether the last run beats the baselines with confidence
	@python -m pipelines.bar

chaos: $(STAMP)  ## the tiny configuration killed at 20 random moments ends as undisturbed (docs/ray.md; half an hour)
	@python -m pipelines.chaos

ablations: $(STAMP)  ## Tables 6, 9, 10 and 11 on the embedded data set, after `make repro`; goes on where it stopped
	@python -m pipelines.ablations run

bench: $(STAMP)  ## speed and memory of both stages beside a plain reference: build/bench.json (docs/performance.md)
	@python -m bench.models

bench-scale: $(STAMP)  ## how time grows with batch and tokens, and memory with length and samples: build/bench-scale.json
	@python -m bench.scale

bench-plan: $(STAMP)  ## what `moso plan` says beside what trainings take: build/bench-plan.json (docs/plan.md)
	@python -m bench.planning

bench-data: $(STAMP)  ## speed of the data's way, from raw to clip: build/bench-data.json (docs/performance.md)
	@python -m bench.data

bench-serve: $(STAMP)  ## latency and throughput of the HTTP service, after `make repro`: build/bench-serving.json
	@python -m bench.serving

# A process a core, a file of tests on one of them (its fixtures are made once); one thread each.
test: $(STAMP)  ## the tests, but for those below
	@OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 8 --dist loadfile -m "not slow and not ray" --durations=25

test-slow: $(STAMP)  ## the tests that take long: more two-worker trainings, a browser, a compiler, the plan's memory
	@OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 8 --dist loadfile -m "slow and not ray" --durations=25

test-ray: $(STAMP)  ## the tests that start Ray and kill its workers, one after the other; give them the machine alone
	@OMP_NUM_THREADS=1 python -m pytest tests/adapters/test_ray.py tests/adapters/test_ray_jobs.py -m ray --durations=10

images: $(STAMP)  ## the steps' images, by Docker or a container engine's script (docs/containers.md)
	@python -m components.image_build

# A minute or two once the images are built; their first build takes a quarter of an hour.
test-containers: $(STAMP)  ## builds the images and runs the pipeline in them; says what is missing where it cannot
	@OMP_NUM_THREADS=1 python -m pytest tests/containers -m containers --durations=10

# As root, with iproute2; a quarter of an hour, of which most is Ray's starts.
test-cluster: $(STAMP)  ## Ray over hosts in network namespaces, some of which fail (docs/ray.md)
	@OMP_NUM_THREADS=1 python -m pytest tests/cluster -m cluster --durations=10

lint: $(STAMP)  ## ruff, types, import rules, and what is generated is up to date
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports
	@python -m pipelines.code_deps --check
	@python -m components.image_requirements --check

compile: $(STAMP)  ## write pipelines/compiled/ again
	@moso pipeline compile

code-deps: $(STAMP)  ## write the code dependencies in dvc.yaml again
	@python -m pipelines.code_deps --write

clean:  ## remove what runs and tools left; keeps .venv, the raw data, DVC's cache and MLflow's records
	@rm -rf .work .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist local_outputs
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
