.DEFAULT_GOAL := help
PORT ?= 8000
PYTHON ?= python3
BIN := .venv/bin

# What .venv was made for. One that was moved, half-made, or whose Python has gone or changed is made anew.
MADE_FOR := $(BIN)/python -c 'import sys; print(sys.prefix, *sys.version_info[:2])'
ifneq ($(shell [ "$$($(MADE_FOR) 2>/dev/null || echo nothing)" = "$$(cat .venv/.installed 2>/dev/null)" ] && echo sound),sound)
.PHONY: .venv/.installed
endif

# uv takes half of pip's time: the machine's own, or one in .venv. Like pip it trusts the machine's certificates.
UV := PATH="$$PATH:$(BIN)" UV_SYSTEM_CERTS=1 UV_COMPILE_BYTECODE=1 uv pip
PIP := $(BIN)/python -m ensurepip >/dev/null && $(BIN)/python -m pip --quiet --disable-pip-version-check

# Install the packages of a lock. An installation that is killed leaves no .installed, so the next one starts anew.
define install
@echo '  make | installing $(1) into .venv …'
@rm -f .venv/.installed
@$(UV) install --quiet --python $(BIN)/python --require-hashes -r $(1) || { $(PIP) install --require-hashes -r $(1); }
@$(MADE_FOR) > .venv/.installed
endef

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.installed: requirements/local.lock
	@$(PYTHON) -c 'import sys; sys.exit("peerloans needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv --clear --without-pip .venv
	@command -v uv >/dev/null || { echo '  make | fetching uv, which installs the rest …'; $(PIP) install --require-hashes -r requirements/installer.lock; } || true
	$(call install,requirements/local.lock)

.venv/.tools: .venv/.installed requirements/dev.lock
	$(call install,requirements/dev.lock)
	@touch $@

.PHONY: run
run: .venv/.installed ## start everything, with demo data, on http://localhost:8000 (PORT=9000 make run)
	@exec $(BIN)/python -m peerloans.devserver.run --port $(PORT)

.PHONY: reset
reset: .venv/.installed ## delete the embedded database and Redis with all their data; stop `make run` first
	@$(BIN)/python -m peerloans.devserver.reset

.PHONY: test
test: .venv/.tools ## the test suite
	$(BIN)/python -m pytest

.PHONY: test-long
test-long: .venv/.tools ## the tests that take minutes: random histories of 100,000 steps, more examples
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -m long

.PHONY: test-dates
test-dates: .venv/.tools ## the test suite on other dates and in other time zones (half an hour; TESTS=tests/loans make test-dates)
	$(BIN)/python -m tests.dates $(TESTS)

.PHONY: chaos
chaos: .venv/.tools ## kill, cut, slow and fill what the running system stands on, 200 times (FAULTS=20 SEED=7 make chaos)
	$(BIN)/python -m tests.chaos --faults $(or $(FAULTS),200) $(if $(SEED),--seed $(SEED))

.PHONY: attack
attack: .venv/.tools ## attack the system in production settings, and show what its users feel (three minutes)
	$(BIN)/python -m tests.attack $(ATTACKS)

.PHONY: drill
drill: .venv/.tools ## lose the database under load, restore it to a moment, and report what was lost (a minute)
	$(BIN)/python -m tests.drill

.PHONY: test-cluster
test-cluster: .venv/.tools ## on PgBouncer, a hot standby, Redis Sentinel and RabbitMQ (Debian's postgresql, pgbouncer, rabbitmq-server)
	$(BIN)/python -m pytest -m cluster -n 0 -p no:randomly tests/cluster

.PHONY: browser
browser: .venv/.tools ## the tests in a real browser, and what it saw, in var/screenshots
	@mkdir -p var/screenshots
	SCREENSHOTS=var/screenshots $(BIN)/python -m pytest -n 0 -rs tests/browser

.PHONY: pictures
pictures: browser ## renew docs/pictures by what the browser saw
	@mkdir -p docs/pictures
	cp var/screenshots/investor-refused.png var/screenshots/investor-pay.png var/screenshots/investor-settled.png docs/pictures/
	cp var/screenshots/investor-order-new.png var/screenshots/investor-order.png var/screenshots/investor-loan.png docs/pictures/
	cp var/screenshots/staff-loan.png var/screenshots/staff-saved-view.png docs/pictures/
	cp var/screenshots/staff-invite-wide-light.png docs/pictures/staff-invite.png
	cp var/screenshots/account-watches-wide-light.png docs/pictures/investor-watches.png
	cp var/screenshots/staff-start.png var/screenshots/staff-preview.png var/screenshots/staff-done.png docs/pictures/

.PHONY: check
check: .venv/.tools ## formatting, lint, types, migrations, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	DEBUG=1 $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 0 -p no:randomly tests/test_migrations.py

.PHONY: test-upgrade
test-upgrade: .venv/.tools ## upgrade from the release before and go back to it, while callers reserve and pay (FROM=v1.0.0; needs what test-cluster needs)
	FROM=$(FROM) $(BIN)/python -m pytest -m cluster -n 0 -p no:randomly -rs tests/cluster/test_upgrade.py

VERSION = $(shell $(BIN)/python -c 'import peerloans; print(peerloans.__version__)')
.PHONY: release
release: .venv/.tools ## check, test and tag the version of peerloans/__init__.py, and build its image where Docker is
	@[ -z "$$(git status --porcelain)" ] || { echo 'There are changes that are not committed.'; exit 1; }
	@grep -qE '^## $(VERSION), [0-9]{4}-[0-9]{2}-[0-9]{2}$$' CHANGELOG.md || { echo 'CHANGELOG.md has no heading "## $(VERSION), DATE".'; exit 1; }
	@! git rev-parse -q --verify refs/tags/v$(VERSION) >/dev/null || { echo 'v$(VERSION) is tagged. Raise __version__ in peerloans/__init__.py.'; exit 1; }
	$(MAKE) check test
	git tag -a v$(VERSION) -m 'peerloans $(VERSION)'
	@if docker info >/dev/null 2>&1; then docker build -t peerloans:$(VERSION) .; else echo 'Docker is not here, so no image is built.'; fi
	@echo 'v$(VERSION) is tagged. Publish it: git push origin main v$(VERSION)'

.PHONY: schema
schema: .venv/.installed ## renew tests/openapi.json, which a test compares with the API
	DEBUG=1 $(BIN)/python manage.py spectacular --validate --fail-on-warn --format openapi-json --file tests/openapi.json

.PHONY: simulate
simulate: .venv/.installed ## overbooking by evidence on a year of 10,000 simulated loans (SEED=7 make simulate; half a minute)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED))

CLIENT := var/client
.PHONY: client
client: .venv/.tools ## the typed Python client of the API, as a package in var/client (pip install ./var/client)
	@rm -rf $(CLIENT) && mkdir -p $(CLIENT)
	@PATH="$(BIN):$$PATH" openapi-python-client generate --path tests/openapi.json --config docs/client/generator.yml --meta none --custom-template-path docs/client/templates \
	  --output-path $(CLIENT)/peerloans_client
	@cp docs/client/connection.py docs/client/sandbox.py docs/client/webhooks.py $(CLIENT)/peerloans_client/
	@cp docs/client/pyproject.toml $(CLIENT)/ && touch $(CLIENT)/peerloans_client/py.typed

.PHONY: bench
bench: .venv/.tools ## our figures beside their baselines, taken in turn (about ten minutes; ROWS="post lists" make bench)
	$(BIN)/python -m tests.bench $(ROWS)

.PHONY: format
format: .venv/.tools ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --only-binary goes into the lock as well: no package runs code of its own while it is installed.
LOCK := $(UV) compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --only-binary :all: --emit-build-options \
	--no-annotate --custom-compile-command 'make lock'
.PHONY: lock
lock: .venv/.installed ## renew requirements/*.lock: the newest versions that the ranges allow, with hashes
	@echo '  make | renewing requirements/*.lock …'
	@$(LOCK) requirements/dev.txt -o requirements/dev.lock
	@$(LOCK) requirements/local.txt -c requirements/dev.lock -o requirements/local.lock
	@$(LOCK) requirements.txt -c requirements/dev.lock -o requirements/production.lock
	@$(LOCK) requirements/installer.txt -o requirements/installer.lock
