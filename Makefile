# The two commands are `make run` and `make test`; `make help` lists the others.
GO      ?= go
BIN     := bin
# STATE=DIR keeps the state of `make run` elsewhere than in the user's own place for state.
STATE   ?=
# A count, or a time such as 1m; at the end of a time Go's fuzzer now and then reports its own deadline as a failure.
FUZZTIME ?= 6000x
KILLS   ?=
export CGO_ENABLED ?= 0

# The JavaScript engine is made of an npm package, by jsvat/quickjs.mk, where npm and its registry are there; without (make NPM= does
# as if) all else is built, and JavaScript refused. Whether it was made decides how everything is built.
NPM     ?= $(shell command -v npm)
ifneq ($(NPM),)
ifeq ($(filter clean help,$(MAKECMDGOALS)),)
QUICKJS := $(shell MAKEFLAGS= $(MAKE) -s -f jsvat/quickjs.mk NPM="$(NPM)" GO="$(GO)" >&2 && echo made)
endif
endif
UNTAGGED := $(shell $(GO) env GOFLAGS)
ifeq ($(QUICKJS),made)
export GOFLAGS := $(UNTAGGED) -tags=quickjs
endif

.DELETE_ON_ERROR:
.PHONY: build run test check vet fmt unit race e2e torture fuzz bench cover rewrite clean help tools quickjs

build: ## build bin/kernel and bin/vatworker
	$(GO) build -o $(BIN)/ ./cmd/kernel ./cmd/vatworker

run: build ## build everything and run the bank in the foreground
	$(BIN)/kernel $(if $(STATE),--state $(STATE)) run examples/bank/cluster.json

test: build check race e2e fuzz ## everything that must pass

quickjs: ## the JavaScript engine's Go code, of npm's quickjs-wasi
	@[ "$(QUICKJS)" = made ] || { echo "the JavaScript engine needs npm, and the registry that it asks"; exit 1; }

check: fmt vet ## formatting, vet, staticcheck, import directions
	$(GO) test ./internal/archtest

tools: .bin/gofumpt .bin/staticcheck .bin/benchstat

.bin/%: tools/go.mod tools/go.sum
	GOBIN=$(CURDIR)/.bin $(GO) install -C tools tool

fmt: .bin/gofumpt
	@out=$$(git ls-files '*.go' | xargs .bin/gofumpt -l); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi

# staticcheck needs 18 s for the translated module, which is not ours; all code of ours but a few lines is built without it, too.
vet: .bin/staticcheck
	$(GO) vet ./...
	GOFLAGS='$(UNTAGGED)' .bin/staticcheck ./...

unit: ## unit tests without the race detector
	$(GO) test $$($(GO) list ./... | grep -v /e2e)

# The race detector needs a C compiler; without one the same tests run without it. The state machine is tested without: it
# has no goroutine, which internal/archtest holds, and its simulations take five times as long with it; so do the programs of host/model
# and the runs of host/enumeration. The
# JavaScript engine has no goroutine either, and takes a minute to compile with it. What other packages
# do less of under the detector (worlds, a million rows, thousands of promises) is done without, too. A program under the detector sleeps for a
# second before it exits, unless GORACE says otherwise; the tests end thousands of workers and commands.
RACE := $(GO) list ./... | grep -v -e /e2e -e /bench -e /archtest -e /host/model -e /host/enumeration -e /jsvat/ -e 'ocapkernel.dev/kernel$$'
CC_FOUND := $(shell command -v gcc || command -v clang)
race: ## unit tests, with the race detector if there is a C compiler
ifeq ($(CC_FOUND),)
	@echo "no C compiler: the race detector is not used"
	$(GO) test -timeout 20m $$($(GO) list ./... | grep -v /e2e)
else
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test -race -timeout 20m $$($(RACE))
	$(GO) test -timeout 20m ./kernel ./host ./host/model ./host/enumeration ./liveslots ./storage/badgerstore ./jsvat/...
endif

e2e: build ## the real programs, real SIGKILL
	$(GO) test -count=1 -timeout 20m ./e2e/...

# TORTURE_MINUTES is shared by the parts that have a time (internal/torture); the others count kills.
TORTURE_MINUTES ?= 60
torture: build ## more kills than in e2e, crash enumeration, models, full disks; KILLS=n TORTURE_MINUTES=n TORTURE_SEED=n
	@table=$$(mktemp); export TORTURE_TABLE=$$table TORTURE_MINUTES=$(TORTURE_MINUTES) KILLS=$(or $(KILLS),1000); \
	$(GO) test -count=1 -timeout 0 -run 'Torture' -v ./... && \
	$(GO) test -count=1 -timeout 60m -run 'TestAFullDiskIsAPause' -v ./e2e/ && \
	$(GO) test -count=1 -timeout 60m -run TestFullFileSystems -v ./storage/badgerstore/; rc=$$?; \
	awk -F'\t' 'BEGIN { f = "%-28s %9s %12s %7s %9s %7s %8s  %s\n"; printf f, "part", "scenarios", "crash points", "kills", "cranks", "faults", "findings", "seed" } \
	  { printf f, $$1, $$2, $$3, $$4, $$5, $$6, $$7, $$8; for (i = 2; i < 8; i++) n[i] += $$i } \
	  END { printf f, "all", n[2], n[3], n[4], n[5], n[6], n[7], "" }' $$table; rm -f $$table; exit $$rc

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for t in $$(git ls-files '*_test.go' | xargs grep -o '^func Fuzz[A-Za-z0-9_]*' | sed 's,/[^/]*:func ,:,'); do \
	  p=./$${t%:*}; f=$${t#*:}; out=$$(mktemp); \
	  echo "fuzz $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p >$$out 2>&1 || { cat $$out; rm -f $$out; exit 1; }; rm -f $$out; \
	done

bench: build .bin/benchstat ## measurements beside their floors
	$(GO) test -run '^$$' -bench . -benchtime 2s ./bench/ ./storage/badgerstore/

cover: ## coverage of the unit tests
	$(GO) test -coverprofile .cover ./... && $(GO) tool cover -func .cover | tail -1

rewrite: ## regenerate transcripts and the fields in docs/schema.md; read every diff
	$(GO) test ./kernel -rewrite

clean: ## remove what was built
	rm -rf $(BIN) .bin .cover jsvat/npm/node_modules jsvat/quickjs/id.go jsvat/quickjs/module.* jsvat/quickjs/new

help: ## this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'
