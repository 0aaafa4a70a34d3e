# Everything a fresh machine needs: Python 3.11+, pip and make. No root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# MXNet works on Python 3.11 with NumPy 1.23 only, so it has an environment of its own.
MXNET_PYTHON ?= python3.11
MXNET_VENV := .venv-mxnet
MXNET_BIN := $(MXNET_VENV)/bin
HAS_MXNET_PYTHON = [ -x $(MXNET_BIN)/python ] || $(MXNET_PYTHON) -c \
	'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
NO_MXNET_PYTHON = MXNet needs Python 3.11, and $(MXNET_PYTHON) is none; \
	make $@ MXNET_PYTHON=/path/to/python3.11 names one
# A virtual environment is made once for each state of the files that decide what is in it.
STATE := $(shell cat requirements/*.txt pyproject.toml | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.installed-$(STATE)
MXNET_STAMP := $(MXNET_VENV)/.installed-$(STATE)
# What is imported is compiled then: all of it would take a third of the installation's time. So the
# compiled files must be kept: else every process would compile its libraries anew.
export PYTHONDONTWRITEBYTECODE :=
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
TRAIN_FLAGS ?=
# With LOCK=1, `make train` installs only files whose SHA-256 stands in requirements/lock.txt.
LOCK ?=
# As many tests at a time as there are cores, each in the process that is free next; what several
# need is made once (made_once in tests/conftest.py).
AT_ONCE := -n auto --dist worksteal --durations 10
# Of these, MXNet's environment runs what names MXNet, and what trains with the framework there is
# (MXNET_TRAINS). The first environment runs the rest, and starts MXNet's Python for the book's
# chapters; with the lowest versions of its libraries that is `make test-lowest`.
MXNET_TRAINS := fit levers of_0_1_0 own_pictures rollback
MXNET_TESTS := $(patsubst %,tests/test_%.py,$(MXNET_TRAINS) any_network convert frameworks layers \
	mxnet onnx own_networks resources)
MXNET_ONLY := -k "mxnet $(MXNET_TRAINS:%=or test_%)"
LOWEST_VENV := .venv-lowest
LOWEST_BIN := $(LOWEST_VENV)/bin
# These start processes that train.
LOWEST_WITHOUT := $(patsubst %,--ignore tests/test_%.py,agreement studies training tuning reliability crashes readme chapter_docs)

DOCS_VENV := .venv-docs
DIST_VENV := .venv-dist
AUDIT_VENV := .venv-audit
# What the built wheel is tried with.
DIST_PYTHON ?= $(PYTHON)

# How fast it is here, beside other code: half an hour with nothing else running.
bench: $(STAMP)-test
	$(BIN)/nin bench --output bench \
	$(if $(wildcard $(MXNET_BIN)/python),--mxnet-python $(MXNET_BIN)/python)

.PHONY: train test test-mxnet test-slow test-lowest bench crash-test fuzz lint types golden docs docs-serve docs-tables dist page-kernel shipped-model lock audit clean

train: $(STAMP)-train$(if $(LOCK),-locked)
	$(BIN)/nin train $(TRAIN_FLAGS)
	@echo "The command is $(BIN)/nin; after 'source $(BIN)/activate' it is nin."

# Both environments first, the larger part of them side by side (but not the two installations of
# this folder): the first one's tests also ask MXNet's for its numbers.
test: $(STAMP)-train
	@if $(HAS_MXNET_PYTHON); then $(MAKE) --no-print-directory -j2 $(STAMP)-test $(MXNET_STAMP); \
	else echo "The tests with MXNet are left out. $(NO_MXNET_PYTHON)."; \
	$(MAKE) --no-print-directory $(STAMP)-test; fi
	$(BIN)/python -m pytest $(AT_ONCE)
	@if $(HAS_MXNET_PYTHON); then $(MAKE) --no-print-directory test-mxnet; fi

test-mxnet:
	@$(HAS_MXNET_PYTHON) || { echo "$(NO_MXNET_PYTHON)." >&2; exit 2; }
	@$(MAKE) --no-print-directory $(MXNET_STAMP)
	$(MXNET_BIN)/python -m pytest $(AT_ONCE) $(MXNET_ONLY) $(MXNET_TESTS)

test-slow: $(STAMP)-test
	$(BIN)/python -m pytest -m slow

# Every file operation disturbed in turn, then kills at random moments: an hour. docs/reliability.md
CRASH_KILLS ?= 200
crash-test: $(STAMP)-test
	$(BIN)/python -m pytest -m slow tests/test_crashes.py --durations 0
	PYTHONPATH=. $(BIN)/python benchmarks/random_kills.py $(CRASH_KILLS)
	@if [ -x $(MXNET_BIN)/python ]; then \
	PYTHONPATH=. $(MXNET_BIN)/python benchmarks/random_kills.py $(CRASH_KILLS) mxnet; fi

# The lowest versions that pyproject.toml allows, with the tests that need no training framework:
# the lowest PyTorch on PyPI would bring gigabytes of CUDA. NumPy 1.23 needs MXNet's Python. What
# old libraries use of newer ones may be deprecated there.
test-lowest: $(LOWEST_VENV)/.installed-$(STATE)
	$(LOWEST_BIN)/python -m pytest $(AT_ONCE) -W ignore::DeprecationWarning $(LOWEST_WITHOUT)

lint: $(STAMP)-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(STAMP)-test
	$(BIN)/mypy

# Hostile pictures and files for FUZZ_SECONDS; what says something new is kept in fuzz/ and gone on
# with. CI runs a short form of it (tests/test_hostile.py).
FUZZ_SECONDS ?= 600
fuzz: $(STAMP)-test
	$(BIN)/python -m attacks.pictures
	$(BIN)/python -m attacks.files $(FUZZ_SECONDS) fuzz

golden: $(STAMP)-test
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/test_golden.py

# The page's inner loops (src/netinnet/export/browser/kernel.c) as WebAssembly, for who changes them.
# Another version of the compiler makes other bytes; a test compares them. Debian: clang-14 lld-14.
KERNEL ?= src/netinnet/export/browser/kernel.wasm
page-kernel:
	clang-14 --target=wasm32 -msimd128 -O2 -nostdlib -c src/netinnet/export/browser/kernel.c -o $(KERNEL).o
	wasm-ld-14 --no-entry --strip-all --import-memory --export-dynamic $(KERNEL).o -o $(KERNEL)
	chmod 644 $(KERNEL)
	rm $(KERNEL).o

# The documentation as a site, in build/site. mkdocs.yml makes every warning an error. Material for
# MkDocs has security updates until May 2027; its successor Zensical reads the same mkdocs.yml.
docs: $(DOCS_VENV)/.installed-$(STATE)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --clean

docs-serve: $(DOCS_VENV)/.installed-$(STATE)
	$(DOCS_VENV)/bin/mkdocs serve --dev-addr 127.0.0.1:8001

# What docs/architecture.md shows of the code: the tables of events, the picture of the rooms.
docs-tables: $(STAMP)-test
	$(BIN)/python tools/docs_tables.py
	$(BIN)/python tools/rooms_picture.py

# Wheel and sdist in dist/: built twice to the same bytes, checked, installed and tried.
dist: $(DIST_VENV)/.installed-$(STATE)
	$(DIST_VENV)/bin/python tools/dist.py --python $(DIST_PYTHON)

# The model in src/netinnet/models, made again from its recipe and seed. It learns all pictures; what
# its numbers are worth is found on a second model, which learns nine tenths of them.
shipped-model: $(STAMP)-train
	rm -rf runs/shipped-model runs/shipped-model-held-out
	$(BIN)/nin train --recipe fashion --seed 0 --output runs/shipped-model
	$(BIN)/nin train --recipe fashion --seed 0 --validation 0.1 --output runs/shipped-model-held-out
	$(BIN)/nin calibrate runs/shipped-model --like runs/shipped-model-held-out
	cp runs/shipped-model/model.safetensors src/netinnet/models/nin-small-fashion-mnist.safetensors

# requirements/train.txt with the SHA-256 of every file that PyPI has of each version, and with what
# PyTorch's wheels for Linux bring.
lock: $(AUDIT_VENV)/.installed-$(STATE)
	$(AUDIT_VENV)/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command "make lock" \
	requirements/train.txt --output-file requirements/lock.txt

# Known vulnerabilities of what the lock names. Without a network it says that nothing was checked.
audit: $(AUDIT_VENV)/.installed-$(STATE)
	$(AUDIT_VENV)/bin/python tools/audit.py

clean:
	rm -rf $(VENV) $(MXNET_VENV) $(LOWEST_VENV) $(DOCS_VENV) $(DIST_VENV) $(AUDIT_VENV) build dist src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP)-train: $(BIN)/python
	@echo "Installing into $(VENV): pip prints nothing for a minute or more."
	$(BIN)/python $(PIP_INSTALL) -r requirements/train.txt
	$(BIN)/python $(PIP_INSTALL) --no-deps --editable .
	touch $@

# What is there already is installed again, as nobody knows where it came from. The package is built
# with the locked setuptools, not with one that pip would fetch for it.
$(STAMP)-train-locked: $(BIN)/python
	@echo "Installing into $(VENV), hashes compared: pip prints nothing for some minutes."
	$(BIN)/python $(PIP_INSTALL) --force-reinstall --require-hashes -r requirements/lock.txt
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $(STAMP)-train $@

$(STAMP)-test: $(STAMP)-train
	@echo "Installing what the tests need: pip prints nothing for some minutes."
	$(BIN)/python $(PIP_INSTALL) -r requirements/test.txt -r requirements/frameworks.txt
	touch $@

$(MXNET_BIN)/python:
	$(MXNET_PYTHON) -m venv $(MXNET_VENV)

$(MXNET_STAMP): $(MXNET_BIN)/python
	$(MXNET_BIN)/python $(PIP_INSTALL) -r requirements/mxnet.txt
	$(MXNET_BIN)/python $(PIP_INSTALL) --no-deps --editable .
	touch $@

$(LOWEST_VENV)/.installed-$(STATE):
	@$(HAS_MXNET_PYTHON) || { echo "$(NO_MXNET_PYTHON)." >&2; exit 2; }
	$(MXNET_PYTHON) -m venv --clear $(LOWEST_VENV)
	$(LOWEST_BIN)/python tools/lowest.py > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_BIN)/python $(PIP_INSTALL) -r $(LOWEST_VENV)/lowest.txt
	$(LOWEST_BIN)/python $(PIP_INSTALL) --no-deps --editable .
	touch $@

$(DOCS_VENV)/.installed-$(STATE) $(DIST_VENV)/.installed-$(STATE) $(AUDIT_VENV)/.installed-$(STATE): .venv-%/.installed-$(STATE):
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python $(PIP_INSTALL) -r requirements/$*.txt
	touch $@
