"""Stage 2, embed."""

from __future__ import annotations

import ctypes as c
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from ._config import Config
from ._dataset import Dataset
from ._handle import INVALID, Error, Handle, Path, array, check, number, path, raw, text
from ._native import lib
from ._numpy import np
from ._rows import ArrowArray, ArrowStream, arrow, pointer, unmasked
from ._run import RUN, Run, apart, long

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._handle import Floats


class Embeddings(Handle):
    """Stage 2, embed: [rows, dim] f32; `folder` keeps them, so that an embedding that was stopped goes on."""

    _free = lib.embeddings_free
    __slots__ = ()

    def __init__(
        self, dataset: Dataset, config: Optional[Config] = None, folder: Optional[Path] = None, run: Optional[Run] = None
    ) -> None:
        life = self._begin()
        long(run, lib.embed, dataset.raw, raw(config), path(folder), RUN, life.out)
        super().__init__(life)

    @classmethod
    def of(cls, rows: "Union[npt.ArrayLike, Sequence[Sequence[float]], ArrowStream, ArrowArray]") -> "Embeddings":
        """Rows of your own: a numpy array [rows, dim], a list of rows, a pandas DataFrame of numbers, or Arrow lists of
        floats. Copied."""
        life = cls._begin()
        frame = type(rows).__module__.partition(".")[0] == "pandas"
        capsules = None if frame else arrow(rows)
        given: Any = rows
        if capsules is not None and capsules[0] == "stream":
            check(lib.embeddings_from_arrow_stream(pointer(capsules[1], b"arrow_array_stream"), life.out))
        elif capsules is not None:
            schema, values = pointer(capsules[1][0], b"arrow_schema"), pointer(capsules[1][1], b"arrow_array")
            check(lib.embeddings_from_arrow(schema, values, life.out))
        elif np is not None:
            unmasked("rows", given)
            numbers = np.asarray(given)
            if numbers.dtype.kind not in "fiub":
                raise TypeError(f"rows of floats are needed, not of {numbers.dtype}")
            if numbers.ndim != 2:
                raise ValueError(f"[rows, dim] is needed, not {numbers.shape}")
            numbers = np.ascontiguousarray(numbers, dtype=np.float32)
            check(lib.embeddings_from_rows(numbers.ctypes.data, *numbers.shape, life.out))
        else:
            lists = [list(row) for row in given]
            dim = len(lists[0]) if lists else 0
            if any(len(row) != dim for row in lists):
                raise ValueError("rows of different lengths")
            flat = [value for row in lists for value in row]
            buffer = (c.c_float * len(flat))(*flat)
            check(lib.embeddings_from_rows(buffer, len(lists), dim, life.out))
        return cls._of(life)

    @classmethod
    def open(cls, file: Path) -> "Embeddings":
        """Rows too many for memory, mapped from a safetensors file or a list of shards: for selecting."""
        life = cls._begin()
        check(lib.embeddings_open(path(file), life.out))
        return cls._of(life)

    @staticmethod
    def shard(
        index: int, count: int, dataset: Dataset, folder: Path, config: Optional[Config] = None, run: Optional[Run] = None
    ) -> int:
        """Embeds the reviews of shard `index` of `count` alone, into `folder`; gives how many shards are still to be made.
        Once all lie in the folder, its embeddings.json lists them, for `open`."""
        missing, of = c.c_size_t(), (number("index", index, 63), number("count", count, 63))
        long(run, lib.embed_shard, dataset.raw, raw(config), path(folder), *of, RUN, c.byref(missing))
        return missing.value

    @staticmethod
    def join(folder: Path, count: int) -> int:
        """Lists shards that were brought together in `folder`; gives how many are not there."""
        missing = c.c_size_t()
        check(lib.embed_join(path(folder), number("count", count, 63), c.byref(missing)))
        return missing.value

    @property
    def shape(self) -> tuple[int, int]:
        life, rows, dim = self.raw, c.c_size_t(), c.c_size_t()
        lib.embeddings_data(life, c.byref(rows), c.byref(dim))
        return rows.value, dim.value

    @property
    def values(self) -> "Floats":
        """[rows, dim], read-only, without a copy. Mapped rows have none: numpy reads their file."""
        life, rows, dim = self.raw, c.c_size_t(), c.c_size_t()
        address = lib.embeddings_data(life, c.byref(rows), c.byref(dim))
        if not address and rows.value:
            raise Error(INVALID, "embeddings: these rows are mapped from a file, and are not in memory")
        values: "Floats" = array(life, address, (rows.value, dim.value), c.c_float)
        return values

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Any:
        values = self.values
        if dtype is None or values.dtype == dtype:
            return values.copy() if copy else values
        if copy is False:
            raise ValueError(f"f32 cannot be {dtype} without a copy")
        return values.astype(dtype)

    def save(self, file: Path) -> None:
        """Writes the rows to a safetensors file, as f32."""
        life, of = self.raw, path(file)
        apart(lambda: check(lib.embeddings_save(life, of)), True)

    def pack(self, store: str, file: Path, run: Optional[Run] = None) -> None:
        """Writes the rows as "f32", "f16" or "i8", for `open`."""
        long(run, lib.embeddings_pack, self.raw, text(store, "store"), path(file), RUN)
