# Each target makes its own environment in .venv and needs nothing but Python 3.11 or newer, pip and make.
PYTHON ?= python3
TORCH ?= torch==2.13.0
OUT ?= demo
# Test files that run at the same time, each in a process of its own.
JOBS ?= 2

VENV := .venv
RUN := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR)/BrainAnomaly:$(CURDIR)/BrainAnomalyTraining
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint wheel docs pages benchmark template pictures cmake-lists system-packages clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1: /'

demo: $(VENV)/ready  ## find a synthetic lesion in the template brain; results and pictures go to OUT (default: demo)
	$(RUN) -m BrainAnomalyLib demo --out "$(OUT)"

test: $(VENV)/ready-for-tests system-packages lint  ## check style and types, run all tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/ready-for-tests  ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m mypy

wheel: $(VENV)/ready-for-tests  ## build the wheel of engine, training library, models and template into dist/
	$(RUN) -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

docs: $(VENV)/ready-for-tests  ## build the site of docs/ into site/, strictly and without network
	$(RUN) -m mkdocs build --strict --site-dir site

pages: $(VENV)/ready-for-tests  ## bring the methods' pages and the house's picture up to date
	$(RUN) Utilities/make_family_pages.py
	$(RUN) Utilities/draw_house.py

benchmark: $(VENV)/ready-for-tests  ## the numbers of docs/benchmarks, one script after the other
	@set -e; for script in Testing/benchmarks/*.py; do echo "== $$script"; $(RUN) "$$script"; done

template: $(VENV)/ready-for-tests  ## rebuild the embedded template from its source
	$(RUN) Utilities/make_template.py

pictures: $(VENV)/ready-for-tests system-packages  ## draw the pictures of README and docs
	$(RUN) Testing/scene/make_pictures.py
	$(RUN) Testing/gui/make_pictures.py
	$(RUN) Utilities/make_icons.py

cmake-lists:  ## bring the file lists of the CMakeLists.txt files up to date
	$(PYTHON) Utilities/update_cmake_lists.py

system-packages:
	@bash Utilities/install_system_packages.sh

clean:  ## remove the environment, caches and the demo's results
	rm -rf $(VENV) demo dist site .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: $(VENV)/bin/python BrainAnomaly/Resources/requirements.txt
	$(RUN) -m pip install $(TORCH)
	$(RUN) -m pip install -r BrainAnomaly/Resources/requirements.txt
	@touch $@

$(VENV)/ready-for-training: $(VENV)/ready BrainAnomalyTraining/Resources/requirements.txt
	$(RUN) -m pip install -r BrainAnomalyTraining/Resources/requirements.txt
	@touch $@

$(VENV)/ready-for-tests: $(VENV)/ready-for-training requirements-test.txt
	$(RUN) -m pip install -r requirements-test.txt
	@touch $@
