# Two commands matter: `make run` and `make test`. Both install what is missing (Debian 12, Swift 6.3 toolchain).

SWIFT ?= swift
ARGS ?=
FUZZ_SECONDS ?= 8
ROUNDS ?= 4
LOADS ?=
DURATION ?= 3600
# Network namespaces need root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
AS_ROOT := $(SUDO) /usr/bin/python3

BUILD_PACKAGES := make pkg-config libssl-dev libwslay-dev libsqlite3-dev libc-ares-dev
TEST_PACKAGES := $(BUILD_PACKAGES) chromium coturn haproxy nftables conntrack iproute2 procps openssl python3 curl \
	python3-aioice libnice10 miniupnpd-nftables
# Tests of drivers and services with sockets and clocks of the system, and of whole paths between two of them.
DRIVERS := LoopbackTests|NameResolverTests|RelayTests|WebServiceTests|ServerTests|InstrumentsTests|BenchTests
PATHS := ICETransportTests|PeerToolsTests
RELEASE := -c release --static-swift-stdlib

.PHONY: help run build test lint documentation unit model-long allocations instructions thread-sanitizer fuzz fuzz-long \
	turn-clients nat server flood fast-path bench soak overload calls screenshots conformance conform-coturn clean \
	build-packages test-packages

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

run: build ## build in release and start `floe serve` (ARGS="--help" for its options)
	@exec .build/release/floe serve $(ARGS)

build: build-packages ## build the program in release
	$(SWIFT) build $(RELEASE) --product floe

test: test-packages ## every test, stage by stage, as CI runs them
	@Scripts/run-tests

lint: ## check the format of all Swift files
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests Fuzz

documentation: ## check that what scripts have written is up to date
	Scripts/list-page-files --check
	Scripts/coverage-table --check

# Engines first, as parallel as the machine is. What has sockets, threads and clocks waits until they leave it time, and two
# ends of one path that a test plays both wait for nothing else.
unit: build-packages ## the tests that need no root; with it, relays by sk_lookup as well
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build --skip '^($(DRIVERS)|$(PATHS)|FastPathTests)\.'
	$(SWIFT) test --skip-build --filter '^($(DRIVERS))\.'
	$(SWIFT) test --skip-build --no-parallel --filter '^($(PATHS))\.'

model-long: build-packages ## a million random operations of the TURN server against its model (FLOE_SEED=n replays one)
	FLOE_MODEL_OPERATIONS=1000000 $(SWIFT) test --filter 'TURNServerTests.ModelTests'

allocations: build-packages ## count allocations per operation in release, and compare with their budgets
	$(SWIFT) build $(RELEASE) --product AllocationTests
	.build/release/AllocationTests

instructions: build-packages ## count instructions per packet and request with valgrind, and compare with their budgets
	@Scripts/install-packages valgrind binutils
	$(SWIFT) build $(RELEASE) --product AllocationTests
	Scripts/count-instructions

# Tests/CMutexAnnotations tells the sanitizer of locks that wait.
thread-sanitizer: build-packages ## the tests of threads, sockets and services under the thread sanitizer
	$(SWIFT) test --sanitize=thread --scratch-path .build/thread-sanitizer --filter '^(LoopbackTests|RelayTests|WebServiceTests)\.'
	$(SWIFT) test --sanitize=thread --scratch-path .build/thread-sanitizer --skip-build --no-parallel \
		--filter '^ICETransportTests\.'

fuzz: build-packages ## fuzz each target for some seconds (FUZZ_SECONDS=8)
	@Scripts/fuzz $(FUZZ_SECONDS)

fuzz-long: build-packages ## fuzz each target ten million times and print a table (hours)
	@Scripts/fuzz 10000000x

turn-clients: build ## coturn's clients, libnice and aioice against the built server, as root
	$(AS_ROOT) Interop/test_turnutils.py
	$(AS_ROOT) Interop/test_clients.py

nat: build ## servers found by name; what `floe nat` finds out behind kernel NATs, as root
	$(AS_ROOT) Interop/test_names.py
	$(AS_ROOT) Interop/test_nat.py

server: build ## black-box tests of the built server, as root
	$(AS_ROOT) Interop/test_server.py
	$(AS_ROOT) Interop/test_flood.py

fast-path: build ## the kernel's fast path against user space, as root
	Scripts/make-bpf-programs --check
	$(SWIFT) build --build-tests
	$(SUDO) "$$($(SWIFT) build --show-bin-path)"/*PackageTests.xctest --testing-library swift-testing --filter '^FastPathTests\.'
	$(AS_ROOT) Interop/test_fast_path.py

flood: build ## ten million datagrams from forged sources with each --io, as root (eight minutes)
	$(AS_ROOT) Interop/test_flood.py --count 10000000

bench: build test-packages ## measure beside coturn and a C relay, as root; writes Documentation/Benchmarks.md (ROUNDS=4 LOADS=...)
	@Scripts/install-packages gcc libc6-dev
	$(AS_ROOT) Benchmarks/run --rounds $(ROUNDS) --loads "$(LOADS)"

soak: build ## 5000 allocations come and go at 80 % of capacity for an hour, as root (DURATION=seconds)
	$(AS_ROOT) Interop/test_soak.py --seconds $(DURATION)

overload: build ## three times what the server can relay, as root (a minute)
	$(AS_ROOT) Interop/test_overload.py

calls: build ## browsers behind kernel NATs call each other through the built server, as root
	$(AS_ROOT) Interop/test_calls.py

ice: build test-packages ## ICE through kernel NATs, against itself and against aioice, as root
	$(AS_ROOT) Interop/test_ice.py

screenshots: build test-packages ## take the pictures in Documentation/screenshots, as root
	$(AS_ROOT) Interop/screenshots.py

conformance: build test-packages ## try the rules on Floe in a network namespace: fails if one is not kept
	@Scripts/conform-coturn --check

conform-coturn: build test-packages ## try the rules on Floe and Debian's coturn; writes Documentation/Conformance.md
	@Scripts/conform-coturn

clean: ## remove what was built
	rm -rf .build

build-packages:
	@Scripts/install-packages $(BUILD_PACKAGES)

test-packages:
	@Scripts/install-packages $(TEST_PACKAGES)
