# Every target makes its own environment in .venv; nothing else has to be set.

PYTHON ?= python3

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip --disable-pip-version-check -qq install --no-compile
DISTRIBUTIONS := models/o1-embedder-22m . integrations/chroma-o1 integrations/langchain-o1 integrations/llama-index-o1 eval
PYPROJECTS := $(wildcard pyproject.toml eval/pyproject.toml integrations/*/pyproject.toml models/*/pyproject.toml)

export HF_HUB_OFFLINE := 1
export ANONYMIZED_TELEMETRY := False
unexport TOKENIZERS_PARALLELISM

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev demo test test-slow lint bench bench-training bench-concurrency bench-frameworks wheels clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(VENV)/.demo-installed  ## .venv with what the demo needs

install-dev: $(VENV)/.dev-installed  ## .venv with what tests, linters, evaluation and benchmarks need

demo: $(VENV)/.demo-installed  ## index a small encyclopedia and ask it questions
	@echo "Loading LlamaIndex, Chroma and the model ..."
	@$(PY) -m demos.encyclopedia

test: $(VENV)/.dev-installed  ## all tests but the slow ones
	@$(PY) -m pytest -m "not slow"

test-slow: $(VENV)/.dev-installed  ## the slow tests
	@$(PY) -m pytest -m slow

lint: $(VENV)/.dev-installed  ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: $(VENV)/.dev-installed  ## the benchmarks
	@$(PY) -m benchmarks

bench-training: $(VENV)/.dev-installed  ## the benchmarks of training
	@$(PY) -m benchmarks.training

bench-concurrency: $(VENV)/.dev-installed  ## the benchmark of many callers: 2 to 3 minutes on 2 cores
	@$(PY) -m benchmarks.concurrency

bench-frameworks: $(VENV)/.dev-installed  ## LlamaIndex, LangChain and Chroma: queries a second, and recall on O1_DATA
	@$(PY) -m benchmarks.frameworks throughput
	@$(PY) -m benchmarks.frameworks recall --fast

wheels: $(VENV)/.dev-installed  ## sdists and wheels of all distributions, in dist/
	@for folder in $(DISTRIBUTIONS); do $(PY) -m build --no-isolation --outdir dist $$folder || exit 1; done

clean:  ## remove .venv, dist/ and caches
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The pinned versions need Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=/path/to/python3.11 ..." % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: requirements.txt constraints.txt $(PYPROJECTS) | $(PY)
	@echo "Installing into $(VENV): this takes a few minutes the first time ..."
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.dev-installed: requirements-dev.txt requirements.txt constraints.txt $(PYPROJECTS) | $(PY)
	@echo "Installing into $(VENV), tests and linters included: this takes a few minutes the first time ..."
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $(VENV)/.demo-installed $@
