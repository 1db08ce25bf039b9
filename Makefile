# The one door: `make` prints what there is. Anything longer than two lines is a
# script in hack/.

MODULES    := ./pkg/... ./services/...
TOOLS      := $(notdir $(wildcard tools/*))
BIN_TOOLS  := $(filter-out k8s-%,$(TOOLS))
PROGRAMS   := posthaste ingest normalizer subscription delivery poller bench ledger
CASES      ?= ../shared/reference/attack-cases.yaml
TESTFLAGS  ?=
ARGS       ?=
FUZZTIME   ?= 30s

export PATH := $(CURDIR)/.bin:$(PATH)

.PHONY: help
help: ## print this list
	@hack/help Makefile

.PHONY: run
run: build postgres ## run the all-in-one until Ctrl-C; data in .data (ARGS="--data DIR …"); first time 2 min
	@.bin/posthaste serve $(ARGS)

.PHONY: demo
demo: build postgres ## the all-in-one and a show of its job (ONCE=1 ends after it, SAMPLES=DIR replays real payloads)
	@.bin/posthaste demo $(if $(ONCE),--once) $(if $(SAMPLES),--samples='$(SAMPLES)') $(ARGS)

.PHONY: build
build: go ## build the programs into .bin
	@hack/build $(PROGRAMS)

.PHONY: test
test: go postgres ## every test on real NATS and PostgreSQL; about 3 min, TESTFLAGS='-race' or '-run Name'
	go test -timeout 20m $(TESTFLAGS) $(MODULES)

.PHONY: test-race
test-race: ## every test with the race detector; about 6 min
	@$(MAKE) --no-print-directory test TESTFLAGS='-race $(TESTFLAGS)'

.PHONY: test-e2e
test-e2e: go postgres ## only the promises, end to end; about 1 min
	go test -timeout 20m $(TESTFLAGS) ./services/e2e/...

.PHONY: attacks
attacks: go postgres ## every attack case against the real product (CASES=FILE, ARGS=--run=PATTERN); about 3 min
	@hack/attacks '$(CASES)' $(ARGS)

.PHONY: fuzz
fuzz: go ## every fuzz test for FUZZTIME each
	@hack/fuzz $(FUZZTIME) $(MODULES)

.PHONY: cover
cover: go postgres ## tests with coverage, in .cache/cover.out
	@mkdir -p .cache && go test -timeout 20m -coverprofile=.cache/cover.out $(MODULES) && go tool cover -func=.cache/cover.out | tail -1

.PHONY: bench
bench: build postgres ## throughput beside the bare limit of this machine; about 2 min, nothing else running
	@.bin/bench pipeline $(ARGS)

.PHONY: bench-isolation
bench-isolation: build postgres ## what endpoints that hang, die and flood cost a healthy one; about 4 min, nothing else running
	@.bin/bench isolation $(ARGS)

.PHONY: bench-import
bench-import: build postgres ## subscriptions made a second by an import of 100,000 rows; about 1 min, nothing else running
	@.bin/bench import $(ARGS)

.PHONY: bench-matching
bench-matching: build postgres ## what matching costs with few and many subscriptions; under 1 min (ARGS=--counts=10000,5000000: 10 min, 5 GB)
	@.bin/bench matching $(ARGS)

.PHONY: ledger
ledger: build postgres ## the judge: kills every part while it runs, and proves that nothing is lost; about 2 min (SEED=…)
	@.bin/ledger run --profile=smoke --seed=$(or $(SEED),0) $(ARGS)

.PHONY: ledger-calm
ledger-calm: build postgres ## the judge without faults: not one repeat without a cause; about 2 min (SEED=…)
	@.bin/ledger run --profile=calm --seed=$(or $(SEED),0) $(ARGS)

.PHONY: ledger-chaos
ledger-chaos: build postgres ## the judge with faults of all kinds; 20 min (SEED=…, DURATION=…; as root also full disks)
	@.bin/ledger run --profile=chaos --seed=$(or $(SEED),0) $(if $(DURATION),--duration=$(DURATION)) $(ARGS)

.PHONY: ledger-soak
ledger-soak: build postgres ## the judge over an hour and more: memory mustn't grow (SEED=…, DURATION=…)
	@.bin/ledger run --profile=soak --seed=$(or $(SEED),0) $(if $(DURATION),--duration=$(DURATION)) $(ARGS)

.PHONY: ledger-power
ledger-power: build postgres ## the judge cuts the power, again and again; needs root; about 2 min (SEED=…)
	@.bin/ledger run --profile=power --seed=$(or $(SEED),0) $(ARGS)

.PHONY: ledger-mutants
ledger-mutants: build postgres ## programs with planted faults, of which the judge must find each; about 12 min
	@TAGS=faults OUT=.bin/faults hack/build $(PROGRAMS)
	@.bin/faults/ledger mutants --bin=.bin/faults $(ARGS)

.PHONY: ledger-crash-points
ledger-crash-points: build postgres ## every program killed from inside at every commit point; about 6 min (SEED=…)
	@TAGS=faults OUT=.bin/faults hack/build $(PROGRAMS)
	@.bin/faults/ledger run --bin=.bin/faults --profile=crash-points --seed=$(or $(SEED),0) $(ARGS)

.PHONY: lint
lint: go .bin/golangci-lint .bin/buf ## linters, dependency rules, formats; about 1 min
	golangci-lint run $(MODULES)
	buf lint && buf format --diff --exit-code

.PHONY: fmt
fmt: go .bin/golangci-lint .bin/buf ## rewrite files to the one format
	golangci-lint fmt $(MODULES) && buf format -w

.PHONY: generate
generate: go .bin/buf .bin/protoc-gen-go .bin/protoc-gen-go-grpc ## regenerate code from proto, and the table of settings
	@hack/generate

.PHONY: verify
verify: go .bin/buf .bin/protoc-gen-go .bin/protoc-gen-go-grpc verify-k8s ## fail if anything generated, go.mod or a manifest is out of date
	@hack/verify

.PHONY: verify-k8s
verify-k8s: go ## decode every manifest of deploy/k8s strictly
	@hack/verify-k8s

.PHONY: images
images: ## build the container images with docker, podman or buildah (TAG=…, TARGETS="posthaste ingest …")
	@hack/images $(TARGETS)

.PHONY: verify-images
verify-images: go ## build as the Dockerfile does, twice: the same bytes, and they run in an empty root
	@hack/verify-images

.PHONY: backup-restore
backup-restore: go postgres .bin/nats ## back up running services, lose both stores, restore, see that what is owed comes; about 1 min
	@hack/backup-restore

.PHONY: breaking
breaking: go .bin/buf ## proto against AGAINST, the main branch if not said
	buf breaking --against '$(or $(AGAINST),.git#branch=main)'

.PHONY: tools
tools: go $(addprefix .bin/,$(BIN_TOOLS)) ## build the pinned tools into .bin; first time 6 min

.PHONY: check
check: test-race verify lint ## what CI runs

.PHONY: clean
clean: ## remove built programs and tools; data stays
	rm -rf .bin

# Not for calling by hand.

.PHONY: go
go:
	@hack/ensure-go

.PHONY: postgres
postgres:
	@hack/ensure-postgres

# Each tool has a module of its own: their dependencies don't agree.
.bin/%: tools/%/go.mod tools/%/go.sum
	@echo "building $* from tools/$*"
	@GOWORK=off GOBIN=$(CURDIR)/.bin go -C tools/$* install tool && touch $@
