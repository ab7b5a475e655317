# Everything a developer or a newcomer types. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
NEWEST ?= $(shell for one in python3.15 python3.14 python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python; do \
	$$one -c 'import ensurepip' 2>/dev/null && echo $$one && break; done)
PYTHON312 ?= $(shell for one in python3.12 $(HOME)/.pyenv/versions/3.12*/bin/python; do \
	$$one -c '' 2>/dev/null && echo $$one && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test newest check chaos soak bench findings golden lock localstack clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## A virtual environment in .venv, with the strata command in it

demo: $(VENV)/.installed ## The main job on real servers: back up three tiers, wipe them, restore, compare every record
	@$(RUN) workers.local_stack.demo $(if $(FOLDER),--folder $(FOLDER))

test: $(VENV)/.installed ## The tests, on real servers that they start and end themselves
	$(RUN) pytest

newest: ## A part of the tests that meets every library and server, on the newest Python that is here
	@if [ -z "$(NEWEST)" ]; then echo "No Python later than 3.12 was found, so none was tried; name one: make NEWEST=/path/to/python newest"; else \
		$(MAKE) -s VENV=.venv-newest PYTHON=$(NEWEST) setup && \
		.venv-newest/bin/python -m pytest -q tests/model tests/planning tests/content tests/seal tests/golden tests/catalog \
			tests/workers tests/pipeline/test_full.py tests/local_stack; fi

check: $(VENV)/.installed ## Lint, formatting, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: $(VENV)/.installed ## Kill workers and servers at random, for longer than the tests do
	$(RUN) pytest -m chaos --rounds 40 --timeout 3600

soak: $(VENV)/.installed ## Live through a long random history of changes, backups and restores
	$(RUN) pytest -m soak --rounds 40 --timeout 7200

bench: $(VENV)/.installed ## Measure against redis-cli, pg_dump, boto3 and restic; SCALE=5 for a million keys
	@for one in restic redis-cli:redis-tools; do command -v $${one%:*} >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get install -qq -y $${one#*:} >/dev/null 2>&1; } || true; done
	@$(RUN) bench.run --scale $(or $(SCALE),1) $(if $(COMPARED),--compared $(COMPARED))

findings: ## Whether the libraries and servers that surprised us still do; installs them by name in a temp folder
	@PYTHON="$(PYTHON)" bash findings/lab/run

lock: ## Pin the dependencies anew, by version and hash
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --extra stack --extra dev pyproject.toml -o requirements-dev.txt
	echo 'setuptools>=77' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url -c requirements-dev.txt - -o requirements-build.txt

localstack: .localstack/.installed ## A strict S3 for the tests of stores, in an environment of its own (it pins boto3; needs Python 3.12)

.localstack/.installed:
	@[ -n "$(PYTHON312)" ] || { echo "The strict S3 needs Python 3.12; name one: make PYTHON312=/path/to/python3.12 localstack"; exit 1; }
	$(PYTHON312) -m venv .localstack
	.localstack/bin/python -m pip install -q --disable-pip-version-check 'localstack-core[base-runtime]==4.13.1' 'cbor2<5.8' 'pyOpenSSL==25.3.0' service-identity
	@touch $@

clean: ## Remove the environment and all that was built (not the local stack's data: strata stack down --wipe)
	rm -rf .venv .venv-newest build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Strata needs Python 3.11 or later; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv; } || \
		{ echo "Python's venv module is missing: as root, apt-get install python3-venv"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(RUN) pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-dev.txt || \
		{ echo "The package that the last lines name has no wheel for $$($(BIN)/python -VV) on $$(uname -m)."; \
		  echo "Name another Python: make PYTHON=python3.13 setup (3.11 to 3.14 on x86_64 and aarch64 have them all)."; exit 1; }
	$(RUN) pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
