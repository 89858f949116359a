# The main commands are `make site`, `make test` and, while you work, `make quick`. `make help` lists all.
#
#   make site PYTHON=python3.12                    use another interpreter for the virtual environment
#   make site ARGS="--base-url https://me.github.io/catalog"    pass flags to the build

PYTHON ?= python3
PORT ?= 8000
ARGS ?=

# Relative paths only, so that the project's folder may have spaces in its path.
VENV := .venv
PY := $(VENV)/bin/python
HTML := tests/html/node_modules
TOOLS := $(VENV)/tools
# Only files whose hashes are in locks/.
INSTALL_LOCKED := -m pip install --quiet --no-deps --require-hashes --requirement

# So that `make -j site check` checks the finished site.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help site quick test lint coverage snapshots docs check serve locks sbom audit clean distclean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

site: $(VENV)/.installed ## build the default catalog into site/
	@$(PY) build.py fetch
	@$(PY) build.py build $(ARGS)

# Each worker loads a model and a browser, so four are enough.
PYTEST := $(PY) -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

quick: lint ## lint, types, and the tests that need neither a browser nor much time
	@$(PYTEST) -m "not browser and not slow"

# pytest comes last, so that its summary is the last line.
test: lint $(HTML)/.installed ## install the test requirements, then lint, check types and run every test
	@$(PYTEST)

coverage: $(VENV)/.test-installed ## measure branch coverage of all tests except those in a browser
	@mkdir -p build
	@$(PYTEST) -m "not browser" --cov --cov-report term

snapshots: $(VENV)/.test-installed ## update tests/snapshots/ after an intended change of the pages
	@$(PY) -m pytest tests/test_snapshots.py --update-snapshots

lint: $(VENV)/.test-installed ## ruff and mypy only
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

docs: $(VENV)/.test-installed ## build the documentation into build/docs
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

check: $(VENV)/.installed ## check every link and page of site/
	@$(PY) build.py check site

serve: $(VENV)/.installed ## preview site/ at http://127.0.0.1 (PORT=8000)
	@$(PY) build.py serve site --port $(PORT)

locks: ## update locks/ after a change of constraints.txt, pyproject.toml or .github/tools.txt
	@$(PYTHON) -m venv build/uv
	@build/uv/bin/python -m pip install --quiet uv
	@build/uv/bin/python .github/lock.py

sbom: $(TOOLS)/.installed ## list what the program is built from in build/sbom.json (CycloneDX)
	@mkdir -p build
	@{ cat locks/site.txt; grep '^torch==' constraints.txt; } | $(TOOLS)/bin/cyclonedx-py requirements - \
	 --pyproject pyproject.toml --mc-type library --output-reproducible --output-file build/sbom.json

audit: $(TOOLS)/.installed ## look up known vulnerabilities of all pinned packages
	@$(TOOLS)/bin/pip-audit --disable-pip --no-deps --requirement constraints.txt

clean: ## remove the built site and the tools' caches
	@find site -mindepth 1 -maxdepth 1 ! -name .gitignore -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build

distclean: clean ## clean, and also remove the virtual environment
	@rm -rf $(VENV) $(HTML)

$(PY):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# torch comes last and by its version alone, so that pip takes the build that suits the machine (see .github/lock.py).
$(VENV)/.installed: pyproject.toml constraints.txt locks/site.txt | $(PY)
	@echo "Installing the project (a few minutes the first time)"
	@$(PY) $(INSTALL_LOCKED) locks/site.txt
	@$(PY) -m pip install --quiet --constraint constraints.txt torch
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test-installed: locks/test.txt | $(VENV)/.installed
	@echo "Installing the test requirements"
	@$(PY) $(INSTALL_LOCKED) locks/test.txt
	@touch $@

$(TOOLS)/.installed: locks/tools.txt | $(PY)
	@$(PY) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python $(INSTALL_LOCKED) locks/tools.txt
	@touch $@

# npm is one of the test requirements. If its registry cannot be reached, tests of html-validate are skipped; CI fails.
$(HTML)/.installed: tests/html/package.json tests/html/package-lock.json | $(VENV)/.test-installed
	@echo "Installing html-validate"
	@if $(VENV)/bin/npm ci --prefix tests/html --ignore-scripts --loglevel error >/dev/null; \
	 then touch $@; else test -z "$$CI"; fi
