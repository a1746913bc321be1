#!/usr/bin/env bash
# Installs the C library: headers, libcauserie.so with its soname, libcauserie.a with local symbols, causerie.pc, the CMake
# package. PREFIX (/usr/local), LIBDIR (PREFIX/lib) and DESTDIR as usual.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
lib=${LIBDIR:-$prefix/lib}
dest=${DESTDIR:-}
case "$prefix$lib" in /*) ;; *) echo "PREFIX and LIBDIR must be absolute paths" >&2; exit 1 ;; esac
case "$lib" in "$prefix"/*) ;; *) echo "LIBDIR must lie under PREFIX" >&2; exit 1 ;; esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
major=${version%%.*}
rest=${version#*.}
minor=${rest%%.*}
soversion=$major.$minor
built=${CARGO_TARGET_DIR:-target}/release

# Where a test of cargo's runs this, what cargo tells that test of itself would have crates built anew that look at it (ring).
for name in $(compgen -e | grep -E '^(OUT_DIR$|CARGO_(MANIFEST|PKG|CRATE|BIN|PRIMARY|CFG))' || true); do unset "$name"; done
cargo build --release -p causerie-capi ${CARGO_FLAGS:-}

install -d "$dest$prefix/include" "$dest$lib/pkgconfig" "$dest$lib/cmake/causerie"
install -m 644 include/causerie.h include/causerie.hpp "$dest$prefix/include/"

# The shared library exports causerie_* alone (rustc's version script); debug information stays here.
shared=$dest$lib/libcauserie.so.$version
strip --strip-unneeded -o "$shared.new" "$built/libcauserie_c.so"
chmod 755 "$shared.new"
mv -f "$shared.new" "$shared"
ln -sf "libcauserie.so.$version" "$dest$lib/libcauserie.so.$soversion"
ln -sf "libcauserie.so.$soversion" "$dest$lib/libcauserie.so"

# The archive: one object with every symbol but causerie_* local, so that it links beside another llama.cpp.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
roots=$(nm -D --defined-only "$built/libcauserie_c.so" | awk '$3 ~ /^causerie_/ { print "-u", $3 }')
# Section groups are dissolved: a C++ program with a group of the same name would have ours discarded.
# shellcheck disable=SC2086
ld -r --force-group-allocation --gc-sections $roots --whole-archive "$built/libcauserie_c.a" -o "$scratch/causerie.o"
# Two passes: "unique" symbols of C++ can be made local only once they are weak.
objcopy --wildcard --weaken-symbol='_Z*' "$scratch/causerie.o"
objcopy --wildcard --strip-debug -R '.llvmbc' -R '.llvmcmd' --keep-global-symbol='causerie_*' "$scratch/causerie.o"
ar crs "$scratch/libcauserie.a" "$scratch/causerie.o"
install -m 644 "$scratch/libcauserie.a" "$dest$lib/libcauserie.a"

up=$(realpath -m --relative-to="$lib/cmake/causerie" "$prefix")
fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$lib|g" -e "s|@LIB@|${lib#"$prefix"/}|g" -e "s|@UP@|$up|g" \
        -e "s|@VERSION@|$version|g" -e "s|@SOVERSION@|$soversion|g" -e "s|@MAJOR@|$major|g" -e "s|@MINOR@|$minor|g" "$1" > "$2"
    chmod 644 "$2"
}
fill packaging/causerie.pc.in "$dest$lib/pkgconfig/causerie.pc"
fill packaging/causerie-config.cmake.in "$dest$lib/cmake/causerie/causerie-config.cmake"
fill packaging/causerie-config-version.cmake.in "$dest$lib/cmake/causerie/causerie-config-version.cmake"
echo "causerie $version: $dest$lib/libcauserie.so, $dest$lib/libcauserie.a, $dest$prefix/include/causerie.h"
