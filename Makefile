# Every target sets itself up: it needs Python 3.11 or newer, make and a package registry.
#
#   make sweep   fit seven quantizers to the shipped anchor and draw its rate–distortion curve (the main job)
#   make test    run the tests
#   make lint    check style
#   make bench   run the benchmarks
#   make clean   remove the environment and what `make sweep` made; trainings in runs/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: sweep test lint bench clean

sweep: $(READY)
	$(BIN)/python experiments/rd_curve.py $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/python benchmarks/transposed_convolution.py
	$(BIN)/python benchmarks/refit.py
	$(BIN)/python benchmarks/stanh.py
	$(BIN)/python benchmarks/decode.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) runs/rd_curve build *.egg-info .pytest_cache .ruff_cache .hypothesis
