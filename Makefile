# Everything works on a fresh machine with Python 3.11 or newer: each target makes the environment that it needs.
#
#   make demo    the demo at http://127.0.0.1:8000 (ARGS="--bind :8080" passes options)
#   make test    the tests (ARGS="-k settings" passes options to pytest)
#   make lint    ruff and mypy
#   make sanitize  the tests of the compiled codec with AddressSanitizer and UBSan, which need gcc
#   make bench   the comparison with other servers, in an environment of its own; bench-hub with other green threads
#   make docs    docs/settings.md and docs/drivers.md from the code
#   make stdlib-tests  docs/stdlib-tests.md: the standard library's own tests under patching, an hour for each Python
#   make autobahn      docs/autobahn.md: the whole Autobahn suite, most of an hour
#   make clean   removes what the others made
#
# PYTHON=python3.13 chooses the interpreter, VENV=DIR where its environment is.

VENV ?= .venv
BENCH_VENV ?= .venv-bench
# Which interpreters `stdlib-tests` is for; they must have the package `test`, which Debian's lack.
PYTHONS ?= $(or $(wildcard $(HOME)/.pyenv/versions/3.1[1-3]*/bin/python),$(abspath $(BIN)/python))
ARGS ?=
BIN = $(VENV)/bin

.PHONY: demo test lint sanitize format bench bench-hub docs stdlib-tests autobahn clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/python -m greenserve demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

sanitize: $(VENV)/.test
	$(BIN)/python tools/sanitize.py $(ARGS)

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# The programs install what they compare, greenserve too, as a user's pip would.
bench: $(BENCH_VENV)/bin/python
	$(BENCH_VENV)/bin/python benchmarks/run.py --venv $(BENCH_VENV) $(ARGS)

bench-hub: $(BENCH_VENV)/bin/python
	$(BENCH_VENV)/bin/python benchmarks/hub.py --venv $(BENCH_VENV) $(ARGS)

docs: $(VENV)/.demo
	$(BIN)/python tools/settings_reference.py > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md
	$(BIN)/python tools/drivers_reference.py > docs/drivers.md.new
	mv docs/drivers.md.new docs/drivers.md

stdlib-tests: $(VENV)/.demo
	set -e; chosen=; \
	for python in $(PYTHONS); do \
		venv=.venv-stdlib-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		if [ ! -e $$venv/.made ]; then \
			$$python -m venv $$venv; \
			$$venv/bin/python -m pip install --quiet --disable-pip-version-check --editable . gevent; \
			touch $$venv/.made; \
		fi; \
		chosen="$$chosen --python $$venv/bin/python"; \
	done; \
	$(BIN)/python tools/stdlib_tests.py $$chosen --table docs/stdlib-tests.md $(ARGS)

autobahn: $(VENV)/.test
	wstest=$$(sh tests/e2e/autobahn/install.sh "$$PWD/.autobahn" | tail -n 1) && \
	$(BIN)/python tools/autobahn.py "$$wstest" > docs/autobahn.md.new
	mv docs/autobahn.md.new docs/autobahn.md

clean:
	rm -rf .venv .venv-* .stdlib-tests .autobahn .node build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	rm -f greenserve/_codec.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that an environment has what its target needs; it is made again when one of these files changes. Packages
# are installed editable, so that a change of Python code needs no installation; the codec is compiled by one, in place.
INSTALLED = pyproject.toml hatch_build.py greenserve/_codec.c

$(VENV)/.demo: $(INSTALLED) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(INSTALLED) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.demo

$(VENV)/.dev: $(INSTALLED) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.demo $(VENV)/.test

$(BIN)/python:
	$(make-venv)

$(BENCH_VENV)/bin/python:
	$(make-venv)

# The first candidate that runs, is new enough and can make an environment: a name on PATH may be a shim without an
# interpreter behind it, and Debian's python3 lacks ensurepip until python3-venv is installed.
define make-venv
@venv='$(patsubst %/bin/python,%,$@)'; \
for python in $(PYTHON) $(if $(PYTHON),,python3 python3.13 python3.12 python3.11 $(HOME)/.pyenv/versions/3.1[1-9]*/bin/python); do \
	if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		echo "$$python -m venv $$venv"; \
		exec "$$python" -m venv "$$venv"; \
	fi; \
done; \
echo "No Python 3.11 or newer with the venv module was found: install one (Debian: apt install python3-venv)" >&2; \
echo "or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
exit 1
endef
