# Everything a fresh machine needs: Python 3.11+, pip and make. No root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A virtual environment is made once for each state of the files that decide what is in it.
STAMP := $(VENV)/.installed-$(shell cat requirements/*.txt pyproject.toml | cksum | cut -d' ' -f1)
TRAIN_FLAGS ?=

.PHONY: train test test-slow lint types golden shipped-model clean

train: $(STAMP)-train
	$(BIN)/nin train $(TRAIN_FLAGS)

test: $(STAMP)-test
	$(BIN)/python -m pytest

test-slow: $(STAMP)-test
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)-test
	$(BIN)/mypy

golden: $(STAMP)-test
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/test_golden.py

# The model in src/netinnet/models, made again from its recipe and seed.
shipped-model: $(STAMP)-train
	rm -rf runs/shipped-model
	$(BIN)/nin train --recipe fashion --seed 0 --output runs/shipped-model
	cp runs/shipped-model/model.safetensors src/netinnet/models/nin-small-fashion-mnist.safetensors

clean:
	rm -rf $(VENV) build src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP)-train: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/train.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(STAMP)-test: $(STAMP)-train
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	touch $@
