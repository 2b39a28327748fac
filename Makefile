# Nexus on one machine. Needs Python 3.11 or newer, pip and make; `make help` lists the commands.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# How many microseconds a loop takes: an interpreter built without profiles takes half again as long, and so does an order.
PACE := import sys, ensurepip, timeit; sys.version_info >= (3, 11) or sys.exit(1); print(round(1e6 * min( \
	timeit.repeat("for i in range(5000): x[i & 7] = str(i).upper()", "x = {}", number=1, repeat=20))))
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$candidate -c '$(NEW_ENOUGH)' 2>/dev/null && break; candidate=; done; \
	system=$$(/usr/bin/python3 -c '$(PACE)' 2>/dev/null); found=$$($$candidate -c '$(PACE)' 2>/dev/null); \
	[ "$${system:-0}" -gt 0 ] && [ $$((system * 5)) -lt $$(($${found:-0} * 4)) ] && candidate=/usr/bin/python3; \
	echo $$candidate)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --require-hashes
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header
# Bandit warns of each part of a line that it was told to leave alone; its findings and errors stay.
BANDIT := $(BIN)/python -c 'import logging; logging.disable(logging.WARNING); from bandit.cli.main import main; main()'
WITH_SETTINGS := $(BIN)/python -m nexus.local with-settings

.DEFAULT_GOAL := help
.PHONY: help run code test test-browser screenshots translations crash storm chaos lives soak demo fuzz bench conformance threats licences sbom secrets check format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run-installed ## Start everything, make one real paper trade, serve until Ctrl-C
	@NEXUS_STOP_WITH_PARENT=1 exec $(BIN)/python -m nexus.local run

code: $(VENV)/.run-installed ## Show a code of a demo person's second factor; WHO=operator, compliance, trader or bot
	@$(BIN)/python -m nexus.local code $(or $(WHO),operator)

test: $(VENV)/.dev-installed ## Run all tests on a PostgreSQL of their own; ARGS="-k ledger" is passed to pytest
	@exec $(BIN)/python -m nexus.local test $(ARGS)

test-browser: $(VENV)/.dev-installed ## Open every page in Chromium: flows, both languages, phone width, no violation, no serious finding
	@exec $(BIN)/python -m pytest -c tests/browser/pytest.ini --rootdir . --confcutdir tests/browser tests/browser $(ARGS)

screenshots: $(VENV)/.dev-installed ## Render each page into docs/screenshots/
	@exec $(BIN)/python -m tests.browser.screenshots

translations: $(VENV)/.dev-installed ## Collect the pages' texts and compile their French; needs gettext (Debian: apt-get install gettext)
	$(WITH_SETTINGS) $(BIN)/python manage.py makemessages --locale fr --no-location --no-obsolete --ignore .venv --ignore tests --ignore var
	msgfmt --check --output-file nexus/locale/fr/LC_MESSAGES/django.mo nexus/locale/fr/LC_MESSAGES/django.po

bench: $(VENV)/.dev-installed ## Measure orders beside the physical limit; BENCH=api runs one part (limit api admission reads growth reconcile stop audit dashboards pages)
	@exec env BENCH="$(BENCH)" $(BIN)/python -m tests.bench

crash: $(VENV)/.dev-installed ## Kill real processes at every boundary of the order protocol, KILLS times each (50)
	@exec $(BIN)/python -m tests.crash

conformance: $(VENV)/.dev-installed ## Play every fault against every adapter, and keep the table in docs/brokers.md
	@$(WITH_SETTINGS) $(BIN)/python -m tests.contracts.conformance --write docs/brokers.md

soak: $(VENV)/.dev-installed ## Play RUNS stories (2000) against each invariant of the emulator, and kill its process KILLS times (50)
	@exec env NEXUS_EMULATOR_RUNS="$(or $(RUNS),2000)" NEXUS_EMULATOR_KILLS="$(or $(KILLS),50)" $(BIN)/python -m nexus.local test \
		tests/trading/brokers/mt5/emulator/test_invariants.py tests/trading/brokers/mt5/emulator/test_crashes.py -q

demo: $(VENV)/.dev-installed ## Look at a demo account behind its gateway (DEMO_GATEWAY_URL …, docs/brokers.md); sends nothing
	@test -n "$$DEMO_GATEWAY_URL" || { echo "DEMO_GATEWAY_URL names no gateway: see docs/brokers.md"; exit 2; }
	@$(BIN)/python -m nexus.local test tests/contracts/test_looking.py -k real -q -n 0

threats: $(VENV)/.dev-installed ## List each threat with the tests that are marked with it, in docs/security.md
	@$(BIN)/python -m tests.security.threats

licences: $(VENV)/.dev-installed ## List the licence of everything that is shipped, in docs/licences.md; fails for one that cannot be carried
	@$(BIN)/python -m tests.security.licences

sbom: $(VENV)/.dev-installed ## Write the bill of materials (CycloneDX) of what is shipped to var/sbom.json
	@mkdir -p var
	@$(BIN)/python -m tests.security.materials > var/sbom.json
	@echo "var/sbom.json"

secrets: $(VENV)/.dev-installed ## Look for secrets in everything that is tracked
	@git ls-files -z -- ':!*.baseline' | xargs -0 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline

storm: $(VENV)/.dev-installed ## Fire at every limit with 64 clients and USERS users (100), and stop trading amid the fire
	@exec $(BIN)/python -m tests.storm

chaos: $(VENV)/.dev-installed ## Kill and freeze the processes of a whole installation that trades, for SECONDS (180); SEED, KINDS and MODE choose
	@exec $(BIN)/python -m tests.chaos

lives: $(VENV)/.dev-installed ## Live random lives of orders and of what stands, for SEEDS seeds (10); FIRST, LIVES and STEPS choose
	@exec $(BIN)/python -m tests.model

fuzz: $(VENV)/.dev-installed ## Ask every operation of the published document as every role; CASES=50 for each, right and wrong
	@exec env LOG_LEVEL=ERROR FUZZ_CASES="$(or $(CASES),50)" $(BIN)/python -m nexus.local test tests/fuzz -q -s -n 0

check: $(VENV)/.dev-installed secrets ## The gate: format, lint, secrets, weaknesses, types, import contracts, migrations, deploy check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BANDIT) --quiet --configfile pyproject.toml --recursive .
	$(WITH_SETTINGS) $(BIN)/mypy .
	$(BIN)/lint-imports
	$(WITH_SETTINGS) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(WITH_SETTINGS) $(BIN)/python manage.py check --deploy --fail-level WARNING

format: $(VENV)/.dev-installed ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/.dev-installed ## Compile requirements*.in into requirements*.txt, with exact versions and hashes
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-alpaca.in --output-file requirements-alpaca.txt
	$(LOCK) requirements-parquet.in --output-file requirements-parquet.txt
	$(LOCK) requirements-dev.in --output-file requirements-dev.txt

clean: ## Remove the local data, the virtual environment and the caches
	@if [ -f $(VENV)/.run-installed ] || [ -f $(VENV)/.dev-installed ]; then $(BIN)/python -m nexus.local clean; fi
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@python="$(PYTHON)"; if [ -z "$$python" ]; then \
		echo "Nexus needs Python 3.11 or newer, and none was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	$$python -c '$(NEW_ENOUGH)' || { \
		echo "Nexus needs Python 3.11 or newer; $$python is $$($$python --version 2>&1)." >&2; exit 1; }; \
	echo "Making the virtual environment in $(VENV) with $$($$python --version) ($$python)"; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The virtual environment could not be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.run-installed: requirements.txt | $(BIN)/python
	@echo "Installing the pinned packages"
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.dev-installed: requirements.txt requirements-dev.txt | $(BIN)/python
	@echo "Installing the pinned packages and the tools of the gate"
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@ $(VENV)/.run-installed
