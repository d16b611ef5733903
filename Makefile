# Everything a person or CI does with this checkout. Installs into .venv; needs git, make and Python 3.11+.
PYTHON ?= python3
# More than cores: tests wait for servers and browsers most of their time.
WORKERS ?= 3
RUN = .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help install install-dev demo demo-reset up down smoke bench lint format test docs lock

help:            ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

install:         ## Install what PreviewKit needs to run, into .venv
	@$(PYTHON) bin/bootstrap runtime

install-dev:     ## The same, and what its tests need
	@$(PYTHON) bin/bootstrap dev

demo: install    ## Bring everything up with the example repositories; Ctrl-C stops it
	@$(RUN) -m previewkit demo

demo-reset: install ## Stop it and delete its state directory
	@$(RUN) -m previewkit demo-reset

up: install      ## The control plane without the demo
	@$(RUN) -m previewkit up

down: install    ## Stop it; data stays
	@$(RUN) -m previewkit down

smoke: install   ## Run and check every demo pull request, and that nothing is left
	@$(RUN) -m previewkit smoke

bench: install   ## Print every figure with its comparison
	@$(RUN) -m benchmarks

lint: install-dev ## Style, format, types, import contracts, migrations, settings
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-cache
	PREVIEWKIT_HOME=/nonexistent $(RUN) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	PREVIEWKIT_HOME=/nonexistent $(RUN) manage.py check --deploy --fail-level WARNING

format: install-dev ## Put the code into its format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: install-dev ## Make the parts of the documentation that come from the code
	@$(RUN) -m previewkit.documented

lock: install-dev ## Resolve pyproject.toml into the lock files anew
	$(RUN) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(RUN) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock

test: lint       ## Lint, then all tests, on real servers
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile
