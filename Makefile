# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := analysis collect dataset models rl text
TREE := build/tree/strathack
# Processes that tests run in.
JOBS ?= 2

.PHONY: demo data test slow lint bench clean help

demo: $(VENV)/.run ## collect eight games on all cores, draw what the bot pursued, clone it, fine-tune, evaluate, report, compare
	$(BIN)/strathack collect demo/data --seeds 1,2,4,5,22,24,28,30
	$(BIN)/strathack analysis strategies demo/data --out demo/strategies.png
	$(BIN)/strathack dataset compact demo/data demo/keys
	$(BIN)/strathack dataset verify demo/keys --replay
	$(BIN)/strathack dataset split demo/data --train 0.75 --validation 0.25 --test 0 --quiet
	rm -rf demo/run
	$(BIN)/strathack train demo/data --out demo/run --minutes 2 --lanes 5 --unroll 96 --validate-every 250
	rm -rf demo/finetuned
	$(BIN)/strathack finetune demo/run --out demo/finetuned --imitation.demos demo/data --imitation.demos-lanes 5 --minutes 1 --validate-every 40
	rm -rf demo/evaluation demo/evaluated
	$(BIN)/strathack evaluate demo/finetuned --out demo/evaluation --games 8 --max-steps 4000 --save-games demo/evaluated
	$(BIN)/strathack report demo/evaluation --out demo/report.html
	rm -rf demo/pretrained
	$(BIN)/strathack evaluate symbols-events-1k --out demo/pretrained --games 8 --max-steps 4000
	$(BIN)/strathack compare demo/evaluation demo/pretrained
	@printf '%s\n' '' 'Made in demo/:' \
	  '  data, keys      eight games of AutoAscend, with their screens and as keys alone' \
	  '  strategies.png  what it pursued in them, step by step' \
	  '  run, finetuned  a policy cloned from them, and the same fine-tuned' \
	  '  report.html     eight games of the fine-tuned policy: open it in a browser' \
	  '  pretrained      the same eight seeds, played by the policy that comes with the repository' \
	  'To try next:' \
	  '  $(BIN)/strathack watch demo/data --game 5' \
	  '  $(BIN)/strathack report demo/data --out demo/demonstrations.html' \
	  '  $(BIN)/strathack compare demo/evaluation demo/data' \
	  '  $(BIN)/strathack collect games --seeds 0:1000'

data: $(VENV)/.run ## the thousand games with all that policies see, in data/full
	$(BIN)/strathack dataset expand data/autoascend-1k data/full \
		--observations blstats,tty_chars,tty_colors,tty_cursor,specials,inv_letters,inv_strs

test: $(VENV)/.test ## the tests, but for those that take minutes
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m "not slow" --durations 15 --nbmake tests notebooks
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || echo 'No Chromium, so the tests of the report in a browser were skipped: apt-get install chromium'

slow: $(VENV)/.test ## the tests that take minutes; some use faketime, from Debian's package of that name
	$(BIN)/pytest -m slow

bench: $(VENV)/.test ## most figures of benchmarks/RESULTS.md that take no training
	$(BIN)/python benchmarks/bot_speed.py
	$(BIN)/python benchmarks/bot_speed.py --parts --rounds 1 --seeds 2003,2082
	$(BIN)/python benchmarks/collect_overhead.py
	$(BIN)/python benchmarks/collect_scaling.py
	$(BIN)/strathack collect bench/data --seeds 0:32
	$(BIN)/python benchmarks/file_size.py bench/data
	$(BIN)/python benchmarks/opening.py
	$(BIN)/python benchmarks/stream.py bench/data
	$(BIN)/python benchmarks/stream_memory.py bench/data
	$(BIN)/python benchmarks/stream_learner.py bench/data --lanes 64
	$(BIN)/python benchmarks/replay_speed.py bench/data
	$(BIN)/python benchmarks/clone_cpu.py bench/data
	$(BIN)/python benchmarks/gpu.py data/autoascend-1k
	$(BIN)/python benchmarks/acting.py
	$(BIN)/python benchmarks/evaluating.py
	$(BIN)/python benchmarks/report_size.py bench/data

lint: $(VENV)/.lint $(TREE) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(dir $(TREE)) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p strathack

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

# mypy follows no import hooks, so it gets the package laid out as it is installed.
.PHONY: $(TREE)
$(TREE):
	rm -rf $@ && mkdir -p $@
	ln -s $(CURDIR)/strathack/* $(addprefix $(CURDIR)/,$(PACKAGES)) $@/

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp a set of extras, so that the demo does not install the test tools.
$(VENV)/.run: EXTRAS := [train]
$(VENV)/.test: EXTRAS := [test,train,export,text,notebooks]
$(VENV)/.lint: EXTRAS := [lint]
$(VENV)/.run $(VENV)/.test $(VENV)/.lint: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".$(EXTRAS)"
	touch $@

clean: ## remove what was made, but for .venv, data and the runs
	rm -rf build dist demo bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
