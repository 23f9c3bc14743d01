# The two commands of the README are `make demo` and `make check`; the others are their parts.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr/local
FILE ?= LICENSE
SOAK_ROUNDS := $(or $(ROUNDS),50)
ROUNDS ?= 5
SEEDS ?= 200
FRAMES ?= 10000000
SECONDS ?= 300

export PATH := $(PATH):$(HOME)/.cargo/bin

# Everything that is built or written goes below here.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export CARGO_TARGET_DIR := $(TARGET)
# Incremental compilation makes the first build slower, and most builds here are first ones.
export CARGO_INCREMENTAL ?= 0
BUILD := $(TARGET)/cmake
STAGE := $(TARGET)/stage
CTESTS := $(TARGET)/c-tests

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: ## install what is missing (Debian packages)
	@scripts/install-deps

# `make check` runs the parts below one by one. It sets BUILT, as it has built what they need, and REPORT, as it reads what
# they print.
ifndef BUILT
build stage lint test-build test: deps
library c-build sanitize packages readme manual python demo: stage
c-test memcheck: c-build
endif
ifdef REPORT
# The time and the output of each test. Libtest's option for the time is unstable, so that stable test programs accept it
# only with RUSTC_BOOTSTRAP.
TEST_RUNNER := --config 'target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]'
TEST_OPTIONS := -- -Zunstable-options --report-time --show-output
endif

build: ## build the library and the programs
	@cmake -B $(BUILD) -S . -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DDAFKA_CARGO_DIR=$(TARGET) >/dev/null
	@cmake --build $(BUILD)

install: build ## install to PREFIX (default /usr/local)
	@cmake --install $(BUILD) >/dev/null
	@echo "installed to $(PREFIX): bin/dafka_*, include/dafka*.h, lib*/libdafka*, share/man"

stage: ## build, and install below target/stage
	@cmake -B $(BUILD)-stage -S . -DCMAKE_INSTALL_PREFIX=$(STAGE) -DDAFKA_CARGO_DIR=$(TARGET) >/dev/null
	@cmake --build $(BUILD)-stage
	@rm -rf $(STAGE)
	@cmake --install $(BUILD)-stage >/dev/null

demo: ## stream a file from a producer to a store, and then from the store to a consumer (FILE=...)
	@scripts/demo $(STAGE) "$(FILE)"

check: deps ## everything that CI runs; ROOT=1 permits it to install and purge Debian packages on this host
	@ROOT=$(ROOT) scripts/check $(TARGET)

lint: ## formatting, lints, documentation, mutations that fit the source
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	scripts/check-mutations --check

# The programs are built for the tests that run them; they have no unit tests.
TESTED := --workspace --test '*'
# The unit tests need no speed. Without optimization they are compiled in a quarter of the time.
UNIT_TEST := CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo test --locked --workspace --lib

test-build: ## compile the Rust tests
	cargo test --locked --no-run $(TESTED)
	$(UNIT_TEST) --no-run

test: ## the Rust tests: units, properties, programs end to end
	@# More threads than processors: most tests wait most of the time.
	failed=; export RUST_TEST_THREADS=4; \
	$(UNIT_TEST) --no-fail-fast $(TEST_RUNNER) $(TEST_OPTIONS) || failed=1; \
	cargo test --locked --no-fail-fast $(TESTED) $(TEST_RUNNER) $(TEST_OPTIONS) || failed=1; \
	cargo test --locked --doc || failed=1; \
	[ -z "$$failed" ]

library: ## the installed files, and the ways in which programs link the library
	scripts/check-library $(STAGE)
	scripts/check-ways-in $(STAGE)
	scripts/check-drop-in $(STAGE)

c-build: ## compile the C tests
	PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig cmake -B $(CTESTS) -S c-tests -DDAFKA_MEMCHECK=ON >/dev/null
	cmake --build $(CTESTS) --parallel 2

c-test: ## the C tests, against the installed library
	ctest --test-dir $(CTESTS) --output-on-failure --no-tests=error --parallel 3 -LE 'memcheck|soak'

memcheck: ## the C tests under valgrind
	ctest --test-dir $(CTESTS) --output-on-failure --no-tests=error --parallel 3 -L memcheck

sanitize: ## the C tests with the address and undefined behaviour sanitizers
	PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig cmake -B $(CTESTS)-sanitize -S c-tests -DDAFKA_SANITIZE=ON >/dev/null
	cmake --build $(CTESTS)-sanitize --parallel 2
	ctest --test-dir $(CTESTS)-sanitize --output-on-failure --no-tests=error --parallel 3

packages: ## build Debian packages (target/packages), install, use and remove them in a root of their own
	ROOT=$(ROOT) scripts/check-packages $(TARGET)

readme: ## what the README tells a reader to type
	scripts/check-readme $(STAGE) $(BUILD)-stage

manual: ## the manual pages: complete, without warnings, their examples work
	scripts/check-man $(STAGE)

python: ## the Python package: its tests, its wheel
	scripts/check-python $(STAGE)

soak: soak-hosts soak-positions soak-crash soak-hostile soak-many soak-memcheck soak-simulation mutations ## what takes long: random runs for SECONDS (default 300)

soak-hosts: deps ## a host that is cut off for a minute
	cargo test --locked --test e2e several_hosts:: -- --ignored

soak-positions: deps ## a consumer with a name that is killed 100 times, and a group of which a member dies every second
	cargo test --locked --test e2e positions:: -- --ignored
	cargo test --locked --test e2e groups:: -- --ignored

soak-simulation: deps ## random seeds of the simulation for SECONDS
	DAFKA_SIM_SECONDS=$(SECONDS) cargo test --locked --test simulation -- \
		--exact random_seeds_keep_every_invariant --ignored --nocapture

soak-crash: deps ## kill stores and cut their power, ROUNDS times (50 here; DAFKA_SEED=n repeats a run); kill a named producer 100 times
	DAFKA_KILL_ROUNDS=$(SOAK_ROUNDS) cargo test --locked --test store -- kill:: power:: --nocapture --test-threads=1
	DAFKA_DAMAGES=2000 cargo test --locked --test storage damage:: -- --nocapture --test-threads=1
	DAFKA_LIVES=100 cargo test --locked --test e2e named_producers:: -- --nocapture

soak-many: stage ## a thousand producers or consumers in one process
	PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig cmake -B $(CTESTS) -S c-tests -DDAFKA_MEMCHECK=ON >/dev/null
	cmake --build $(CTESTS) --parallel 2 --target test_many_consumers test_many_producers
	$(CTESTS)/test_many_consumers 1000
	$(CTESTS)/test_many_producers 1000
	$(CTESTS)/test_many_producers 1000 store

soak-memcheck: c-build ## the C tests that take long under valgrind
	ctest --test-dir $(CTESTS) --output-on-failure --no-tests=error -L soak

replay: deps ## show the simulation's run of SEED, event by event
	DAFKA_SIM_SEED=$(SEED) cargo test --locked --test simulation -- --exact replay --ignored --nocapture

mutations: deps ## break promises of the source, one at a time: the simulation must notice each
	scripts/check-mutations

bench: deps ## speed and memory beside raw libzmq, see doc/performance.md (ROUNDS=n ONLY=part PEERS=1)
	ROUNDS=$(ROUNDS) ONLY=$(ONLY) PEERS=$(PEERS) cargo bench --locked --bench bench

soak-hostile: deps ## hostile peers for longer (SEEDS=n FRAMES=n)
	DAFKA_SOAK=1 DAFKA_SEEDS=$(SEEDS) DAFKA_FUZZ_FRAMES=$(FRAMES) cargo test --locked --test hostile --test e2e -- \
		messages:: sockets:: crowds:: random_zmtp:: back_pressure:: --nocapture

header: deps ## write include/dafka.h
	cargo xtask header

man: deps ## write the manual pages in doc/man
	cargo xtask man

clean: ## remove what was built
	rm -rf $(TARGET)

.PHONY: help deps build install stage demo check lint test-build test library c-build c-test memcheck sanitize packages \
	readme manual python soak soak-hosts soak-positions soak-crash soak-hostile soak-many soak-memcheck soak-simulation replay mutations bench header man clean
