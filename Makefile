# The commands of the project are `make site`, `make test` and, while you work, `make quick`; `make help` lists the rest.
#
#   make site PYTHON=python3.12                    another interpreter for the virtual environment
#   make site ARGS="--base-url https://me.github.io/catalog"    flags for the build

PYTHON ?= python3
PORT ?= 8000
ARGS ?=

# Relative paths only, so that the project may stand in a folder whose name holds spaces.
VENV := .venv
PY := $(VENV)/bin/python
HTML := tests/html/node_modules
PIP_INSTALL := $(PY) -m pip install --quiet --constraint constraints.txt

# `make -j site check` checks what was built.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help site quick test lint coverage snapshots check serve clean distclean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

site: $(VENV)/.installed ## build the default catalog into site/
	@$(PY) build.py fetch
	@$(PY) build.py build $(ARGS)

# Each worker holds a model and a browser: four are enough.
PYTEST := $(PY) -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

quick: lint ## lint, types, and the tests that need neither a browser nor much time
	@$(PYTEST) -m "not browser and not slow"

# pytest comes last, so that its summary is the last line.
test: lint $(HTML)/.installed ## install what the tests need, then lint, check types and run every test
	@$(PYTEST)

coverage: $(VENV)/.test-installed ## measure branch coverage, with every test but those in a browser
	@mkdir -p build
	@$(PYTEST) -m "not browser" --cov --cov-report term

snapshots: $(VENV)/.test-installed ## write tests/snapshots/ anew, after a change of the pages that was meant
	@$(PY) -m pytest tests/test_snapshots.py --update-snapshots

lint: $(VENV)/.test-installed ## ruff and mypy only
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

check: $(VENV)/.installed ## check every link and page of site/
	@$(PY) build.py check site

serve: $(VENV)/.installed ## look at site/ on the loopback address (PORT=8000)
	@$(PY) build.py serve site --port $(PORT)

clean: ## remove the built site and the tools' caches
	@find site -mindepth 1 -maxdepth 1 ! -name .gitignore -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build

distclean: clean ## clean, and remove the virtual environment
	@rm -rf $(VENV) $(HTML)

$(PY):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# torch is named in the request too: pip then settles on the pinned build before it looks at the packages that
# ask for any torch.
$(VENV)/.installed: pyproject.toml constraints.txt | $(PY)
	@echo "Installing the project (a few minutes the first time)"
	@$(PIP_INSTALL) torch==2.13.0 --editable .
	@touch $@

$(VENV)/.test-installed: pyproject.toml constraints.txt | $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(PIP_INSTALL) torch==2.13.0 --editable '.[test]'
	@touch $@

# npm comes with the test requirements. Without its registry the tests that need html-validate are skipped, not so in CI.
$(HTML)/.installed: tests/html/package.json tests/html/package-lock.json | $(VENV)/.test-installed
	@echo "Installing html-validate"
	@if $(VENV)/bin/npm ci --prefix tests/html --ignore-scripts --loglevel error >/dev/null; \
	 then touch $@; else test -z "$$CI"; fi
