# All the set-up there is: a fresh checkout needs Python 3.11 or newer with venv and pip, nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs sweep clean

PYTHON ?= python3
# Installed first and only if there is no torch: a plain `pip install torch` may fetch 5 GB of CUDA libraries.
TORCH ?= torch==2.13.0
# The active virtual environment, or one of our own.
VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
DEMO := arc-stack nuclei person_masks
SWEEP ?= experiments/sweeps/shots_rank_seed.yaml

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.vdmfewshot ## Install; adapt the embedded model to three ARC tasks, nuclei and a person; table and pictures
	@for task in $(DEMO); do $(BIN)/vdmfewshot adapt -c experiments/$$task.yaml --name demo/$$task; done
	@$(BIN)/vdmfewshot report runs/demo
	@echo "input | generated | decoded | truth | error, one picture a task:"
	@find runs/demo -path '*/pictures/test/*' -name 'step=*.png' | sort

test: lint ## Install with development tools; lint, types and the fast tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.vdmfewshot-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.vdmfewshot-dev ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.vdmfewshot-dev ## Build the documentation into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

sweep: $(VENV)/.vdmfewshot ## Create a W&B sweep of SWEEP=FILE and say how to start its agents
	@if $(BIN)/python -c 'import wandb; raise SystemExit(wandb.Api().api_key is None)' 2>/dev/null; then \
	  $(BIN)/wandb sweep --project vdmfewshot $(SWEEP); \
	  echo "Start the agent named above on every machine or GPU that shall take part, with $(BIN) in PATH:"; \
	  echo "  PATH=$(abspath $(BIN)):\$$PATH CUDA_VISIBLE_DEVICES=0 wandb agent ENTITY/vdmfewshot/ID"; \
	else \
	  echo "Not logged in to W&B: run '$(BIN)/wandb login' or set WANDB_API_KEY, then 'make sweep SWEEP=$(SWEEP)' again."; \
	  echo "Without W&B, run the points of $(SWEEP) by hand: each is one plain 'vdmfewshot' command line."; \
	fi

clean: ## Remove caches and build products; runs/ and .venv/ stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.vdmfewshot: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/.vdmfewshot-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@ $(VENV)/.vdmfewshot
