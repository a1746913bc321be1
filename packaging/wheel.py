"""Makes the wheel that goes to others, with the library inside: wheel.py LIBRARY GLIBC MACHINE FOLDER."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bindings" / "python"))
sys.dont_write_bytecode = True
import backend  # noqa: E402


def main(library: Path, glibc: str, machine: str, folder: Path) -> None:
    tag = f"py3-none-manylinux_{glibc.replace('.', '_')}_{machine}"
    backend.write_wheel(folder, tag, backend.package_files(library))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
