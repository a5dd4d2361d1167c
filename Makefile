# Everything a person or a machine does with this tree. `make help` lists the targets.
#
# test, demo, bench, cover and soak make network namespaces and so need root;
# they install the Debian packages that they miss (see scripts/deps).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

# sudo drops /usr/local/go/bin from PATH, where go.dev's own instructions put Go.
GO ?= $(shell command -v go || ls /usr/local/go/bin/go /usr/lib/go/bin/go 2>/dev/null | head -n 1)
export PATH := $(PATH):$(dir $(GO))

VERSION ?= $(shell git -c safe.directory='*' describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X caracal.dev/caracal/internal/version.Version=$(VERSION)

# -trimpath keeps the names of this machine's directories out of the programs.
BUILDFLAGS ?= -trimpath

# How long `make fuzz` gives to each target, and the limit of one package's tests.
FUZZTIME    ?= 30s
TESTTIMEOUT ?= 45m
# Which tests: `make test PKG=./fib/... TESTFLAGS='-run Apply -v'`.
PKG         ?= ./...
TESTFLAGS   ?=
SOAKROUNDS  ?= 10
# Which benchmarks, and their flags: `make bench BENCH=mesh BENCHFLAGS='--peers 600'`.
BENCH       ?= routes mesh
BENCHFLAGS  ?=
# Which of Kubernetes' programs `make kube-programs` builds: names, or all.
PROGRAMS    ?= etcd kube-apiserver kubectl

.PHONY: help build test bench fuzz demo lint proto crds cover soak clean deps kube-programs manifests rootfs image go root modules static

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile

build: go ## build every program into bin/ (static, no C library needed)
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -buildvcs=false $(BUILDFLAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

test: root go ## format, vet, staticcheck, and all tests with the race detector
	@scripts/deps test
	@$(MAKE) modules static kube-programs
	@GO='$(GO)' scripts/crds --check
	$(GO) test -race -p 2 -timeout $(TESTTIMEOUT) $(TESTFLAGS) $(PKG)

test-cluster: root go ## Caracal from its manifests on two nodes with real kubelets: two minutes, once the programs are built
	@scripts/deps test
	@$(MAKE) modules build
	@$(MAKE) kube-programs PROGRAMS=all
	$(GO) test -v -count=1 -tags cluster -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./test/cluster

demo: root go ## the lab: three nodes in namespaces, pods that reach each other
	@scripts/deps demo
	@$(MAKE) modules build
	bin/caracal lab demo

bench: root go ## beside BIRD 2: 100,000 routes from session to kernel, a mesh of 200 peers
	@scripts/deps bench
	@$(MAKE) modules build
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/bench/ ./bench/...
	for program in $(BENCH); do bin/bench/$$program --caracald bin/caracald $(BENCHFLAGS); done

fuzz: root go ## every fuzz target for FUZZTIME (30s) each
	@scripts/deps test
	@GO='$(GO)' scripts/fuzz $(FUZZTIME)

lint: go static ## format, vet, staticcheck, generated code, the systemd unit
	@scripts/deps lint
	@GO='$(GO)' scripts/proto --check
	@GO='$(GO)' scripts/crds --check
	@scripts/unit-check manifests/systemd/caracald.service

crds: go ## generate manifests/base/crds.yaml from api/v1 anew
	@GO='$(GO)' scripts/crds
	@$(MAKE) manifests

proto: go ## generate the Go code of proto/ anew
	@scripts/deps lint
	@GO='$(GO)' scripts/proto

cover: root go ## tests with coverage of all rooms, into coverage.out
	@scripts/deps test
	@$(MAKE) kube-programs
	$(GO) test -p 2 -timeout $(TESTTIMEOUT) -coverpkg=./... -coverprofile=coverage.out $(TESTFLAGS) $(PKG)
	@$(GO) tool cover -func=coverage.out | tail -n 1

soak: root go ## a day's changes in ten minutes, the stories SOAKROUNDS (10) times over with the long tests, ten minutes of each fuzz target
	@scripts/deps test
	@$(MAKE) kube-programs
	$(GO) test -v -timeout 1h ./bench/soak -args -changes 1000000 -over 10m
	$(GO) test -race -tags soak -count=$(SOAKROUNDS) -timeout 4h ./test/...
	$(GO) test -v -tags soak -run Soak -timeout 30m ./bfd
	@GO='$(GO)' scripts/fuzz 10m

kube-programs: go ## build Kubernetes' own PROGRAMS, which the tests run, into bin/kube: minutes once, then nothing
	@GO='$(GO)' scripts/kube-programs $(PROGRAMS)

manifests: ## write manifests/caracal.yaml anew
	@scripts/manifests

rootfs: build ## the image's root file system, in bin/rootfs, of this Debian's iptables
	@rm -rf bin/rootfs
	@scripts/rootfs bin/rootfs

image: ## the image localhost/caracal, by podman; needs a registry for its base
	podman build --build-arg VERSION=$(VERSION) -t localhost/caracal .

clean: ## remove what the targets above made
	rm -rf bin coverage.out

deps: root go ## install what every target needs
	@scripts/deps all
	@$(MAKE) modules

# --- not for the command line ------------------------------------------------

# What the compiler can say without running anything.
static:
	@scripts/gofmt-check '$(GO)'
	CGO_ENABLED=0 $(GO) vet ./...
	CGO_ENABLED=0 $(GO) tool staticcheck ./...

modules:
	@scripts/quietly 'downloading the Go modules' $(GO) mod download

root:
	@if [ "$$(id -u)" != 0 ]; then \
	  echo "make $(firstword $(MAKECMDGOALS)): needs root: it makes network namespaces and installs Debian packages." >&2; \
	  echo "Run: sudo make $(MAKECMDGOALS)" >&2; exit 1; fi

go:
	@scripts/go-check '$(GO)'
