# make demo    install what is needed and open the dashboard
# make test    the whole test suite, Chromium included
# make check   lint, format, types and import boundaries, in seconds
# make bench   the benchmarks in tests/benchmarks
# make clean   remove the environment and everything generated
#
# Everything is installed into .venv with the exact versions of constraints.txt, once: again only when
# pyproject.toml or constraints.txt change.

VENV := .venv
BIN := $(VENV)/bin
# Tests run in two processes of one thread each: small models gain nothing by a second thread. A file's tests stay
# together, as they share what they made.
WORKERS ?= 2
THREADS ?= 1
PYTEST_ARGS ?=
PORT ?=

.DEFAULT_GOAL := help
.PHONY: help demo install test check format bench clean chromium

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.installed
	$(BIN)/tracefix $(if $(PORT),--port $(PORT))

install: $(VENV)/.installed

test: $(VENV)/.installed-dev chromium
	OMP_NUM_THREADS=$(THREADS) MKL_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev chromium
	@set -e; for script in tests/benchmarks/[!_]*.py; do [ -e "$$script" ] || continue; echo "== $$script"; $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache tests/screenshots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python on the path that is new enough.
$(BIN)/python:
	@set -e; for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "Making $(VENV) with $$($$python --version)"; \
	        $$python -m venv $(VENV) || { echo "Making the environment failed: install your system's package for venv (python3-venv)." >&2; exit 1; }; \
	        exit 0; \
	    fi; \
	done; \
	echo "Tracefix needs Python 3.11 or newer: install one, or name it with make PYTHON=/path/to/python." >&2; exit 1

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Tracefix into $(VENV) (once; some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[samples]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Tracefix and the tools for its development into $(VENV) (once; some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[samples,dev]'
	@touch $(VENV)/.installed $@

# A browser for the tests: the one that is there, else the system's package, else Playwright's own build.
chromium: $(VENV)/.installed-dev
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else $(BIN)/python -m playwright install chromium; fi
