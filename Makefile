# Every target works in a fresh clone: what it needs, it sets up. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
LOCK := --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Make the virtual environment from the hash-locked requirements

$(READY): requirements-dev.txt requirements-uv.txt
	@command -v $(PYTHON) > /dev/null || { echo "setup: $(PYTHON) is missing: Python 3.11 or newer is needed. Install it, or name yours: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed. Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "setup: $(PYTHON) cannot make a virtual environment: its venv module is needed. On Debian or Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@echo "setup: installing the locked requirements"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.txt
	@touch $@

.PHONY: package
package: $(READY) ## Build the writer function's archives into dist/
	@$(BIN)/python -m functions.package

.PHONY: check
check: package ## Check this platform's stack files and services; URNs are compared with AGAINST=, by default the main branch
	@$(BIN)/python -m checks $(if $(AGAINST),--against $(AGAINST))

.PHONY: test
test: package ## Run the tests
	@$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

.PHONY: test-slow
test-slow: package ## Run the tests that take long by their nature
	@$(BIN)/python -m pytest -n auto --dist loadfile -m slow

.PHONY: lint
lint: $(READY) ## Check style, types, imports, workflows and YAML
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { echo "lint: some files are not formatted. Run: make format" >&2; exit 1; }
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/yamllint --strict .
	@$(BIN)/zizmor --offline --quiet --no-progress .github/workflows scaffold/repository/.github/workflows
	@command -v go > /dev/null || { echo "lint: go is missing: actionlint is built with it. Install Go 1.24 or newer (https://go.dev/doc/install)" >&2; exit 1; }
	@go -C tools tool actionlint $(abspath $(wildcard .github/workflows/*.yml scaffold/repository/.github/workflows/*.yml))
	@echo "lint: no finding"

.PHONY: format
format: $(READY) ## Format the Python code
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet

.PHONY: rehearse
rehearse: package ## Play a day from commit to production on emulated accounts; writes out/rehearsal.html
	@$(BIN)/python -m rehearsal

.PHONY: e2e
e2e: package ## Play the day under the real engine, Kubernetes and Argo CD; writes out/e2e.html
	@$(BIN)/python -m rehearsal.engine

.PHONY: test-lab
test-lab: package ## Run the tests that need the real engine, Kubernetes and Argo CD
	@$(BIN)/python -m tests.engine

.PHONY: lab
lab: $(READY) ## Build the lab's programs: Pulumi's command line, Kubernetes, Argo CD
	@$(BIN)/python -m rehearsal.lab.build

.PHONY: replay
replay: $(READY) ## Show what lies in the queues of failed events: STACK=dev; SEND=all or SEND="ID ID" replays it
	@test -n "$(STACK)" || { echo 'replay: STACK is missing: a stack that hosts a track is allowed. Name it: make replay STACK=dev [TRACK=develop] [QUEUE=failures] [SEND=all | SEND="ID ID"]' >&2; exit 2; }
	@$(BIN)/python -m replay --stack $(STACK) $(if $(TRACK),--track $(TRACK)) $(if $(QUEUE),--queue $(QUEUE)) $(if $(filter all,$(SEND)),--send-all,$(if $(SEND),--send $(SEND)))

.PHONY: bench
bench: package ## Measure what evaluating the program costs
	@$(BIN)/python -m benchmarks.evaluate

.PHONY: bench-engine
bench-engine: package ## Measure what the real engine takes
	@$(BIN)/python -m benchmarks.engine

.PHONY: bench-hook
bench-hook: $(READY) ## Measure the image hook: one push, bursts, sweeps, an hour of load with faults; writes out/hook.html
	@$(BIN)/python -m benchmarks.hook

.PHONY: bench-gitops
bench-gitops: $(READY) ## Measure promotion, release, verify and pin as the GitOps repository grows; writes out/gitops.html
	@$(BIN)/python -m benchmarks.gitops

.PHONY: lock
lock: $(READY) ## Lock the requirements anew within the ranges of pyproject.toml
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml --group dev -o requirements-dev.txt
	@echo uv | $(BIN)/uv pip compile $(LOCK) --no-annotate -c requirements-dev.txt - -o requirements-uv.txt
	@cd functions/gitops_writer && ../../$(BIN)/uv pip compile $(LOCK) --python-version 3.11 requirements.in -o requirements.txt
	@cd scaffold/repository/.github/slipway && ../../../../$(BIN)/uv pip compile $(subst make lock,as requirements.in says,$(LOCK)) --no-annotate --python-version 3.12 -c ../../../../requirements-dev.txt requirements.in -o requirements.txt

.PHONY: clean
clean: ## Remove what was built; the virtual environment stays
	@rm -rf dist out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
