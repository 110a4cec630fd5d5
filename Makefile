# make train: set everything up, then train an autoencoder on two MPI ranks.   make test: the whole test suite.
# Everything goes into .venv beside this file. Needs Python 3.11 with venv, make and a C++ compiler; no root, no MPI.

# Found before .venv/bin comes first on the PATH: an environment made by its own Python would point at itself.
ifndef PYTHON
PYTHON := $(shell command -v python3.11 || command -v python3)
endif
RANKS ?= 2
ARGS ?=

STAMP := .venv/set-up-done
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Made by this environment's own Python, whatever the shell that calls make has activated or set.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DELETE_ON_ERROR:
.PHONY: help setup train test soak bench test-gpu-build test-mpis lint clean

help:
	@echo 'make train   set up, then train on two MPI ranks; the pictures are in the folder named at the end (ARGS="--epochs 5" changes the run)'
	@echo 'make test    set up, then run the whole test suite; a quarter of an hour on two fast cores, up to twice that'
	@echo 'make soak    the tests of faults with two hundred kills, and what takes too long for every change; an hour and more'
	@echo 'make test-gpu-build   whether Horovod still compiles with NCCL; needs nvcc, and no GPU'
	@echo 'make test-mpis   Open MPI 4.1 and 5, Intel MPI, MPICH 4.0 and 5: builds Horovod for each, and tries each; an hour'
	@echo 'make bench   a short version of every benchmark, and which targets were met; eleven minutes of a machine with nothing else to do'
	@echo 'make setup   only make the environment in .venv and build Horovod for it (minutes the first time)'
	@echo 'make lint    ruff, and shellcheck where it is installed'
	@echo 'make clean   remove .venv and what Python left behind; runs/ stays, and the built Horovod in the cache too'

setup: $(STAMP)

train: $(STAMP)
	mpirun -np $(RANKS) hvd-ae train --model shallow --batch-size 16 --epochs 60 $(ARGS)

# What is run in which order, and in what time, is in tests/suite.py; tests/README.md says where the time goes.
test: $(STAMP)
	python -m tests.suite

# An hour and more: two hundred kills instead of four, and what `make test` leaves out.
soak: $(STAMP)
	HVD_AE_KILLS=100 timeout 7200 python -m pytest --capture=no -m "soak or not soak" tests/faults
	timeout 7200 python -m pytest -m soak --ignore=tests/faults

# Downloads more than a gigabyte, and compiles for GPUs; no GPU is needed, but nvcc is.
test-gpu-build: $(STAMP)
	timeout 3000 python -m pytest tests/gpu_build

# Environments stay in build/mpis, 3 GB of links to what .venv has; Debian's MPIs are left out where they are not installed.
test-mpis: $(STAMP)
	HVD_AE_MPIS=build/mpis timeout 7200 python -m pytest -rs tests/mpis

# What a benchmark cannot measure here it says, and the others go on.
BENCHMARKS ?= startup allreduce step peers scaling network memory input p1b1 plan
bench: $(STAMP)
	for name in $(BENCHMARKS); do timeout 600 python -m benchmarks $$name --short || echo "$$name: not all of it was measured"; done
	python -m benchmarks report

lint: $(STAMP)
	ruff check .
	if command -v shellcheck >/dev/null; then git ls-files -z '*.sh' '*.sbatch' .ci/run | xargs -0 -r shellcheck; fi

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find hvd_ae tests -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last. Another list of packages or another way of building Horovod brings the environment up
# to date in place; for another Python, `make clean` first.
$(STAMP): setup.cfg pyproject.toml requirements/dev.txt $(wildcard hvd_ae/install/*.py)
	@test -n '$(PYTHON)' || { echo 'No python3 found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo '$(PYTHON) is older than Python 3.11: name a newer one with make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { echo '$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	'$(PYTHON)' -m venv .venv
	python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/dev.txt
	python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	hvd-ae install-horovod
	@touch $(STAMP)
