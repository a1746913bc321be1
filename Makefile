# `make demo` and `make test` do everything on a fresh Debian 12 with cargo, g++ and python3.
.PHONY: demo test test-capi check build install install-needs test-needs package clean-demo

# The demo's work directory: run `make demo` again and it resumes, or finds everything done.
DEMO_DIR ?= demo

# What tests were passed over for want of data or a tool.
SKIPPED := $(CURDIR)/target/skipped-tests.txt

demo: build
	./target/release/causerie demo --work $(DEMO_DIR)

test: test-needs
	@mkdir -p target && rm -f $(SKIPPED)
	CAUSERIE_SKIPPED=$(SKIPPED) cargo test --release
	CAUSERIE_SKIPPED=$(SKIPPED) cargo test --release -p causerie-capi
	@[ ! -s $(SKIPPED) ] || { echo "$$(wc -l < $(SKIPPED)) tests were passed over, in whole or in part:"; cat $(SKIPPED); }

# The C API alone: the header, the installed package, C, C++, Go and Python.
test-capi: test-needs
	cargo test --release -p causerie-capi

# The C library, its headers, pkg-config and CMake files: PREFIX, LIBDIR, DESTDIR.
install: install-needs
	PREFIX="$(or $(PREFIX),/usr/local)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" packaging/install.sh

# dist/: a .deb, a tarball and a Python wheel of it.
package: install-needs
	packaging/package.sh

# What CI checks besides the tests.
check: install-needs
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	cargo clippy --release --no-default-features --lib -- -D warnings
	cargo clippy --release -p causerie-capi --all-targets -- -D warnings

build: install-needs
	cargo build --release

install-needs:
	@scripts/install.sh

# What the tests of the C library need besides: pkg-config, Go.
test-needs:
	@scripts/install.sh tests

clean-demo:
	rm -rf $(DEMO_DIR)
