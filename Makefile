# Tasks of this repository; `make help` lists them. A fresh machine needs git, make and Python 3.11 to 3.13: tools/uv
# installs uv if it is missing, and the lock file pins everything else.

SHELL := /bin/bash
.DEFAULT_GOAL := help

RUN := ./tools/uv run --no-sync

# Three processes of tests share one broker and one engine.
PYTEST := $(RUN) pytest -n 3 --dist worksteal --max-worker-restart 0

# Tests start hundreds of processes: keep compiled Python files even if the environment disables them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

# barograph-native is built where Rust is installed, and again when its files change; `make NATIVE= …` leaves it out.
NATIVE := $(if $(shell cargo --version 2>/dev/null),--extra native)

.PHONY: sync
sync: ## Install the packages locked in uv.lock into .venv, and barograph-native if Rust is installed
	@$(if $(NATIVE),true,echo 'Without Rust (cargo) barograph-native is not built: JSON is read in Python, with the same results.')
	@./tools/uv sync --locked --quiet $(NATIVE)

.PHONY: native
native: ## Build barograph-native (needs Rust 1.85) and install it into .venv, and run the tests of its parts
	cd native && cargo test --locked --quiet
	./tools/uv sync --locked --quiet --extra native

.PHONY: demo
demo: sync ## Replay real flights and show what changed in them, until Ctrl-C; EXIT=1 exits when it is done, SHADOW=1: a candidate
	$(RUN) barograph demo $(if $(SHADOW),--shadow) $(if $(EXIT),--exit)

.PHONY: demo-llm
demo-llm: sync-llm ## Run a support bot on a small real language model, and show what is wrong with its prompt; EXIT=1 as for demo, QUALITY=1: a bot that answers from documents, and how often it is wrong
	$(RUN) barograph demo --llm $(if $(QUALITY),--quality) $(if $(EXIT),--exit)

.PHONY: test
test: sync ## Run unit, property, contract, golden and alert tests, and one test of each promise on the real Kafka and ClickHouse; ARGS="tests/unit -k psi" selects
	$(PYTEST) -m "not integration and not long and not llm" $(ARGS)
	@echo 'Left out: `make test-integration`, `make test-long` (every point of failure, simulations, browsers, real limits) and `make test-llm` (a real language model). `make test-all` runs everything.'

.PHONY: test-integration
test-integration: sync ## Run all other tests on the real Kafka and the real ClickHouse engine; ARGS as for test
	$(PYTEST) -m "integration and not long and not llm" $(ARGS)

.PHONY: test-long
test-long: sync ## Run the tests that take long: every point of failure, simulations, browsers, real limits; SHARD=2/5 runs a part, ARGS as for test
	$(PYTEST) -m "long and not llm" $(if $(SHARD),--shard $(SHARD)) $(ARGS)

.PHONY: test-all
test-all: test test-integration test-long test-llm ## Run all tests, the short fault plan and both demos of flights
	$(MAKE) faults SHORT=1
	$(MAKE) demo EXIT=1
	$(MAKE) demo SHADOW=1 EXIT=1

.PHONY: sync-llm
sync-llm: ## As sync, with a small language model and its client (150 MB)
	@./tools/uv sync --locked --quiet $(NATIVE) --group llm

.PHONY: test-llm
test-llm: sync-llm ## Run the tests that call a real language model on this machine; ARGS as for test
	$(RUN) pytest -m llm $(ARGS)

.PHONY: test-fast
test-fast: sync ## Run the tests that need neither Kafka nor ClickHouse; ARGS as for test
	$(RUN) pytest -n 2 --dist worksteal -m "not long" tests/unit tests/contract tests/golden $(ARGS)

.PHONY: test-slow
test-slow: sync ## Run unit and property tests on a busy machine: four busy loops compete with them for the processors
	@for i in 1 2 3 4; do nice -n 10 $(RUN) python -c 'while True: pass' & loops="$$loops $$!"; done; \
	trap 'kill $$loops' EXIT; nice -n 10 $(RUN) pytest -n 2 tests/unit tests/property $(ARGS)

.PHONY: fuzz
fuzz: ## Feed every decoder twenty million libFuzzer inputs; ARGS="--runs 100000 --target baselines" selects
	@./tools/uv sync --locked --quiet $(NATIVE) --group fuzz
	$(RUN) python -m tests.fuzz $(ARGS)

.PHONY: fuzz-native
fuzz-native: ## Feed the native decoder a hundred million mutated events; EXECUTIONS=1000000
	cd native && EXECUTIONS=$(or $(EXECUTIONS),100000000) cargo test --locked --release fuzz -- --nocapture

.PHONY: faults
faults: sync ## Inject faults by a seeded plan and compare all output with an oracle; SHORT=1, SEED=7, ARGS="--only live"
	$(RUN) python -m tests.faults $(if $(SHORT),--short) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: lint
lint: sync ## Check style, format, language, and what no linter knows: imports, unsafe code, links, supply chain, layout
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) python tools/check_language.py
	$(RUN) python -m tools.repository

.PHONY: format
format: sync ## Fix style and format automatically
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: types
types: sync ## Check the types of source and tests
	$(RUN) mypy
	$(RUN) mypy tests

.PHONY: bench
bench: sync ## Measure speed and memory and update docs/performance.md; PROFILE=short: four minutes, prints only
	$(RUN) python -m benchmarks --profile $(or $(PROFILE),full) $(ARGS)

.PHONY: scoreboard
scoreboard: sync ## Plant faults in streams of eight data sets, and write recall and time to page to docs/scoreboard.md; ARGS="--data-set flights"
	$(RUN) python -m benchmarks.scoreboard $(ARGS)

.PHONY: generate
generate: sync ## Regenerate files: JSON Schemas, tables in docs, Grafana's dashboards and alerting files
	$(RUN) python -m barograph.schemas --write
	$(RUN) python -m tools.generate --write

.PHONY: check-generated
check-generated: sync ## Fail if a generated file differs from its source
	$(RUN) python -m barograph.schemas --check
	$(RUN) python -m tools.generate --check

.PHONY: docs
docs: ## Build the site of docs/ into dist/site, and fail if a link or an anchor of a page leads nowhere
	@./tools/uv sync --locked --quiet $(NATIVE) --group docs
	@find .cache -maxdepth 1 -type f -delete # what zensical keeps there; its --clean would delete all of .cache
	$(RUN) zensical build --strict

.PHONY: pictures
pictures: sync ## Capture the dashboards of a running demo for the docs (needs Chromium): URL='the address that it printed'
	$(RUN) python -m tools.pictures '$(URL)'

.PHONY: picture-report
picture-report: sync ## Capture a page of `barograph report` for the docs (needs Chromium): FILE=week.html
	$(RUN) python -m tools.pictures --report '$(FILE)'

.PHONY: screenshots
screenshots: sync ## Capture every page with planted incidents into .cache/screenshots, and the pictures of the runbooks; ONLY=fleet-30d
	$(RUN) python -m tools.pictures --incidents .cache/screenshots --only='$(ONLY)'

.PHONY: compose-validator
compose-validator: .cache/go/bin/cmd ## Build the validator of docker-compose.yml that a test runs (needs Go 1.24)

.cache/go/bin/cmd: tools/compose-validator/go.mod tools/compose-validator/go.sum
	cd tools/compose-validator && go build -mod=readonly -o $(CURDIR)/$@ github.com/compose-spec/compose-go/v2/cmd
	@touch $@

.PHONY: producers
producers: .cache/producers/producer.js ## Build the examples of producers in Go and TypeScript that a test runs (needs Go 1.24, Node.js 20)

.cache/producers/producer.js: $(wildcard examples/producers/*/*)
	mkdir -p .cache/producers
	cd examples/producers/go && go build -mod=readonly -o $(CURDIR)/.cache/producers/go-producer .
	cp examples/producers/typescript/* .cache/producers
	cd .cache/producers && npm ci --ignore-scripts --no-audit --no-fund
	cd .cache/producers && node node_modules/typescript/bin/tsc --strict --target es2022 --module commonjs --esModuleInterop producer.ts

.PHONY: grafana-data
grafana-data: .cache/grafana-data/node_modules/.package-lock.json ## Install Grafana's package that a test compares the preview with (needs Node.js 20)

.cache/grafana-data/node_modules/.package-lock.json: tests/grafana_data/package.json tests/grafana_data/package-lock.json
	mkdir -p .cache/grafana-data
	cp $^ .cache/grafana-data
	cd .cache/grafana-data && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: sbom
sbom: ## Write the CycloneDX list of all locked packages and jars to dist/barograph.cdx.json
	@./tools/uv sync --locked --quiet $(NATIVE)
	$(RUN) python tools/sbom.py dist/barograph.cdx.json

.PHONY: dist
dist: sync ## Build wheels and source distributions twice, compare them, and write the bill of materials: dist/
	rm -rf dist/packages dist/again
	for folder in packages again; do for package in barograph barograph-server $(if $(NATIVE),barograph-native); do \
		./tools/uv build --quiet --package $$package --out-dir dist/$$folder || exit; done; done
	diff -r dist/packages dist/again
	rm -r dist/again
	$(RUN) python tools/sbom.py dist/barograph.cdx.json

.PHONY: audit
audit: ## Ask the advisory database of the package index for known vulnerabilities of all locked packages
	./tools/uv run --locked --isolated --only-group audit python tools/audit.py
