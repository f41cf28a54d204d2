# Two commands matter: `make run` and `make test`. Both install what is missing (Debian 12, Swift 6.3 toolchain).

SWIFT ?= swift
ARGS ?=

BUILD_PACKAGES := make pkg-config libssl-dev libwslay-dev libsqlite3-dev
TEST_PACKAGES := $(BUILD_PACKAGES) chromium coturn nftables conntrack iproute2 procps openssl python3 python3-venv curl
RELEASE := -c release --static-swift-stdlib
VENV := .venv

.PHONY: run build test lint unit release-tests thread-sanitizer fuzz fuzz-long interop screenshots clean help \
	build-packages test-packages

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

run: build ## build in release and start `floe serve` (ARGS="--help" for its options)
	@exec .build/release/floe serve $(ARGS)

build: build-packages ## build the program in release
	$(SWIFT) build $(RELEASE) --product floe

build-packages:
	@Scripts/install-packages $(BUILD_PACKAGES)

test-packages:
	@Scripts/install-packages $(TEST_PACKAGES)
	@Scripts/python-environment $(VENV) Interop/requirements.txt

test: test-packages ## every test: lint, unit, sanitizer, fuzzers, NATs and browsers
	@Scripts/run-tests

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests Fuzz

unit: build-packages
	$(SWIFT) test

clean: ## remove what was built
	rm -rf .build $(VENV)
