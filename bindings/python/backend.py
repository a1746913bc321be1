"""Builds the package for pip: it looks for the C library and, in a checkout, builds it; needs nothing but Python, and no network.

The wheel has the library inside, unless the loader finds it by itself. packaging/wheel.py makes its wheels with this file too.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import importlib.util
import io
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
# What cargo tells a test or a build script of itself would have crates built anew that look at it.
_OF_CARGO = re.compile(r"^(OUT_DIR$|CARGO_(MANIFEST|PKG|CRATE|BIN|PRIMARY|CFG))")


def _library_module() -> Any:
    """causerie/_library.py alone: the package itself loads the library when it is imported."""
    spec = importlib.util.spec_from_file_location("_causerie_library", HERE / "causerie" / "_library.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


library = _library_module()


def _project(key: str) -> str:
    found = re.search(rf'^{key} = "(.*)"', (HERE / "pyproject.toml").read_text(), re.M)
    assert found is not None, f"pyproject.toml has no {key}"
    return found.group(1)


def _metadata() -> bytes:
    return (
        f"Metadata-Version: 2.1\nName: causerie\nVersion: {_project('version')}\nSummary: {_project('description')}\n"
        f"Requires-Python: {_project('requires-python')}\nLicense: MIT OR Apache-2.0\nProvides-Extra: numpy\n"
        "Requires-Dist: numpy; extra == 'numpy'\n"
    ).encode()


def write_wheel(folder: Path, tag: str, files: "dict[str, bytes]") -> str:
    """A wheel of these files: a zip with a list of them. The same files give the same bytes."""
    version = _project("version")
    info = f"causerie-{version}.dist-info"
    pure = "true" if tag.endswith("-any") else "false"
    files = dict(files)
    files[f"{info}/METADATA"] = _metadata()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: causerie\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode()
    record = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = f"causerie-{version}-{tag}.whl"
    with zipfile.ZipFile(folder / wheel, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, data)
    return wheel


def package_files(shared: "Optional[Path]" = None) -> "dict[str, bytes]":
    """The package, with a library beside it."""
    sources = [p for p in sorted((HERE / "causerie").iterdir()) if p.suffix == ".py" or p.name == "py.typed"]
    files = {f"causerie/{p.name}": p.read_bytes() for p in sources}
    if shared is not None:
        files[f"causerie/{library.SONAME}"] = _bytes(shared)
    return files


def _build() -> "Optional[Path]":
    """Builds the library of this checkout; None where this is none, or cargo is missing."""
    sources = library.checkout()
    if sources is None or shutil.which("cargo") is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not _OF_CARGO.match(name)}
    command = ["cargo", "build", "--release", "--locked", "--offline", "-p", "causerie-capi"]
    print(f"{' '.join(command)} in {sources}", flush=True)
    if subprocess.run(command, cwd=sources, env=environment).returncode != 0:
        raise SystemExit(
            f"causerie: the C library could not be built in {sources} (above). Where crates are missing, `cargo fetch` gets them;"
            " `make install-needs` says what else it takes"
        )
    return Path(os.environ.get("CARGO_TARGET_DIR") or sources / "target") / "release" / "libcauserie_c.so"


def _bytes(shared: Path) -> bytes:
    """A library, without what debuggers read where that can be taken off."""
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / "library.so"
        command = ["strip", "--strip-unneeded", "-o", str(stripped), str(shared)]
        try:
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            return stripped.read_bytes()
        except (OSError, subprocess.CalledProcessError):
            return shared.read_bytes()


def _found() -> "Optional[Path]":
    """The library to put beside the package; None where the loader finds it by itself."""
    try:
        place, _ = library.find()
        # What was built in the checkout may be older than its sources; where it is not, this is over at once.
        if place.what == library.OF_CHECKOUT:
            return _build() or Path(place.file)
    except ImportError as e:
        if os.environ.get("CAUSERIE_LIBRARY"):
            raise SystemExit(f"causerie: {e}") from None
        built = _build()
        if built is None:
            raise SystemExit(f"causerie: {e}") from None
        why = library.unfit(ctypes.CDLL(str(built)))
        if why is not None:
            raise SystemExit(f"causerie: {built}: {why}; the package is of another version than the sources beside it") from None
        return built
    print(f"the library: {place.file} ({place.what})", flush=True)
    if os.sep in place.file:
        return Path(place.file).resolve()
    # The loader may have found it by a variable that is not there tomorrow.
    return _mapped(place.file) if os.environ.get("LD_LIBRARY_PATH") else None


def _mapped(name: str) -> "Optional[Path]":
    """The file of a library that was loaded by its name."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        file = Path(line.split(maxsplit=5)[-1])
        if file.is_absolute() and file.name.startswith(name):
            return file
    return None


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    info = f"causerie-{_project('version')}.dist-info"
    (Path(metadata_directory) / info).mkdir()
    (Path(metadata_directory) / info / "METADATA").write_bytes(_metadata())
    return info


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    shared = _found()
    tag = "py3-none-any" if shared is None else f"py3-none-linux_{platform.machine()}"
    return write_wheel(Path(wheel_directory), tag, package_files(shared))


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    _found()
    return write_wheel(Path(wheel_directory), "py3-none-any", {"causerie.pth": f"{HERE}\n".encode()})


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    name = f"causerie-{_project('version')}"
    files = {"PKG-INFO": _metadata(), **{n: (HERE / n).read_bytes() for n in ("pyproject.toml", "backend.py")}, **package_files()}
    with tarfile.open(Path(sdist_directory) / f"{name}.tar.gz", "w:gz") as out:
        for file, data in files.items():
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return f"{name}.tar.gz"
