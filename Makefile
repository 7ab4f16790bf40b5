# On a fresh machine two commands do all the set-up: make run, make test.
PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready

.PHONY: run test quick check bench bench-scale soak format clean

run: $(READY)  ## the main job: MVP and what matters beside it on the embedded default, then a report
	$(BIN)/cl-prompts run digits

test: $(READY)  ## the whole truth, under 10 minutes on 2 cores
	$(BIN)/python -m pytest -n 2

quick: $(READY)  ## what is not slow, under a minute on 2 cores: the daily loop
	$(BIN)/python -m pytest -n 2 -m "not slow"

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## cost of each method in frozen forwards; ARGS="--against REVISION" and the like
	$(BIN)/python benchmarks/cost.py $(ARGS)

bench-scale: $(READY)  ## growth of time and memory with every size: docs/performance.md
	$(BIN)/python benchmarks/scale.py $(ARGS)

soak: $(READY)  ## kills, full disks, flipped bits and fuzzed settings, for hours: docs/reliability.md
	$(BIN)/python -W ignore -m tests.experiments.soak

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
