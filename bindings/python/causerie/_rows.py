"""What Python programs hold their data in, as C reads it: records as JSON lines, Arrow, ids and rows of a catalogue."""

from __future__ import annotations

import ctypes as c
import datetime
import decimal
import json
import math
import operator
import os
import uuid
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Optional, Protocol, Sequence, Union, cast

from ._handle import utf8
from ._numpy import np


class ArrowStream(Protocol):
    """A table, or a reader of batches, with the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class ArrowArray(Protocol):
    """A batch or an array with the Arrow PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any: ...


Record = Mapping[str, Any]
Text = Union[str, bytes, bytearray, memoryview]
Records = Union[Text, Iterable[Record]]
"""JSON lines, or a dict each."""
Table = Union[Records, ArrowStream, ArrowArray]

_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode


def json_lines(rows: Records) -> bytes:
    """JSON lines as they are, or of dicts."""
    if isinstance(rows, (str, bytes, bytearray, memoryview)):
        return utf8(cast(Text, rows))
    if isinstance(rows, Mapping):
        raise TypeError("rows are a list of dicts; one row is a list of one: [{…}]")
    return "\n".join(_lines(rows)).encode()


def unmasked(name: str, value: Any) -> None:
    """A masked array of numpy is one only where nothing is masked: to C all values would be there."""
    if np is None:
        return
    if isinstance(value, (list, tuple)):
        for i, entry in enumerate(value):
            if isinstance(entry, np.ma.MaskedArray):
                unmasked(f"{name}[{i}]", entry)
    elif isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name}: {int(np.ma.getmaskarray(value).sum())} values are masked; fill them or leave them out")


def _lines(rows: Iterable[Record]) -> Iterator[str]:
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"rows[{at}]: a dict is needed, not {_kind(row)}")
        yield as_json(dict(row), f"rows[{at}]")


def as_json(value: Any, at: str) -> str:
    """JSON of what records hold; `at` names it in errors. NaN and its like are null."""
    text = _as_json(value, at)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _look_for_surrogates(value, at)
            raise
    return text


def _look_for_surrogates(value: Any, at: str) -> None:
    """Raises ValueError at a text that is none: half a pair has no place in UTF-8, and C would read another letter."""
    if isinstance(value, (str, os.PathLike)):
        text = value if isinstance(value, str) else os.fsdecode(value)
        for place, letter in enumerate(text):
            if "\ud800" <= letter <= "\udfff":
                raise ValueError(f"{at}: a lone surrogate, U+{ord(letter):04X}, stands at {place}; it is no text")
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _look_for_surrogates(key, f"{at}: the key {key!a:.80}")
            _look_for_surrogates(entry, f"{at}[{key!r}]")
    elif isinstance(value, (list, tuple)) or (np is not None and isinstance(value, np.ndarray) and value.ndim):
        for i, entry in enumerate(value):
            _look_for_surrogates(entry, f"{at}[{i}]")


def _as_json(value: Any, at: str) -> str:
    try:
        if not isinstance(value, dict) or all(type(key) is str for key in value):
            return _encode(value)
    except (TypeError, ValueError):
        pass  # something that JSON does not know: it is looked at one by one
    except RecursionError:
        raise ValueError(f"{at}: it stands in itself, or is too deep") from None
    try:
        return _encode(_plain(value, at))
    except RecursionError:
        raise ValueError(f"{at[:80]}: it stands in itself, or is too deep") from None


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _plain(value: Any, at: str) -> Any:
    """The same in what JSON knows. Times are ISO texts, as the readers of `timestamp` and `year` take them."""
    if value is None or isinstance(value, (str, bool, int)):
        return str(value) if isinstance(value, str) else value
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which need not be there
        return None
    if isinstance(value, (float, decimal.Decimal)):
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise ValueError(f"{at}: {value} has no place in JSON; leave it out, or give None")
        if isinstance(value, decimal.Decimal):
            return int(value) if value == value.to_integral_value() else float(value)
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{at}: the key {key!r} is no text but {_kind(key)}")
        return {str(key): _plain(entry, f"{at}[{key!r}]") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{at}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if np is not None and value is np.ma.masked:
        return None
    if np is not None and isinstance(value, np.ndarray):
        return [_plain(entry, f"{at}[{i}]") for i, entry in enumerate(value)] if value.ndim else _plain(value[()], at)
    if np is not None and isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if np is not None and isinstance(value, (np.bool_, np.integer, np.floating)):
        return _plain(float(value) if isinstance(value, np.floating) else value.item(), at)
    raise TypeError(
        f"{at}: {_kind(value)} cannot be written as JSON; texts, numbers, booleans, times, lists, dicts and None can"
    )


def frame_records(rows: Any) -> Optional[list[Record]]:
    """The rows of a pandas DataFrame; None for anything else."""
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns"):
        _once(rows.columns)
        records: list[Record] = rows.to_dict("records")
        return records
    return None


def _once(names: Iterable[Any]) -> None:
    """Refuses columns of one name: one of them would be passed over."""
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two columns have the name {name!r}; rename or drop one")
        seen.add(name)


def arrow(value: Any) -> Optional[tuple[str, Any]]:
    """The capsules of anything that speaks the Arrow PyCapsule interface (pyarrow, polars, nanoarrow, …); None for what does
    not, a pandas DataFrame without pyarrow or with columns that have no one type among it."""
    frame = type(value).__module__.partition(".")[0] == "pandas"
    if type(value).__module__.partition(".")[0] == "pyarrow":
        _once(getattr(getattr(value, "schema", None), "names", ()))
    try:
        if hasattr(value, "__arrow_c_stream__"):
            return "stream", value.__arrow_c_stream__()
        if hasattr(value, "__arrow_c_array__"):
            return "array", value.__arrow_c_array__()
    except (ImportError, NotImplementedError, TypeError, ValueError):
        if not frame:
            raise
    return None


def pointer(capsule: Any, name: bytes) -> int:
    get = c.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c.c_void_p, [c.py_object, c.c_char_p]
    address: int = get(capsule, name)
    return address


class Mask(NamedTuple):
    """Rows as C reads them, and, where they were given as booleans, for how many items."""

    values: Any
    length: int
    items: Optional[int]

    @property
    def address(self) -> Any:
        return self.values if np is None else self.values.ctypes.data


def mask(name: str, rows: Any) -> Mask:
    """Rows of an array of integers or of booleans."""
    wrong = f"{name}: rows are integers from 0, or booleans, one for each item"
    items = None
    if np is not None:
        unmasked(name, rows)
        values = np.asarray(rows)
        if values.ndim != 1:
            raise ValueError(f"{name}: one list of rows, or of booleans, is needed, not one of shape {values.shape}")
        if values.dtype == bool:
            items, values = values.size, np.flatnonzero(values)
        if values.size and values.dtype.kind not in "iu":
            raise TypeError(f"{wrong}, not {values.dtype}")
        if values.size and values.dtype.kind == "i" and values.min() < 0:
            raise ValueError(f"{wrong}; one is {values.min()}")
        values = np.ascontiguousarray(values, dtype=np.uint64)
        return Mask(values, values.size, items)
    given = list(rows)
    if given and all(isinstance(row, bool) for row in given):
        items, given = len(given), [i for i, row in enumerate(given) if row]
    if any(isinstance(row, (bool, str, bytes, float)) for row in given):
        raise TypeError(wrong)
    if any(not 0 <= operator.index(row) < 1 << 64 for row in given):
        raise ValueError(wrong)
    return Mask((c.c_uint64 * len(given))(*given), len(given), items)


Items = Union[Sequence[str], Sequence[bool], Any]
"""Items of a catalogue: ids; or an array of rows; or booleans, one for each item, as list or array."""


def named(name: str, items: Items) -> Union[list[str], Mask]:
    """Items as ids or as rows."""
    if isinstance(items, (str, bytes)):
        raise TypeError(f"{name} is a list, not one text: {name}=[{items!r}]")
    if isinstance(items, Mapping):
        raise TypeError(f"{name} is a list of ids, an array of rows, or booleans, not a dict")
    if np is not None and hasattr(items, "__array__"):
        unmasked(name, items)
        items = np.asarray(items)
        if items.dtype.kind in "biu":
            return mask(name, items)
    elif isinstance(items, memoryview) and items.format.strip("@=<>") in tuple("bBhHiIlLqQnN?"):
        return mask(name, items.tolist())
    given = sorted(items) if isinstance(items, (set, frozenset)) else list(items)
    if given and all(isinstance(item, bool) or type(item).__name__ in ("bool_", "bool") for item in given):
        return mask(name, [bool(item) for item in given])
    for i, item in enumerate(given):
        if not isinstance(item, str):
            raise TypeError(
                f"{name}[{i}]: an id is a text, not {_kind(item)}; rows are given as an array of integers, or as booleans,"
                " one for each item"
            )
    return [str(item) for item in given]
