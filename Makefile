# Every target sets itself up: it needs Python 3.11 or newer, make and a package registry.
#
#   make sweep   fit seven quantizers to the shipped anchor and draw its rate–distortion curve (the main job)
#   make test    run the tests
#   make test-oldest   run those of exactness and streams with the oldest JAX that is supported; needs Python 3.11
#   make lint    check style
#   make bench   run the benchmarks
#   make clean   remove the environment and what `make sweep` made; trainings in runs/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PYTHON_OLDEST ?= python3.11
VENV_OLDEST := .venv-oldest
READY_OLDEST := $(VENV_OLDEST)/.ready
TESTS_OLDEST ?= $(addprefix tests/,transforms entropy quantization test_codec.py test_decoder.py test_exchange.py \
	test_shipped_model.py test_bitstream.py)

.PHONY: sweep test test-oldest lint bench clean

sweep: $(READY)
	$(BIN)/python experiments/rd_curve.py $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 $(ARGS)

# Streams are exchanged with the default environment where there is one.
test-oldest: $(READY_OLDEST)
	$(if $(wildcard $(READY)),LIC_OTHER_PYTHON=$(BIN)/python) $(VENV_OLDEST)/bin/python -m pytest -n 2 $(TESTS_OLDEST) $(ARGS)

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

$(READY_OLDEST): pyproject.toml constraints-oldest.txt
	@$(PYTHON_OLDEST) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null || \
		{ echo "the oldest lane needs Python 3.11, and $(PYTHON_OLDEST) is none; name one with PYTHON_OLDEST=" >&2; exit 2; }
	$(PYTHON_OLDEST) -m venv $(VENV_OLDEST)
	$(VENV_OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[dev]"
	touch $(READY_OLDEST)

clean:
	rm -rf $(VENV) $(VENV_OLDEST) runs/rd_curve build *.egg-info .pytest_cache .ruff_cache .hypothesis
