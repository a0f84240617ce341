# From nothing but python3, pip and make to a demo, the tests and the documentation, all inside .venv.
# Each install stage leaves a stamp, .venv/.done-*, only after it succeeded: an interrupted install continues where it was.

PYTHON    ?= python3
PIP_FLAGS ?=
ARGS      ?=
JOBS      ?= 2

DEMO_OUT   ?= out/demo
DEMO_FLOWS ?= auto,mmd,mmd-noise,kale,mono

VENV := .venv
BIN  := $(VENV)/bin
RUN  := $(BIN)/python -m
PIP  := $(RUN) pip install $(PIP_FLAGS) -c constraints.txt
PINS := pyproject.toml constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)

export MPLBACKEND ?= Agg
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# a user-wide `pip --user` default fails inside a venv
export PIP_USER := 0
# kept: each of the many processes of the tests would compile the package anew
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo test quick coverage test-slow docs format lint types benchmark record check clean distclean

help: ## print this help
	@echo 'make TARGET [VARIABLE=value ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  PYTHON=python3.12                     the interpreter that .venv is made from (3.11 or newer)'
	@echo '  PIP_FLAGS="--extra-index-url URL"     further flags for pip install, for example the index of the CPU builds of'
	@echo '                                        torch: on Linux, the default index has a CUDA build of several GB'
	@echo '  JOBS=2                                processes that the tests run in'
	@echo '  ARGS="..."                            further arguments of pytest (test, quick, coverage, test-slow) or of the benchmarks'

## ------------------------------------------------------------------ what to run

install: $(VENV)/.done-base ## the package and what it needs, into .venv

# The two comparisons run side by side, one a core; the second one's words come at the end.
demo: $(VENV)/.done-base ## compare the flows on two targets; pictures in out/demo
	@mkdir -p $(DEMO_OUT); echo '==> five flows on the three rings, and on the handwritten digits in their first two principal components'
	@$(BIN)/particleflow compare --target digits --flows $(DEMO_FLOWS) --out $(DEMO_OUT)/digits >$(DEMO_OUT)/digits.txt 2>&1 & digits=$$!; \
	trap 'kill $$digits; exit 130' INT TERM; \
	$(BIN)/particleflow compare --target rings --flows $(DEMO_FLOWS) --out $(DEMO_OUT)/rings; rings=$$?; \
	wait $$digits; digits=$$?; echo; cat $(DEMO_OUT)/digits.txt; [ $$rings -eq 0 ] && [ $$digits -eq 0 ]
	@echo; echo 'Done. Look at the pages, films and pictures:'; find $(DEMO_OUT) -name '*.gif' -o -name '*.png' -o -name '*.html' | sort | sed 's/^/  /'

# Each process gets one half of the files, and takes over from the other at the end: what a file computes once is computed once.
# A process has a core: threads of its own, and of the programs that it starts, would take the other's.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(RUN) pytest -n $(JOBS) --dist worksteal

test: $(VENV)/.done-test ## the tests
	$(PYTEST) $(ARGS)

quick: $(VENV)/.done-test ## a cross-section of the tests, in a minute
	$(PYTEST) -m quick $(ARGS)

coverage: $(VENV)/.done-test ## the tests, with a summary of what they cover: a quarter slower
	$(PYTEST) --cov $(ARGS)

test-slow: $(VENV)/.done-test ## the tests that take long
	$(PYTEST) -m slow $(ARGS)

docs: $(VENV)/.done-docs ## the documentation; warnings are errors
	$(RUN) sphinx -b html -W --keep-going docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

format: $(VENV)/.done-dev ## lay every file out as `make lint` asks
	$(RUN) ruff format .

lint: $(VENV)/.done-dev ## ruff: faults, and the layout of every file
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: $(VENV)/.done-dev ## mypy
	$(RUN) mypy

benchmark: $(VENV)/.done-base ## the benchmarks
	$(RUN) benchmarks $(ARGS)

# Finished runs lie in out/suite: the same command goes on after an interrupt.
record: $(VENV)/.done-base ## the whole suite, about 35 minutes; its report goes to docs/benchmarks
	$(RUN) benchmarks speed --rows lines --out out/suite
	$(RUN) benchmarks --full --out out/suite $(ARGS)
	cd out/suite && cp -r report.html results.csv results.json truth.csv published.csv players ../../docs/benchmarks/

check: lint types docs test ## everything that a change has to pass

clean: ## remove what was built, not .venv
	rm -rf out build dist docs/_build docs/api/generated benchmarks/results .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## ... and .venv
	rm -rf $(VENV)

## ------------------------------------------------------------------ the stages of the install

# A killed pip can leave a package without the last file it writes, RECORD. Forget such packages, so that pip installs them again.
define repair
@for info in $(VENV)/lib/python*/site-packages/*.dist-info; do [ -e "$$info/RECORD" ] || rm -rf "$$info"; done; \
rm -rf $(VENV)/lib/python*/site-packages/~*
endef

# Written by venv as its last act; it names its own place, so it also tells a .venv that was moved or copied here.
sound := grep -qsF '$(CURDIR)/$(VENV)' $(BIN)/activate && $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

# Stamps of a .venv that no longer works (moved, or its python gone) do not count.
ifneq ($(wildcard $(VENV)/.done-venv),)
$(shell { $(sound); } || rm -f $(VENV)/.done-*)
endif

$(VENV)/.done-venv:
	@if { $(sound); }; then echo '==> .venv is there: using it'; touch $@; exit; fi; \
	say() { printf '%s\n' "$$@" >&2; }; \
	again='make $(or $(MAKECMDGOALS),install)'; remedy='install Python 3.11 or newer, then run:'" $$again PYTHON=/path/to/python3"; \
	for other in python3.13 python3.12 python3.11 python3.14; do \
	    if $$other -c 'import ensurepip, venv' 2>/dev/null; then remedy="$$again PYTHON=$$other"; break; fi; \
	done; \
	found=$$($(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || { \
	    say '' 'particleflow needs Python 3.11 or newer.' "  found:   no '$(PYTHON)' that runs" "  remedy:  $$remedy" ''; exit 2; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    say '' 'particleflow needs Python 3.11 or newer.' "  found:   $(PYTHON) is Python $$found" "  remedy:  $$remedy" ''; exit 2; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    say '' 'particleflow needs a Python that can make virtual environments (the modules venv and ensurepip).' \
	        "  found:   $(PYTHON) is Python $$found, without them" \
	        "  remedy:  on Debian or Ubuntu: apt install python$${found%.*}-venv, then: $$again" \
	        "           or with another Python: $$remedy" ''; exit 2; }; \
	if [ -e $(VENV) ]; then echo '==> .venv is incomplete, or was made in another place: making it anew'; fi; \
	echo "==> .venv: a virtual environment of Python $$found (30 MB)"; \
	$(PYTHON) -m venv --clear $(VENV) && touch $@

$(VENV)/.done-torch: $(VENV)/.done-venv constraints.txt
	@echo '==> $(TORCH), the one large download (CPU build: 0.2 GB, 0.7 GB on disk; CUDA build on Linux: several GB)'
	$(repair)
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/.done-base: $(VENV)/.done-torch $(PINS)
	@echo '==> particleflow and its other dependencies (0.1 GB, 0.5 GB on disk)'
	$(repair)
	$(PIP) -e .
	@touch $@

$(VENV)/.done-test: $(VENV)/.done-base $(PINS)
	@echo '==> for the tests: pytest, coverage, beartype, hypothesis, pykeops, imageio-ffmpeg, pandas, a kernel of Jupyter (165 MB)'
	$(repair)
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.done-docs: $(VENV)/.done-base $(PINS)
	@echo '==> for the documentation: sphinx and its theme (15 MB)'
	$(repair)
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.done-dev: $(VENV)/.done-base $(PINS)
	@echo '==> for lint and types: ruff, mypy (25 MB)'
	$(repair)
	$(PIP) -e '.[dev]'
	@touch $@
