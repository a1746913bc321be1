"""Stage 3, select."""

from __future__ import annotations

import ctypes as c
import json
from typing import TYPE_CHECKING, Any, Optional, Sequence

from ._config import Config
from ._dataset import Dataset
from ._embeddings import Embeddings
from ._handle import Handle, Path, array, check, path, raw
from ._handle import number as whole
from ._native import lib
from ._run import RUN, Run, long

if TYPE_CHECKING:
    from ._handle import Doubles, Rows


class Selection(Handle):
    """Stage 3, select: seed rows, most informative first."""

    _free = lib.selection_free
    __slots__ = ()

    def __init__(
        self, embeddings: Embeddings, config: Optional[Config] = None, dataset: Optional[Dataset] = None,
        earlier: Optional["Selection"] = None, run: Optional[Run] = None, checkpoint: Optional[Path] = None,
    ) -> None:
        """`checkpoint`: a file that keeps the picks so far, so that a selection that was stopped goes on."""
        life = self._begin()
        of = (raw(dataset), embeddings.raw, raw(earlier), path(checkpoint), raw(config))
        long(run, lib.select_keeping, *of, RUN, life.out)
        super().__init__(life)

    @classmethod
    def load(cls, file: Path) -> "Selection":
        """What `save` wrote, or `causerie select`."""
        life = cls._begin()
        check(lib.selection_load(path(file), life.out))
        return cls._of(life)

    @staticmethod
    def centers(
        embeddings: Embeddings, file: Path, config: Optional[Config] = None, dataset: Optional[Dataset] = None,
        run: Optional[Run] = None,
    ) -> None:
        """Writes the centres of K-means over all rows, for `select.centers`: the JS strategies then select on them."""
        long(run, lib.select_centers, raw(dataset), embeddings.raw, raw(config), RUN, path(file))

    @staticmethod
    def part(
        number: int, parts: int, embeddings: Embeddings, file: Path, config: Optional[Config] = None,
        dataset: Optional[Dataset] = None, run: Optional[Run] = None,
    ) -> None:
        """The first step of a selection that several machines share: part `number` of `parts`, from 0, writes its picks."""
        of = (whole("number", number, 63), whole("parts", parts, 63))
        long(run, lib.select_part, raw(dataset), embeddings.raw, *of, raw(config), RUN, path(file))

    @staticmethod
    def merge(files: Sequence[Path], merged: Path) -> None:
        """The second step: lays the files of all parts together."""
        names = (c.c_char_p * len(files))(*map(path, files))
        check(lib.select_merge(names, len(files), path(merged)))

    @classmethod
    def finalise(
        cls, merged: Path, embeddings: Embeddings, config: Optional[Config] = None, dataset: Optional[Dataset] = None,
        run: Optional[Run] = None,
    ) -> "Selection":
        """The third step: selects from what `merge` wrote."""
        life = cls._begin()
        long(run, lib.select_finalise, raw(dataset), embeddings.raw, path(merged), raw(config), RUN, life.out)
        return cls._of(life)

    @property
    def rows(self) -> "Rows":
        """The selected rows."""
        life, count = self.raw, c.c_size_t()
        rows: "Rows" = array(life, lib.selection_rows(life, c.byref(count)), (count.value,), c.c_uint64)
        return rows

    @property
    def gains(self) -> "Doubles":
        """What each pick added, in nats."""
        life, count = self.raw, c.c_size_t()
        gains: "Doubles" = array(life, lib.selection_gains(life, c.byref(count)), (count.value,), c.c_double)
        return gains

    @property
    def report(self) -> dict[str, Any]:
        life = self.raw
        report: dict[str, Any] = json.loads(lib.selection_report(life))
        return report

    def save(self, file: Path) -> None:
        """Writes {"rank", "row", "gain"} a line."""
        check(lib.selection_save(self.raw, path(file)))
