#!/usr/bin/env bash
# dist/ (or DIST): causerie-VERSION-ARCH.tar.gz, libcauserie-dev_VERSION_ARCH.deb, and a Python wheel with the library inside.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
arch=$(dpkg --print-architecture 2>/dev/null || uname -m)
machine=$(uname -m)
dist=${DIST:-$PWD/dist}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$dist"
# Reproducible: the same sources give the same archives.
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)

# A tarball that is unpacked anywhere: the CMake files find their place by themselves, the .pc file by its own folder.
tree=$scratch/causerie-$version
DESTDIR=$scratch/root PREFIX=/usr packaging/install.sh >/dev/null
mkdir -p "$tree"
cp -a "$scratch/root/usr/." "$tree/"
sed -i -e 's|^prefix=.*|prefix=${pcfiledir}/../..|' -e 's|^libdir=.*|libdir=${prefix}/lib|' "$tree/lib/pkgconfig/causerie.pc"
cp README.md CHANGELOG.md "$tree/"
cp -r examples bindings "$tree/"
find "$tree" -name '__pycache__' -prune -exec rm -rf {} +
tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner -C "$scratch" -czf "$dist/causerie-$version-linux-$machine.tar.gz" "causerie-$version"

# The .deb: the library, its headers, its pkg-config and CMake files.
deb=$scratch/deb
multiarch=$(gcc -print-multiarch 2>/dev/null || true)
DESTDIR=$deb PREFIX=/usr LIBDIR=/usr/lib/${multiarch:-$machine-linux-gnu} packaging/install.sh >/dev/null
install -d "$deb/DEBIAN" "$deb/usr/share/doc/libcauserie-dev"
printf 'Licence: MIT or Apache-2.0\n' > "$deb/usr/share/doc/libcauserie-dev/copyright"
# What the library asks of the C library, read off its symbols.
glibc=$(objdump -T "$deb"/usr/lib/*/libcauserie.so."$version" | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -1)
cat > "$deb/DEBIAN/control" <<CONTROL
Package: libcauserie-dev
Version: $version
Architecture: $arch
Section: libdevel
Priority: optional
Maintainer: causerie <causerie@localhost>
Depends: libc6 (>= ${glibc#GLIBC_}), libstdc++6 (>= 11), libgcc-s1
Installed-Size: $(du -sk "$deb/usr" | cut -f1)
Description: From reviews to a conversational recommender of your own
 The C library of causerie: headers for C and C++, shared and static library, pkg-config and CMake files.
CONTROL
printf 'activate-noawait ldconfig\n' > "$deb/DEBIAN/triggers"
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group --build "$deb" "$dist/libcauserie-dev_${version}_$arch.deb" >/dev/null

# The wheel: pure Python and the library beside it, for any Python 3 of a glibc that is not older.
python3 packaging/wheel.py "$tree/lib/libcauserie.so.$version" "${glibc#GLIBC_}" "$machine" "$dist"
ls -l "$dist"
