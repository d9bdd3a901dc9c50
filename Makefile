# One target folder, and one profile for all but the demo and the bench, whose figures
# would mislead in a debug build: what `make test` compiled, everything else uses.
CARGO ?= cargo
CASTLE := $(CARGO) run --quiet --example castle --
PROOFS := $(CARGO) run --quiet --example proofs --
VENV := target/venv

.PHONY: demo test lint proofs witness embedding py bench docs fmt

demo: ## the main job on the embedded lab: a standing castle falls and rises again
	$(CARGO) run --release --quiet --example castle -- rebirth --lab --project examples/projects/blue/proxmox
	$(CARGO) run --release --quiet --example castle -- rebirth --lab --project examples/projects/fortress/proxmox

test: ## everything that must hold, on any machine
	$(CARGO) test
	$(CARGO) build --quiet --example castle --example proofs
	$(PROOFS) all --quick
	$(MAKE) --no-print-directory py

lint: ## format and lints, warnings included
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --no-deps

# Some proofs start the command line, which lies beside them.
proofs: ## the heavy proofs; each prints `proof NAME key=value ..`
	$(CARGO) build --quiet --example castle --example proofs
	$(PROOFS) all

witness: $(VENV)/ready ## clients and schemas that nobody here wrote
	$(CARGO) build --quiet --example castle --example proofs
	$(CARGO) build --quiet --package castle-lab --example cluster
	$(CARGO) run --quiet --package castle-talos --example talos_vectors -- ../shared/data/talos-vectors
	$(VENV)/bin/python tests/witness/proxmoxer_witness.py target/debug/examples/castle
	$(VENV)/bin/python tests/witness/pve_schema_witness.py target/debug/examples/proofs ../shared/data/pve-api.json
	$(VENV)/bin/python tests/witness/kubectl_witness.py target/debug/examples/cluster
	$(VENV)/bin/python tests/witness/cluster_witness.py target/debug/examples/castle
	$(VENV)/bin/python tests/witness/handover_witness.py target/debug/examples/castle
	$(VENV)/bin/python tests/witness/git_witness.py target/debug/examples/castle
	$(VENV)/bin/python tests/witness/infisical_witness.py target/debug/examples/castle
	$(VENV)/bin/python tests/witness/crds_witness.py target/debug/examples/castle target/debug/examples/proofs ../shared/data/crds
	$(MAKE) --no-print-directory embedding

# Outside the workspace, whose tree must not hold aws-lc: tests/layering.rs. It begins
# with the workspace's own versions, and takes the rest from the registry.
embedding: ## castle in a program that has aws-lc and a runtime of many threads
	test tests/embedding/Cargo.lock -nt Cargo.lock || cp Cargo.lock tests/embedding/Cargo.lock
	$(CARGO) run --quiet --manifest-path tests/embedding/Cargo.toml --target-dir target/embedding

$(VENV)/ready: tests/witness/requirements.txt
	test -x $(VENV)/bin/pip || python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --requirement tests/witness/requirements.txt
	touch $@

py: ## the Python bindings: built, tested, types checked
	@if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "skipped: py, which needs Python 3.11 or newer"; \
	elif ! python3 -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "python3 makes no virtual environment: install its module (Debian: apt-get install python3-venv)" >&2; exit 1; \
	else set -e; test -x $(VENV)/bin/pip || python3 -m venv --clear $(VENV); \
	  $(VENV)/bin/pip install --quiet './castle-py[test]'; \
	  cd castle-py && ../$(VENV)/bin/python -m pytest --quiet; \
	fi

# What Python's imports cost is measured first, and stands in the same table.
bench: ## figures: `bench NAME key=value ..` as the work goes on, then one table
	@mkdir -p target; rm -f target/python-import.txt
	@if test -x $(VENV)/bin/pip; then $(VENV)/bin/python castle-py/bench/imports.py > target/python-import.txt; fi
	$(CARGO) run --release --quiet --example proofs -- bench --and target/python-import.txt

docs: ## the Rust API, and the pages that are printed from the source
	$(CARGO) doc --no-deps
	$(CASTLE) explain --all --markdown > docs/errors.md
	$(CASTLE) explain --variables --markdown > docs/environment.md

fmt:
	$(CARGO) fmt --all
