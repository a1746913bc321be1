#!/usr/bin/env bash
# Installs what building causerie needs and this machine lacks: nothing when all is there, and then without root.
# `install.sh tests`: also what the tests of the C library need.
set -euo pipefail

missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
command -v g++ >/dev/null || missing+=(g++)
# bindgen loads libclang (libclang-cpp, which other packages bring, is something else) and reads clang's own headers; any
# version from 14 on does.
found() { compgen -G "$1" >/dev/null; }
if ! { found '/usr/lib/llvm-*/lib/libclang.so*' || found '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' || found '/usr/lib/*/libclang-[0-9]*.so*' || [ -n "${LIBCLANG_PATH:-}" ]; }; then
    missing+=(libclang1-14)
fi
found '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' || found '/usr/lib/clang/*/include/stddef.h' || missing+=(libclang-common-14-dev)
if [ "${1:-}" = tests ]; then
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    command -v go >/dev/null || missing+=(golang-go)
    command -v valgrind >/dev/null || missing+=(valgrind)
    command -v qemu-x86_64 >/dev/null || missing+=(qemu-user)
fi

if ! command -v cargo >/dev/null; then
    echo "causerie needs cargo 1.91 or newer; install Rust (https://rustup.rs) and run this again" >&2
    exit 1
fi
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
echo "causerie builds llama.cpp; this machine lacks: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "this is no Debian: install them by your own package manager and run this again" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "installing them with apt-get"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
