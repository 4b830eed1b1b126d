# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := analysis collect dataset models rl
TREE := build/tree/strathack

.PHONY: demo test slow lint bench clean

demo: $(VENV)/.run ## collect eight games on all cores and draw what the bot pursued
	$(BIN)/strathack collect demo/data --seeds 1,2,4,5,22,24,28,30
	$(BIN)/strathack analysis strategies demo/data --out demo/strategies.png

test: $(VENV)/.test
	$(BIN)/pytest -m "not slow"

slow: $(VENV)/.test ## the tests that take minutes; some use faketime, from Debian's package of that name
	$(BIN)/pytest -m slow

bench: $(VENV)/.test ## the figures of benchmarks/RESULTS.md
	$(BIN)/python benchmarks/collect_overhead.py
	$(BIN)/python benchmarks/collect_scaling.py
	$(BIN)/python benchmarks/file_size.py

lint: $(VENV)/.lint $(TREE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(dir $(TREE)) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p strathack

# mypy follows no import hooks, so it gets the package laid out as it is installed.
.PHONY: $(TREE)
$(TREE):
	rm -rf $@ && mkdir -p $@
	ln -s $(CURDIR)/strathack/* $(addprefix $(CURDIR)/,$(PACKAGES)) $@/

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp a set of extras, so that the demo does not install the test tools.
$(VENV)/.run: EXTRAS :=
$(VENV)/.test: EXTRAS := [test,train,export]
$(VENV)/.lint: EXTRAS := [lint]
$(VENV)/.run $(VENV)/.test $(VENV)/.lint: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".$(EXTRAS)"
	touch $@

clean:
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
