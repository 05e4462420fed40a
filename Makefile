# Every target sets itself up: a virtual environment in .venv with the project and its extras, and, where we are root
# on a Debian system, the packages that the tests drive. Without root, what is missing is named, and the tests that
# need it are skipped with that reason.

SHELL := /bin/bash
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Tests at a time: they wait more than they compute. JOBS=0: one after the other, in one process.
JOBS ?= $(shell expr $$(nproc) + 1)
PARALLEL := -n $(JOBS) --dist worksteal
ARGS ?=
export PYTHON

.PHONY: help demo test lint bench test-peers test-slow test-vm fuzz soak setup packages clean

help:
	@echo 'make demo    back up, restore and compare a tree and an image on an embedded SAN (PATH_TO_SAVE=/some/folder)'
	@echo 'make test    all tests but the slow ones (ARGS="-k tape -x" goes to pytest, JOBS=0 for a debugger)'
	@echo 'make lint    ruff, mypy'
	@echo 'make bench   speed, against dd and against the NDMP server of ndmjob; writes bench.json'
	@echo 'make test-peers   only the tests against programs of others: ndmjob, GNU tar'
	@echo 'make test-slow    only the slow tests: every pairing of ndmjob over cartridges, and the soak (SOAK_SECONDS=600)'
	@echo 'make test-vm      tests in a virtual machine, whose kernel drives our units: st, sg, ch, LIO (qemu, no KVM needed)'
	@echo 'make fuzz    hostile input, MINUTES=5 for each fuzzer; SEED=N begins with case N, as a failure prints it'
	@echo 'make soak    64 sessions for SOAK_SECONDS=600: memory flat, every restore right'
	@echo 'make clean   remove .venv and what tools leave behind'

demo: setup
	$(BIN)/python -m ndmpd demo $(PATH_TO_SAVE)

test: setup packages
	$(PYTEST) -p twisted tests/reactor </dev/null
	$(PYTEST) $(PARALLEL) -m 'not slow and not vm' $(ARGS) </dev/null

test-peers: setup packages
	$(PYTEST) $(PARALLEL) -m 'peer and not slow and not vm' $(ARGS) </dev/null

test-slow: setup packages
	SOAK_SECONDS=$(SOAK_SECONDS) $(PYTEST) $(PARALLEL) -m slow $(ARGS) </dev/null

test-vm: setup packages
	$(PYTEST) -n 2 --dist worksteal -m vm tests/vm $(ARGS) </dev/null

fuzz: setup packages
	FUZZ_SEED=$(or $(SEED),$$((RANDOM * 1000))) FUZZ_MINUTES=$(or $(MINUTES),5) \
		$(PYTEST) --timeout=0 tests/fuzz $(ARGS) </dev/null

soak: setup packages
	SOAK_SECONDS=$(SOAK_SECONDS) $(PYTEST) -s tests/soak $(ARGS) </dev/null

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup packages
	$(BIN)/python -m tests.bench $(ARGS) </dev/null

setup:
	@.ci/venv $(VENV)

packages:
	@.ci/packages

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
