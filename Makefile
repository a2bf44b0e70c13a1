# make demo   from nothing to generated text, in about three minutes
# make test   format check, lint, types and the test suite
# make base   the model that English runs start from, in hours; WIKIPEDIA=FILE reads that too
# make docs   write the generated pages of docs/ anew
# make reliability   kill, cut off, fill and damage everything, in about twenty minutes
# make corpora-check CORPORA=folder   train on each text of a folder for a minute, and sample

PYTHON ?= python3
BIN = .venv/bin

CORPORA ?= corpora

WIKIPEDIA ?=

.PHONY: demo test base docs reliability corpora-check clean

demo: .venv/installed
	$(BIN)/textgen corpus build shakespeare
	$(BIN)/textgen train corpora/shakespeare.txt --minutes 2
	$(BIN)/textgen sample --prime "ROMEO:\n" --length 600

test: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

base: .venv/installed
	$(BIN)/python checkpoints/make_base.py $(if $(WIKIPEDIA),--wikipedia $(WIKIPEDIA))

docs: .venv/installed-dev
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_sampling.py
	$(BIN)/python docs/make_api.py
	$(BIN)/python benchmarks/report.py

reliability: .venv/installed-dev
	$(BIN)/python benchmarks/scoreboard.py

corpora-check: .venv/installed-dev
	$(BIN)/python benchmarks/corpora.py $(CORPORA)

clean:
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "textgen needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
