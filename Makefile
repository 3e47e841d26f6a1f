.DEFAULT_GOAL := help
PORT ?= 8000
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "peerloans needs Python 3.11 or newer; name one with make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.PHONY: run
run: $(BIN)/.installed ## start everything, with demo data, on http://localhost:8000 (PORT=9000 make run)
	@exec $(BIN)/python -m peerloans.run --port $(PORT)

.PHONY: test
test: $(BIN)/.installed ## the whole test suite
	$(BIN)/pytest

.PHONY: test-long
test-long: $(BIN)/.installed ## the tests that take minutes: random histories of 100,000 steps, more examples
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -m long

.PHONY: check
check: $(BIN)/.installed ## formatting, lint, types, migrations, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/pytest -q -n 0 -p no:randomly tests/test_imports.py

.PHONY: format
format: $(BIN)/.installed ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
