# `make demo` and `make test` need python3 (3.11 or newer), make and a package index, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check docs attack matrix host backends conformance bench bench-dashboards bench-reports \
  release-check newest clean

help:
	@echo "make demo      play bundled calls through the real SDK and report what they cost; no key, no network"
	@echo "make test      style, types and all tests"
	@echo "make attack    faults that need root, a mount or minutes; says what it skipped"
	@echo "make docs      the site in .docs/site: warnings are errors, links are checked, pages looked at in Chromium"
	@echo "make matrix    every kind of call on every supported version of the SDK"
	@echo "make host      the SDK's own tests, with and without the meter"
	@echo "make backends  spans, metrics and records in real back ends and beside other tools"
	@echo "make conformance    public reports of wrong costs, put to this and two other pricing functions"
	@echo "make bench     what the meter adds to a call"
	@echo "make bench-dashboards [ROWS=5000000]  every query of every page on a generated ledger"
	@echo "make bench-reports [ROWS=5000000]     every question of docs/reports.md on it"
	@echo "make release-check    both distributions, built, looked at, and tried on every Python that is there"
	@echo "make newest    the newest SDKs, OpenTelemetry, Datasette and price lists, pre-releases among them"

demo: $(VENV)/.installed
	@$(BIN)/claudetrace demo --no-serve

test: check $(VENV)/.browser
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --ignore=tests/attack --ignore=tests/fleet

# Quiet while all is well, so that what fails stands out.
check: $(VENV)/.developed
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary

docs: $(VENV)/.browser
	@$(BIN)/python -m pip install -q --group docs
	@$(BIN)/python docs/_site/build.py
	@$(BIN)/python docs/_site/look.py
	@$(BIN)/python -m pytest -q -k schema tests/docs/test_deploy.py

attack: $(VENV)/.developed
	@$(BIN)/python -m pip install -q --group attack
	@$(BIN)/python -m pytest -q tests/attack

matrix: $(VENV)/.developed
	@$(BIN)/python tests/matrix/run.py

host: $(VENV)/.developed
	@$(BIN)/python tests/host/run.py

backends: $(VENV)/.developed
	@$(BIN)/python tests/backends/run.py

conformance: $(VENV)/.developed
	@$(BIN)/python tests/conformance/run.py --write

bench: $(VENV)/.developed
	@$(BIN)/python tests/bench/run.py

ROWS ?= 1000000

bench-dashboards: $(VENV)/.developed
	@$(BIN)/python tests/bench/dashboards.py $(ROWS) --prove

bench-reports: $(VENV)/.developed
	@$(BIN)/python tests/bench/reports.py $(ROWS)

# PYTHONS="python3.12 python3.13" names the Pythons to use.
release-check: $(BIN)/python
	@$(BIN)/python tests/release/check.py

newest: $(BIN)/python
	@$(BIN)/python tests/release/newest.py

clean:
	rm -rf $(VENV) .docs .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "claudetrace needs Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@# Dependency groups need pip 25.1.
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing claudetrace into $(VENV) …"
	@$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	@echo "Installing what the tests need into $(VENV) …"
	@$(BIN)/python -m pip install -q --group dev --group frameworks --group browser
	@touch $@

# Installed where it can be; where it cannot, the tests in the browser say that they are skipped.
$(VENV)/.browser: $(VENV)/.developed
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  echo "Installing Chromium …" && { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1; } || true
	@touch $@
