# All that a user of d2seg runs; `make help` lists it. The first call sets up .venv, later ones find
# it complete and start at once.

# What makes .venv: any Python 3.10 to 3.13. Once there, .venv's own, so that it is named only once.
PYTHON ?= $(or $(realpath .venv/bin/python),python3)
DEVICE = cpu
ARGS =
RUN := .venv/bin/python

ifeq ($(filter cpu cuda cuda:%,$(DEVICE)),)
$(error DEVICE is cpu, cuda or cuda:N, not "$(DEVICE)")
endif

.PHONY: help venv demo test lint format clean

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
	@echo "  PYTHON=python3.12 (makes .venv)  DEVICE=cpu|cuda (demo)  ARGS='-k matcher' (test)"

venv:  ## set up .venv with everything that the other targets need
	@$(PYTHON) tools/check_python.py
	@$(PYTHON) tools/setup_env.py

demo: venv  ## train a small Mask2Former on the embedded data set, score it and draw its results
	@$(RUN) tools/make_demo.py --device $(DEVICE)

# A process for each core, files kept whole for the models that their tests share.
test: venv  ## run the tests; ARGS go to pytest (-n 0: in one process)
	@$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: venv  ## check style and format
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: venv  ## apply style and format
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

clean:  ## remove caches and build products; .venv, data sets and output stay
	@rm -rf build dist projects/*.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
