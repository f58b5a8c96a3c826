# Two commands for a fresh machine: `make demo` and `make test`. Both make the same environment first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test lint benchmarks clean

demo: $(READY)
	$(BIN)/python cli.py demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(READY)
	$(BIN)/python -m tests.benchmarks.main_job
	$(BIN)/python -m tests.benchmarks.cache
	$(BIN)/python -m tests.benchmarks.extraction

# torch and torchvision are named together, so that pip chooses a pair that fits.
$(READY): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 demo")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch torchvision --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info
