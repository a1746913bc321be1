"""Makes the wheel: wheel.py LIBRARY GLIBC MACHINE FOLDER. A wheel is a zip with a list of its files."""

import base64
import hashlib
import re
import sys
import zipfile
from pathlib import Path


def main(library: Path, glibc: str, machine: str, folder: Path) -> None:
    package = Path(__file__).parent.parent / "bindings/python"
    project = (package / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"', project, re.M).group(1)
    tag = f"py3-none-manylinux_{glibc.replace('.', '_')}_{machine}"
    info = f"causerie-{version}.dist-info"
    files = {f"causerie/{p.name}": p.read_bytes() for p in sorted((package / "causerie").glob("*")) if p.is_file()}
    soname = f"libcauserie.so.{'.'.join(version.split('.')[:2])}"
    files[f"causerie/{soname}"] = library.read_bytes()
    summary = re.search(r'^description = "(.*)"', project, re.M).group(1)
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: causerie\nVersion: {version}\nSummary: {summary}\nRequires-Python: >=3.9\n"
        "License: MIT OR Apache-2.0\nProvides-Extra: numpy\nRequires-Dist: numpy; extra == 'numpy'\n"
    ).encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: causerie\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(folder / f"causerie-{version}-{tag}.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
