# Every target sets itself up: it needs Python 3.11 or newer, make and a package registry.
#
#   make sweep   fit seven quantizers to the shipped anchor and draw its rate–distortion curve (the main job)
#   make test    run the tests
#   make test-tfc   run them beside tensorflow-compression, which is also with the oldest JAX; needs Python 3.11
#   make lint    check style and types
#   make docs    build the documentation site in build/site
#   make bench   run the benchmarks
#   make clean   remove the environment and what `make sweep` made; trainings in runs/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PYTHON_TFC ?= $(shell command -v python3.11 || echo $(PYTHON))
VENV_TFC := .venv-tfc
READY_TFC := $(VENV_TFC)/.ready

VENV_DOCS := .venv-docs
READY_DOCS := $(VENV_DOCS)/.ready

.PHONY: sweep test test-tfc lint docs bench clean

sweep: $(READY)
	$(BIN)/python -m experiments.questions.rd_curve $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 $(ARGS)

# Streams are exchanged with the default environment where there is one. Examples, experiments and notebooks show how the
# library is used; what they need of the oldest versions, the other tests ask for.
test-tfc: $(READY_TFC)
	LIC_OTHER_PYTHON=$$(test ! -e $(READY) || echo $(BIN)/python) $(VENV_TFC)/bin/python -m pytest -n 2 \
		$(addprefix --ignore=tests/,examples experiments notebooks) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --warnings

# A broken link, a page outside the navigation or an unresolved reference fails.
docs: $(READY_DOCS)
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/python -m mkdocs build --strict

bench: $(READY)
	$(BIN)/python benchmarks/transposed_convolution.py
	$(BIN)/python benchmarks/refit.py
	$(BIN)/python benchmarks/stanh.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/iterative_encoding.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[dev,notebooks,experiments]"
	touch $(READY)

$(READY_TFC): pyproject.toml constraints-oldest.txt
	@$(PYTHON_TFC) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null || \
		{ echo "make test-tfc needs Python 3.11, and $(PYTHON_TFC) is none; name one with PYTHON_TFC=" >&2; exit 2; }
	$(PYTHON_TFC) -m venv $(VENV_TFC)
	$(VENV_TFC)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints-oldest.txt -e ".[dev,tfc,experiments]"
	touch $(READY_TFC)

# Sources are read, not imported: the extra's packages alone, without the project's dependencies.
$(READY_DOCS): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" > $(VENV_DOCS)/requirements.txt
	$(VENV_DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -r $(VENV_DOCS)/requirements.txt
	touch $(READY_DOCS)

clean:
	rm -rf $(VENV) $(VENV_TFC) $(VENV_DOCS) runs/rd_curve build *.egg-info .pytest_cache .ruff_cache .hypothesis
