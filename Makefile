# Needs git, make and Python 3.11 or newer (or uv, which brings its own). Everything is installed into .venv.

VENV := .venv
BIN := $(VENV)/bin

# Searched in this order; `make PYTHON=/path/to/python3` decides otherwise.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

export LAKEDROP_SIM_SCHEDULES ?= 200
export LAKEDROP_KILL_ROUNDS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo run stack test test-stack up down check coverage format bench fuzz docs proto lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.project ## Create .venv from the lock file; again only when the lock changed

demo: setup ## Show it: drop messy CSV files, query the tables, see the sweep repair
	@$(BIN)/lakedrop demo

run: setup ## Start the embedded service on ./lakedrop-home
	@$(BIN)/lakedrop run

stack: setup ## Install the servers that tests use, outside the checkout; NAMES="minio postgres" for some. Minutes, then seconds
	$(BIN)/python -m tests.stack.install $(NAMES)

test: setup ## All tests that can run, in three processes; what misses a server says so and is skipped. ARGS=-x for pytest
	$(BIN)/pytest -n 3 --dist loadgroup $(ARGS) tests/unit tests/contract tests/simulation tests/integration tests/acceptance

test-stack: stack ## The tests against real servers, after installing those
	$(BIN)/pytest tests/contract tests/integration tests/acceptance/servers

up: ## Start everything in containers, with docker compose; ARGS="--profile minio", superset, silo, argilla or esco for that too
	infra/compose/write-env.sh
	docker compose $(ARGS) up -d --build --wait

down: ## Stop what `make up` started; its data stays
	docker compose --profile '*' down

check: setup ## Lint, format and types; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What decides about a unit, and the unit tests that take every branch of it.
DECIDED_IN := events event_records event_dialects seaweed_events router retry workitem protocol gate held reconcile settler sink worker
DECISION_TESTS := events events_captured events_seaweed router retry workitem protocol gate queues sink waker worker outages
EMPTY :=
COMMA := ,

coverage: setup ## The unit tests must take every branch of what decides about a unit; under a minute
	$(BIN)/coverage run -m pytest -q $(DECISION_TESTS:%=tests/unit/test_%.py)
	$(BIN)/coverage report --show-missing --fail-under=100 --include='$(subst $(EMPTY) ,$(COMMA),$(DECIDED_IN:%=consumer/%.py))'

format: setup ## Format, and repair what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup $(VENV)-bench/.locked ## Measure, some twenty minutes; ARGS="large --write" for one part, into docs/benchmarks.md
	$(BIN)/python -m tests.bench $(ARGS)

MINUTES ?= 10
SEED ?= 1

fuzz: setup $(VENV)/.fuzz ## Read files nobody thought of; MINUTES=10 SEED=1. Linux on x86-64
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

docs: setup ## Write the generated pages of docs/
	$(BIN)/python docs/generate.py

proto: setup ## Write consumer/seaweed_pb2.py from consumer/seaweed.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. consumer/seaweed.proto

# The second lock starts from the first, so both name the same versions. `make lock UPGRADE=--upgrade` takes newer ones.
COMPILE = CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-options
GROUP = import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]], sep="\n")
EXTRA = import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")

lock: setup ## Write the lock files anew from pyproject.toml; takes some minutes
	$(COMPILE) $(UPGRADE) --output-file requirements.lock pyproject.toml
	cp requirements.lock requirements-dev.lock
	$(BIN)/python -c '$(GROUP)' dev | $(COMPILE) --output-file requirements-dev.lock pyproject.toml -
	cp requirements.lock requirements-bench.lock
	$(BIN)/python -c '$(GROUP)' bench | $(COMPILE) $(UPGRADE) --output-file requirements-bench.lock -
	$(BIN)/python -c '$(GROUP)' fuzz | $(COMPILE) $(UPGRADE) --output-file requirements-fuzz.lock -
	cp requirements.lock requirements-silo.lock
	$(BIN)/python -c '$(EXTRA)' silo | $(COMPILE) --output-file requirements-silo.lock -
	$(COMPILE) $(UPGRADE) --output-file tests/stack/rhydb-requirements.txt tests/stack/rhydb-requirements.in
	$(COMPILE) $(UPGRADE) --output-file tests/stack/argilla-requirements.txt tests/stack/argilla-requirements.in
	$(COMPILE) $(UPGRADE) --output-file tests/stack/superset-requirements.txt tests/stack/superset-requirements.in

clean: ## Remove everything made here, .venv too; never lakedrop-home
	rm -rf $(VENV) $(VENV)-bench build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache lakedrop-demo
	find consumer docs handlers tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv brings a Python where none fits; without it the machine's own has to.
$(VENV)/.locked: requirements-dev.lock
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python '>=3.11' $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python --require-hashes --only-binary :all: -r $<; \
	elif [ -z "$(PYTHON)" ]; then \
	  echo 'lakedrop needs Python 3.11 or newer, and finds none. Install it, then run make again:' >&2; \
	  echo '  Debian 12, Ubuntu 24.04:  apt-get install python3 python3-venv' >&2; \
	  echo '  Fedora, RHEL 9:           dnf install python3.12' >&2; \
	  echo '  macOS:                    brew install python@3.13' >&2; \
	  echo 'It stands elsewhere?        make setup PYTHON=/path/to/python3' >&2; \
	  exit 69; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "$(PYTHON) cannot create virtual environments. Install what is missing, then run make again:" >&2; \
	  echo "  apt-get install python$$version-venv" >&2; \
	  exit 69; \
	else \
	  echo "Installing into $(VENV); takes a minute or two" && \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: -r $<; \
	fi
	@touch $@

# The warning silenced is setuptools' reminder of what an editable installation is.
$(VENV)/.project: $(VENV)/.locked pyproject.toml
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.fuzz: $(VENV)/.project requirements-fuzz.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: -r requirements-fuzz.lock
	@touch $@

# dlt, a peer of the benchmark, in an environment of its own. Without it the benchmark leaves its line out and says so.
$(VENV)-bench/.locked: requirements-bench.lock
	@echo "Installing dlt into $(VENV)-bench, for the benchmark alone" && \
	$(BIN)/python -m venv $(VENV)-bench && \
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: -r $< && \
	touch $@ || { echo "dlt cannot be installed: the benchmark goes on without it" >&2; rm -rf $(VENV)-bench; }
