# The commands of this project. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
# Where rustup puts cargo, when it has just been installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
TIME ?= 900
# Where cargo puts what it builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# What a run needs, and what the tests need besides.
RUN_PACKAGES := gcc libc6-dev iproute2 iptables libfaketime
TEST_PACKAGES := git python3-yaml tcpdump

.PHONY: help run test lint bench fuzz oracle nightly clean build packages test-packages toolchain

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-8s %s\n", $$1, $$2}'

run: build ## Build, then the tour: each danger of replication once, and what mends it
	$(TARGET)/release/schism campaign campaigns/tour.toml

test: packages test-packages toolchain ## Everything that CI runs
	@./scripts/all-tests

lint: toolchain ## Format, clippy and documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

bench: build ## Speed of the harness and of the checkers, with the limits that they must reach
	$(CARGO) bench --locked --package schism --bench driver
	$(CARGO) bench --locked --package schism-checkers --bench registers
	$(CARGO) bench --locked --package schism-checkers --bench limits
	$(CARGO) build --locked --release --package schism-targets --examples
	$(TARGET)/release/schism sim --quiet --target single-leader --seeds 20000 --jobs 1
	bench/disk
	bench/stream
	bench/effects
	bench/side-by-side
	$(CARGO) run --locked --release --package schism-targets --example throughput

# Without the search for leaks: a thread that is just ending looks like one.
fuzz: build ## Fuzz the readers, each for TIME=900 seconds (cargo-fuzz is installed when it is missing)
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	fuzz/seed fuzz/corpus
	cd fuzz && for target in jsonl edn jepsen_log; do \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(TIME) -rss_limit_mb=4000 -detect_leaks=0 || exit 1; done

oracle: toolchain ## Hold every property against its definition on CASES=100000 random histories each
	SCHISM_ORACLE_CASES=$(if $(filter command line,$(origin CASES)),$(CASES),100000) $(CARGO) test --release --locked --package schism-checkers

# Each with a time of its own; the first that fails ends it.
nightly: build ## What takes a night: each reader fuzzed for an hour, every oracle at 100000 histories, the nightly campaign
	$(MAKE) fuzz TIME=3600
	$(MAKE) oracle
	$(TARGET)/release/schism campaign campaigns/nightly.toml --since-last

clean: ## Remove what was built, and every run under results/
	$(CARGO) clean
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

build: packages toolchain
	$(CARGO) build --release --locked --package schism

packages:
	@./scripts/install $(RUN_PACKAGES)

test-packages:
	@./scripts/install $(TEST_PACKAGES)

toolchain:
	@./scripts/toolchain
