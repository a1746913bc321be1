# `make demo` and `make test` do everything on a fresh Debian 12 with cargo, g++ and python3.
.PHONY: demo test check build install-needs clean-demo

# The demo's work directory: run `make demo` again and it resumes, or finds everything done.
DEMO_DIR ?= demo

demo: build
	./target/release/causerie demo --work $(DEMO_DIR)

test: install-needs
	cargo test --release

# What CI checks besides the tests.
check: install-needs
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	cargo clippy --release --no-default-features --lib -- -D warnings

build: install-needs
	cargo build --release

install-needs:
	@scripts/install.sh

clean-demo:
	rm -rf $(DEMO_DIR)
