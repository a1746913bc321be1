"""Stage 1, load."""

from __future__ import annotations

import ctypes as c
import json
from typing import Any, Optional, SupportsIndex

from ._config import Config
from ._handle import ChangingHandle, Life, Path, check, index, number, path, raw
from ._native import lib
from ._rows import Table, arrow, frame_records, json_lines, pointer
from ._run import RUN, Run, apart, long

ITEMS, REVIEWS, INTERACTIONS = 0, 1, 2

_MANY = 1 << 20
"""Bytes that take long to read."""


class Dataset(ChangingHandle):
    """Stage 1, load: items, reviews, interactions. Add the items first."""

    _free = lib.dataset_free
    __slots__ = ("_dropped",)

    def __init__(self, config: Optional[Config] = None) -> None:
        life = self._begin()
        check(lib.dataset_new(raw(config), life.out))
        super().__init__(life)
        self._dropped = 0

    @classmethod
    def _filled(cls, life: Life, dropped: int) -> "Dataset":
        self = cls._of(life)
        self._dropped = dropped
        return self

    @classmethod
    def read(cls, config: Config, run: Optional[Run] = None) -> "Dataset":
        """The files that the settings name."""
        life, dropped = cls._begin(), c.c_size_t()
        long(run, lib.dataset_import, config.raw, RUN, life.out, c.byref(dropped))
        return cls._filled(life, dropped.value)

    @classmethod
    def load(cls, folder: Path, config: Optional[Config] = None) -> "Dataset":
        """What `save` wrote, or `causerie import --out`."""
        life, of = cls._begin(), (path(folder), raw(config))
        apart(lambda: check(lib.dataset_load(*of, life.out)), True)
        return cls._filled(life, 0)

    def save(self, folder: Path) -> None:
        """Writes the dataset into `folder`, all or nothing."""
        life, file = self.raw, path(folder)
        apart(lambda: check(lib.dataset_save(life, file)), True)

    def add(self, table: int, rows: Table, run: Optional[Run] = None) -> int:
        """Adds rows to ITEMS, REVIEWS or INTERACTIONS: JSON lines, dicts, a pandas DataFrame, or anything with the Arrow
        PyCapsule interface. All or nothing; gives how many rows were dropped: bad ones up to `dataset.max_bad_lines`, repeated
        items, rows about unknown items (`report` says why). Where no row can be kept, for they are bad or about unknown items,
        that is an Error with FORMAT.

        In dicts NaN, NaT and NA are null; times are written as ISO texts; numbers of numpy, Decimal, UUID and Path as numbers
        and texts. A TypeError names the row and the key of anything else."""
        life, at, dropped = self.raw, number("table", table), c.c_size_t()
        capsules = arrow(rows)
        if capsules is None:
            records = frame_records(rows)
            lines = json_lines(rows if records is None else records)  # type: ignore[arg-type]

            def add() -> None:
                with life.alone():
                    check(lib.dataset_add(life, at, lines, len(lines), c.byref(dropped)))

            apart(add, len(lines) > _MANY)
        elif capsules[0] == "stream":
            stream = pointer(capsules[1], b"arrow_array_stream")
            with life.alone():
                long(run, lib.dataset_add_arrow_stream, life, at, stream, RUN, c.byref(dropped))
        else:
            schema, array = pointer(capsules[1][0], b"arrow_schema"), pointer(capsules[1][1], b"arrow_array")
            with life.alone():
                check(lib.dataset_add_arrow(life, at, schema, array, c.byref(dropped)))
        self._dropped += dropped.value
        return dropped.value

    def add_file(self, table: int, file: Path, run: Optional[Run] = None) -> int:
        """Adds a file: plain, .gz or .zst; gives how many rows were dropped, as `add`."""
        life, dropped = self.raw, c.c_size_t()
        with life.alone():
            long(run, lib.dataset_add_file, life, number("table", table), path(file), RUN, c.byref(dropped))
        self._dropped += dropped.value
        return dropped.value

    @property
    def dropped(self) -> int:
        """Rows that were given and dropped so far."""
        return self._dropped

    @property
    def items(self) -> int:
        return int(self.raw.read(lib.dataset_count, ITEMS))

    @property
    def reviews(self) -> int:
        return int(self.raw.read(lib.dataset_count, REVIEWS))

    @property
    def interactions(self) -> int:
        return int(self.raw.read(lib.dataset_count, INTERACTIONS))

    def title(self, i: SupportsIndex) -> str:
        """`Title (1999)` of item `i`."""
        at = index(i)
        text = self.raw.read(lib.dataset_title, at) if at >= 0 else None
        if text is None:
            raise IndexError(i)
        return str(text.decode())

    @property
    def report(self) -> dict[str, Any]:
        """What was kept, what was dropped, and why."""
        life, out = self.raw, c.c_char_p()
        check(lib.dataset_report(life, c.byref(out)))
        report: dict[str, Any] = json.loads(out.value or b"{}")
        return report

    def __repr__(self) -> str:
        try:
            return f"Dataset({self.items} items, {self.reviews} reviews, {self.interactions} interactions)"
        except ValueError:
            return "Dataset(closed)"
