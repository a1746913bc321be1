"""Where the C library lies: for the package when it is imported, and for `pip install`, which loads this file alone."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import subprocess
from pathlib import Path
from typing import Iterator, NamedTuple, Optional

VERSION = "0.1.0"
"""Of this package."""
ABI = 2
"""The number of the C interface that this package calls."""
SONAME = "libcauserie.so." + ".".join(VERSION.split(".")[:2])

OF_CHECKOUT = "the checkout"

_ADVICE = (
    f"causerie {VERSION} for Python calls the C library {SONAME} with ABI {ABI}. Install the two of one version: in a checkout"
    " `make install` and `pip install ./bindings/python`, or a wheel, which has the library inside; or name the library in"
    " CAUSERIE_LIBRARY"
)


class Place(NamedTuple):
    """Where the library may lie."""

    what: str
    file: str
    alone: bool = False
    """Whoever named it wants no other."""


def _package() -> Path:
    return Path(__file__).resolve().parent


def checkout() -> Optional[Path]:
    """The folder of causerie's sources, where the package lies in it."""
    folder = _package().parents[2] if len(_package().parents) > 2 else None
    return folder if folder is not None and (folder / "capi" / "Cargo.toml").is_file() else None


def _of_pkg_config() -> Optional[str]:
    command = ["pkg-config", "--variable=libdir", "causerie"]
    try:
        found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return str(Path(found.stdout.strip()) / SONAME) if found.returncode == 0 and found.stdout.strip() else None


def places() -> Iterator[Place]:
    """Every place where the library may lie, in the order in which they are looked at; none of them need exist."""
    named = os.environ.get("CAUSERIE_LIBRARY")
    if named:
        yield Place("CAUSERIE_LIBRARY", named, alone=True)
        return
    if (_package() / SONAME).exists():
        yield Place("beside the package", str(_package() / SONAME))
    yield Place("the loader's path", SONAME)
    of_pkg_config = _of_pkg_config()
    if of_pkg_config is not None:
        yield Place("pkg-config", of_pkg_config)
    of_ldconfig = ctypes.util.find_library("causerie")
    if of_ldconfig is not None:
        yield Place("ldconfig", of_ldconfig)
    sources = checkout()
    if sources is not None:
        target = Path(os.environ.get("CARGO_TARGET_DIR") or sources / "target")
        yield Place(OF_CHECKOUT, str(target / "release" / "libcauserie_c.so"))


def unfit(library: ctypes.CDLL) -> Optional[str]:
    """Why this package cannot call a library; None where it can."""
    try:
        number = library.causerie_abi
    except AttributeError:
        return "no causerie_abi is in it: it is another library"
    number.restype = ctypes.c_uint32
    if number() != ABI:
        version = library.causerie_version
        version.restype = ctypes.c_char_p
        return f"it is {version().decode().split()[0]} with ABI {number()}"
    return None


def find() -> tuple[Place, ctypes.CDLL]:
    """The first library that fits; ImportError says where was looked, what was found and what to do."""
    seen = []
    for place in places():
        try:
            library = ctypes.CDLL(place.file)
            why = unfit(library)
        except OSError as e:
            why = str(e)
        else:
            if why is None:
                return place, library
        seen.append(f"{place.what} ({place.file}): {why}")
        if place.alone:
            break
    raise ImportError("\n  ".join([f"{_ADVICE}. Looked at:", *seen]), name="causerie")
