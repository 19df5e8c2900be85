# Everything a developer does here. Needs make and Python 3.11 or newer with venv; all else goes into $(VENV).
#
#   make test ARGS="-k store -x"     hand words to pytest
#   make test PYTHON=python3.13      with another interpreter (use another VENV as well, or clean first)

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SCENARIO ?= all
SECONDS ?=
TIMES ?=
DEMO_DB := metrics.db

SHELL := /bin/sh
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help demo test test-all check format-check lint types imports format coverage simulate chaos chaos-quick bench bench-quick bench-peers check-images docs clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.installed ## Measure every file of Python's standard library, and show what was found
	@rm -f $(DEMO_DB) $(DEMO_DB)-wal $(DEMO_DB)-shm
	@stdlib="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" && \
	find "$$stdlib/" \( -name site-packages -o -name __pycache__ \) -prune -o -name '*.py' -print | LC_ALL=C sort | \
	$(BIN)/zmqtasks run examples.code_metrics:analyse --paths - -o $(DEMO_DB) || [ $$? -eq 1 ]
	@$(BIN)/python examples/demo.py $(DEMO_DB)

test: $(VENV)/.installed-dev ## Run the tests
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: format-check lint types imports test ## Formatting, lint, types, direction of imports, tests

format-check: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

imports: $(VENV)/.installed-dev
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Format the code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test-all: ## Run the tests with each of Python 3.11, 3.12 and 3.13 that is installed
	@ran=; absent=; failed=; \
	for minor in 11 12 13; do \
	    found=; \
	    for candidate in "$(PYTHON)" python3.$$minor "$$HOME"/.pyenv/versions/3.$$minor.*/bin/python; do \
	        "$$candidate" -c "import sys; sys.exit(sys.version_info[:2] != (3, $$minor))" 2>/dev/null || continue; \
	        found=$$candidate; break; \
	    done; \
	    if [ -z "$$found" ]; then absent="$$absent 3.$$minor"; continue; fi; \
	    echo "Python 3.$$minor: $$found"; ran="$$ran 3.$$minor"; \
	    $(MAKE) --no-print-directory test PYTHON="$$found" VENV=.venv-3.$$minor || failed="$$failed 3.$$minor"; \
	done; \
	echo "ran with:$${ran:- none}; not installed:$${absent:- none}; failed:$${failed:- none}"; \
	[ -n "$$ran" ] && [ -z "$$failed" ]

coverage: $(VENV)/.installed-dev ## Show that the machines' own tests cover each of their branches
	@$(BIN)/python -m pytest -q -n auto tests/machines --cov=zmqtasks.machines --cov-branch --cov-report=term-missing --cov-fail-under=100

simulate: $(VENV)/.installed-dev ## Play storms of faults on a simulated network for SECONDS (60), a crowd TIMES (1), then without each rule
	@$(BIN)/python -m tests.simulation.crowd --times $(or $(TIMES),1) $(ARGS)
	@$(BIN)/python -m tests.simulation.simulate --seconds $(or $(SECONDS),60) $(ARGS)
	@$(BIN)/python -m tests.simulation.rules

chaos: $(VENV)/.installed-dev ## Make faults on real processes (two hours); SCENARIO=storm SECONDS=600, SCENARIO=node TIMES=20
	@$(BIN)/python -m tests.mesh.chaos $(SCENARIO) $(if $(TIMES),--times $(TIMES)) $(if $(SECONDS),--seconds $(SECONDS)) \
	    --out bench/results/chaos-$$(date +%F).jsonl $(ARGS)

chaos-quick: $(VENV)/.installed-dev ## The same, as much as each commit is checked with (some minutes)
	@$(BIN)/python -m tests.mesh.chaos --quick --together 3 $(SCENARIO) $(ARGS)

bench: $(VENV)/.installed-bench ## Measure everything beside all peers that are installed, and write the report (an hour)
	@$(BIN)/python -m bench.run --out bench/results/$$(date +%F).jsonl $(ARGS)
	@$(BIN)/python -m bench.report

bench-quick: $(VENV)/.installed-bench ## See in a minute that the bench runs; its figures say little
	@$(BIN)/python -m bench.run --quick $(ARGS)

bench-peers: $(VENV)/.installed-bench ## Make the environments of the peers; PEER=ray makes one
	@$(BIN)/python -m bench.environments $(PEER)

check-images: $(VENV)/.installed-images ## Look at docker/ with hadolint and the schema of compose
	@$(BIN)/python -m pytest -q -n 0 tests/test_images.py

docs: .venv-docs/.installed-docs ## Build the documentation, warnings being errors
	@.venv-docs/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean: ## Remove all that was made here
	@rm -rf .venv .venv-* docs/_build dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@rm -f .coverage $(DEMO_DB) $(DEMO_DB)-wal $(DEMO_DB)-shm
	@find zmqtasks tests examples docs -name __pycache__ -prune -exec rm -rf {} +

# --- environments: a stamp says what was installed last, and is older than pyproject.toml when that has changed

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "zmqtasks needs Python 3.11 or newer, and $(PYTHON) is not; try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $* || { \
	    rm -rf $*; echo "$(PYTHON) cannot make a venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$*/bin/python -m pip install -qq --upgrade "pip>=25.1"

%/.installed: pyproject.toml | %/bin/python
	@echo "installing zmqtasks into $*"
	@$*/bin/python -m pip install -qq --editable .
	@touch $@

%/.installed-dev: %/.installed
	@echo "installing what the tests need into $*"
	@$*/bin/python -m pip install -qq --group dev
	@touch $@

%/.installed-bench: %/.installed
	@echo "installing what the bench needs into $*"
	@$*/bin/python -m pip install -qq --group bench
	@touch $@

%/.installed-images: %/.installed-dev
	@echo "installing what looks at docker/ into $*"
	@$*/bin/python -m pip install -qq --group images
	@touch $@

%/.installed-docs: %/.installed
	@echo "installing what the documentation needs into $*"
	@$*/bin/python -m pip install -qq --group docs
	@touch $@

.PRECIOUS: %/bin/python %/.installed %/.installed-dev %/.installed-images %/.installed-docs
