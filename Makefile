# Two commands do all the set-up on a machine with Go and nothing else:
# `make demo` and `make test`.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
SOURCES = $(shell find . -name '*.go' -o -name '*.yaml' -o -name '*.md') go.mod go.sum

.PHONY: all
all: build test lint

.PHONY: build
build: bin/hoplab ## the program, static, in bin/

bin/hoplab: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $@ ./cmd/hoplab

.PHONY: demo
demo: ## the story in one command
	$(GO) run ./cmd/hoplab demo

.PHONY: test
test: ## all tests that need Go alone
	CGO_ENABLED=0 $(GO) test ./...

.PHONY: test-all
test-all: ## with the race detector, and curl, openssl and h2spec as judges: a missing judge is a failure
	HOPLAB_JUDGES=1 CGO_ENABLED=1 $(GO) test -race ./...

.PHONY: test-docker
test-docker: ## docker-compose.yml with a real engine; needs Docker, Compose, curl and nginx
	HOPLAB_DOCKER=1 CGO_ENABLED=0 $(GO) test -count=1 -run TestDocker ./deploy

.PHONY: bench-peers
bench-peers: bin/hoplab ## hoplab beside nginx, HAProxy and Caddy, where they are installed
	bin/hoplab bench tinfoil --peer nginx,haproxy,caddy --ablation=false --baseline=false --overhead=false

.PHONY: bench-claims
bench-claims: bin/hoplab ## measure docs/benchmarks.md anew, for a quarter of an hour; needs those three too
	$(GO) run ./bench/claims -o docs/benchmarks.md

.PHONY: bench-code
bench-code: ## Go benchmarks of handshakes and requests, by personality, with allocations
	CGO_ENABLED=0 $(GO) test -run=- -bench=. -benchmem ./proxy ./passport

.PHONY: lint
lint: ## formatting, vet, staticcheck, tidy modules, other systems
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt wants the files above'; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	GOOS=darwin $(GO) build ./...
	GOOS=windows $(GO) build ./...

.PHONY: update
update: ## rewrite the golden files and generated docs
	$(GO) test ./mesh/... ./passport ./docs ./cmd/hoplab ./deploy ./testbed/fidelity -update

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile
