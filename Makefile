# make run and make test set everything up on a fresh machine.
PYTHON ?= python3
BIN = .venv/bin
# What a run needs, and what tests and checks need.
READY = .venv/.ready
DEV = .venv/.dev
PLAYWRIGHT = .venv/.playwright

.PHONY: run test page quick check settings bench bench-scale format docs oldest newest sdist wheel-check clean

run: $(READY)  ## five strategies on the embedded digits, then a report
	$(BIN)/cl-prompts run digits

# Keep compiled tests: rewriting their assertions takes seconds in each process.
unexport PYTHONDONTWRITEBYTECODE

# Tests that share runs stay in one process: tests/conftest.py groups them.
SHARED_OUT = -n 2 --dist loadgroup

BROWSER := $(shell command -v chromium || command -v google-chrome)

test: $(DEV) $(if $(BROWSER),$(PLAYWRIGHT))  ## all tests, 3 to 4 minutes on 2 cores
	@$(if $(BROWSER),:,echo "Chromium is missing: the page of cl-prompts serve is not tested")
	$(BIN)/python -m pytest $(SHARED_OUT)

page: $(PLAYWRIGHT)  ## the page of cl-prompts serve in Chromium, which must be installed
	test -n "$(BROWSER)"
	$(BIN)/python -m pytest tests/serving/test_page.py

quick: $(DEV)  ## fast tests, a minute on 2 cores
	$(BIN)/python -m pytest $(SHARED_OUT) -m "not slow"

check: $(DEV)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

settings: $(DEV)  ## the list of all names and settings, cl_prompts/settings.json
	$(BIN)/python -W ignore tools/settings_file.py

DEVICE ?= cpu
bench: $(DEV)  ## cost of each method in frozen forwards; DEVICE=cuda, ARGS="--against REVISION"
	$(BIN)/python benchmarks/cost.py --device $(DEVICE) $(ARGS)

bench-scale: $(DEV)  ## growth of time and memory with every size: docs/records/performance.md
	$(BIN)/python benchmarks/scale.py $(ARGS)

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Separate environments, several GiB each. TESTS="-m 'not slow' tests/backbones" for a part.
TESTS ?= tests
oldest: RESOLUTION = lowest-direct
newest: RESOLUTION = highest
oldest newest:  ## tests on the oldest, or the newest, dependencies that pyproject.toml allows
	$(PYTHON) -m venv .venv-$@
	.venv-$@/bin/python -m pip install uv
	.venv-$@/bin/uv pip compile pyproject.toml --extra test --resolution $(RESOLUTION) \
		--python .venv-$@/bin/python --no-annotate --output-file .venv-$@/pins.txt
	.venv-$@/bin/uv pip install --python .venv-$@/bin/python -r .venv-$@/pins.txt
	.venv-$@/bin/uv pip install --python .venv-$@/bin/python --no-deps -e .
	.venv-$@/bin/python -m pytest $(SHARED_OUT) $(TESTS)

docs: .venv-docs/.ready  ## the site of all pages and docstrings, in site/; a warning fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict --quiet

# mkdocs reads docstrings without importing the package, so it needs no torch.
.venv-docs/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install "mkdocs>=1.6,<2" "mkdocs-material>=9.5" "mkdocstrings[python]>=0.26"
	touch $@

sdist: $(DEV)  ## the archive of sources, from which the tests run, and the wheel made of it, in dist/
	$(BIN)/python -m pip install build
	$(BIN)/python -m build

# Clean environments, several GiB each, that see nothing of this folder.
PYTHONS ?= 3.11 3.12 3.13
WHEELS = $(CURDIR)/build/wheels
wheel-check:  ## the wheel, installed and run in a clean environment of each available Python
	rm -rf $(WHEELS)
	$(PYTHON) -m pip wheel --no-deps --wheel-dir $(WHEELS) .
	@set -e; tried=0; \
	for version in $(PYTHONS); do \
		if ! python$$version -c "" 2> /dev/null; then \
			echo "python$$version is missing: skipped"; \
			continue; \
		fi; \
		clean=$(WHEELS)/venv-$$version; \
		python$$version -m venv $$clean; \
		$$clean/bin/python -m pip install --quiet $(WHEELS)/cl_prompts-*.whl; \
		cd $(WHEELS); \
		$$clean/bin/cl-prompts run digits strategy=ncm seed=1 --out runs-$$version > said 2>&1 \
			|| { cat said; exit 1; }; \
		cat said; \
		if grep -q nanobind said; then exit 1; fi; \
		rm -rf $$clean; \
		echo "python$$version: the wheel runs"; \
		tried=$$((tried + 1)); \
	done; \
	test $$tried -gt 0

# uv links cached files, while pip copies and compiles them: 5 seconds instead of 90. It ignores pip's
# settings, so they are passed on. Without uv, pip installs. The outer pip installs into the new
# environment, in half the time of unpacking another pip, which is the fallback.
PIP_SETTINGS = $(BIN)/python -m pip config list | sed -nE \
	-e "s/^.*\.find-links='(.*)'$$/UV_FIND_LINKS=\1/p" \
	-e "s/^.*\.constraint='(.*)'$$/UV_CONSTRAINT=\1/p" \
	-e "s/^.*\.index-url='(.*)'$$/UV_DEFAULT_INDEX=\1/p" \
	-e "s/^.*\.extra-index-url='(.*)'$$/UV_INDEX=\1/p"
INSTALL = env $$($(PIP_SETTINGS)) $(BIN)/python -m uv pip install --python $(BIN)/python -e $(1) \
	|| $(BIN)/python -m pip install -e $(1)

# Python compiles modules at first import, on one core. While a run imports torch, a second core
# compiles the modules that are imported later.
LATE = torch/fx torch/ao torchvision timm avalanche altair
COMPILE = printf '%s\n' $(LATE:%=.venv/lib/*/site-packages/%) cl_prompts \
	| $(BIN)/python -m compileall -q -x /tests/ -i - > /dev/null 2>&1 &

$(READY): pyproject.toml setup.cfg
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --no-compile pip uv 2>/dev/null \
		|| { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; } || true
	$(call INSTALL,.)
	$(COMPILE)
	touch $@

$(DEV): $(READY)
	$(call INSTALL,".[dev]")
	touch $@

$(PLAYWRIGHT): $(DEV)
	$(call INSTALL,".[browser]")
	touch $@

clean:
	rm -rf .venv .venv-* site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
