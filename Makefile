# `make` installs what is pinned and runs the whole pipeline; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HARDROCK := $(BIN)/hardrock

export HARDROCK_CONFIG := $(CONFIG)
export HARDROCK_WORKSPACE := $(WORKSPACE)
export HARDROCK_DEVICE := $(or $(DEVICE),auto)
export HARDROCK_LIMIT := $(LIMIT)
export HARDROCK_ENGINE := $(ENGINE)

STAGES := ingest embed index mine teach judge deepen estimate sample export train evaluate guard report

.DEFAULT_GOAL := all
.PHONY: all help setup $(STAGES) round compare status plan verify test test-long test-faults fuzz test-exports test-backends lint bench bench-mining bench-train bench-ingest bench-embed bench-scale bench-storage sql clean test-ray

all: setup ## everything: from raw text to a trained, measured retriever
	@$(HARDROCK) run

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  CONFIG=configs/static.toml  WORKSPACE=folder  DEVICE=auto|cpu|cuda  LIMIT=queries a split  ENGINE=local|processes|ray"

setup: $(VENV)/installed ## a virtual environment with the pinned packages

$(VENV)/installed: requirements.lock requirements-nodeps.lock pyproject.toml
	@test ! -e $(VENV)/installing || rm -rf $(VENV)  # an interrupted installation leaves packages half there
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $(VENV)/installing
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm $(VENV)/installing && touch $@

ingest: setup ## read and validate the data set
embed: setup ## corpus and queries → vectors
index: setup ## vectors → an index and its measured recall
mine: setup ## candidates for every training query
teach: setup ## scores of candidates by teachers, where any are given
judge: setup ## a verdict for every candidate
deepen: setup ## a deeper search where too little was kept
estimate: setup ## how many false negatives pass, with an interval
sample: setup ## negatives among what was kept
export: setup ## files that other trainers load
train: setup ## triplets → a trained retriever
evaluate: setup ## retrieval on held-out queries, before and after
guard: setup ## what training cost on other collections, where any are given
report: setup ## one HTML page and metrics.json
$(STAGES):
	@$(HARDROCK) $@

round: setup ## mine again with the trained model, train once more
	@$(HARDROCK) round

compare: setup ## what mining pays, over ten ways to come by negatives; COMPARE="--seeds 5 --steps 200"
	@$(HARDROCK) compare $(COMPARE)

status: setup ## which stages are fresh or stale, and why
	@$(HARDROCK) status

plan: setup ## what a run would do
	@$(HARDROCK) plan

verify: setup ## check every file of the workspace against its sha256
	@$(HARDROCK) verify

sql: setup ## a DuckDB prompt over the workspace
	@$(HARDROCK) sql

test: setup ## all tests, in JOBS=2 processes
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile

test-long: setup ## further kinds of trainings and runs that are killed or shared, some minutes
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile -m long

test-faults: setup ## thousands of kills, damages and refusals of the disk; SEED=2 PART=1/8 FAULTS=tests/faults/second.toml
	@FAULTS_SEED=$(SEED) FAULTS_PART=$(PART) FAULTS_CONFIGURATION=$(FAULTS) OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m faults -o faulthandler_timeout=0 -s tests/faults

test-ray: setup ## a two-node Ray on this machine, killed at many points; needs the extra `ray`
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m ray -o faulthandler_timeout=0 -s tests/ray

fuzz: setup ## changed inputs for every reader of a data set; SECONDS=60 SEED=2 READERS="beir trec"
	@FUZZ_SECONDS=$(SECONDS) FUZZ_SEED=$(SEED) FUZZ_READERS="$(READERS)" $(BIN)/python -m pytest -m fuzz -o faulthandler_timeout=0 -s tests/fuzz

test-exports: setup ## exports through PyLate, ms-swift, NeMo Automodel and open_clip, each in an environment of its own
	@$(BIN)/python -m tests.exports $(EXPORTS)

test-backends: setup ## models through OpenVINO, in an environment of its own
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.exports.backends

lint: setup ## style, types and the import floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## mining against its peers, small, about a minute
	@$(BIN)/python -m benchmarks.mining --quick $(BENCH)

bench-mining: setup ## mining against its peers, side by side; BENCH="--queries 20000 --documents 100000"
	@$(BIN)/python -m benchmarks.mining $(BENCH)

bench-ingest: setup ## a corpus of ROWS rows goes in under a memory limit; ROWS=1000000
	@$(BIN)/python -m benchmarks.ingest --rows $(or $(ROWS),1000000)

bench-scale: setup ## a corpus of ROWS rows from raw text to exports under a memory limit; ROWS=2000000 BENCH="--limit 6"
	@$(BIN)/python -m benchmarks.scale --rows $(or $(ROWS),2000000) $(BENCH)

bench-embed: setup ## embedding against sentence-transformers, side by side; BENCH="--device cuda --file texts.txt"
	@OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.embed $(BENCH)

bench-storage: setup ## what float16, int8 and fewer dimensions cost, over whole workspaces, a quarter of an hour
	@OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.storage $(BENCH)

bench-train: setup ## training against sentence-transformers' trainer, five minutes; BENCH="--steps 12 --repeats 3"
	@$(BIN)/python -m benchmarks.training $(BENCH)

clean: ## remove the workspaces; the virtual environment stays
	rm -rf data/workspaces
