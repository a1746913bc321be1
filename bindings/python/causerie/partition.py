"""A selection that several processes or machines share, in two rounds: every part selects from its own rows, the picks of
all parts are laid together, and from those the selection is made.

    part_a = select_part(ids_a, rows_a, config)        # anywhere
    part_b = select_part(ids_b, rows_b, config)
    picks = finalise(merge([part_a, part_b]), config)  # [(id, gain), …], most informative first

`select_processes` does so on processes of this machine, `causerie.spark` on a Spark cluster. Needs numpy.
For strategies over rows alone: `fisher`, `random` and `js`. Every part of `js` needs the same clusters:

    centers = fit_centers(some_rows, config)           # [clusters, dim], once
    part_a = select_part(ids_a, rows_a, config, centers)
    picks = finalise(merge([part_a, part_b]), config, centers)

Parts that were selected on other centres are refused by `merge`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import struct
import tempfile
from typing import Any, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from . import Config, Embeddings, Selection

__all__ = [
    "Merged", "Part", "deal", "finalise", "fit_centers", "merge", "read_centers", "select_part", "select_processes",
    "write_centers",
]

_STRATEGIES = ("fisher", "random", "js")


class Part(NamedTuple):
    """What one part picked, most informative first."""

    ids: np.ndarray
    """[picks] int64: names of the rows, unique over all parts."""
    rows: np.ndarray
    """[picks, dim] f32: the rows themselves, for the second round."""
    gains: np.ndarray
    """[picks] f64: what each added to its part."""
    centers: str = ""
    """What the centres hold that it was selected on, as a hash; empty: none."""


class Merged(NamedTuple):
    """The picks of all parts, and of the best one alone."""

    ids: np.ndarray
    rows: np.ndarray
    best: Part
    centers: str = ""


def settings_of(config: "dict[str, Any]") -> Config:
    """The settings, refused where parts cannot share the strategy."""
    settings = Config()
    for key, value in config.items():
        settings[key] = value
    strategy = strategy_of(settings)
    if strategy not in _STRATEGIES:
        raise ValueError(
            f"select.strategy = {strategy!r} cannot be shared here; it is one of {', '.join(_STRATEGIES)}"
            " (with features of a dataset: `causerie select --partition`)"
        )
    return settings


def strategy_of(settings: Config) -> str:
    return settings["select.strategy"].strip('"')


def write_centers(centers: Any, file: "str | os.PathLike[str]") -> None:
    """Writes centres [clusters, dim] for the setting `select.centers`: a safetensors file with the one tensor `centers`."""
    values = np.ascontiguousarray(centers, "<f4")
    if values.ndim != 2:
        raise ValueError(f"centres of shape {values.shape}; [clusters, dim] is needed")
    tensor = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [0, values.nbytes]}
    header = json.dumps({"centers": tensor}).encode()
    header += b" " * (-len(header) % 8)
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header + values.tobytes())


def read_centers(file: "str | os.PathLike[str]") -> np.ndarray:
    """The centres [clusters, dim] of a safetensors file with one tensor of f32, as `causerie select --fit-centers` writes it."""
    with open(file, "rb") as source:
        data = source.read()
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + length])
        header.pop("__metadata__", None)
        (tensor,) = header.values()
        first, last = tensor["data_offsets"]
        if tensor["dtype"] != "F32" or len(tensor["shape"]) != 2:
            raise ValueError(f"{tensor['dtype']} of shape {tensor['shape']}")
        return np.frombuffer(data[8 + length + first:8 + length + last], "<f4").reshape(tensor["shape"]).astype(np.float32)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{os.fspath(file)}: no safetensors file with one matrix of f32: {e}") from None


def hash_of(centers: np.ndarray) -> str:
    """What centres hold: shape and every value."""
    return hashlib.sha256(struct.pack("<QQ", *centers.shape) + centers.astype("<f4").tobytes()).hexdigest()[:32]


def centers_of(config: "dict[str, Any]", centers: Any) -> Optional[np.ndarray]:
    """The centres of `js`: those given, else those of the file `select.centers`. None for strategies without clusters."""
    settings = settings_of(config)
    if strategy_of(settings) != "js":
        return None
    file = settings["select.centers"].strip('"')
    if centers is None and not file:
        raise ValueError(
            "select.strategy = 'js' needs centres that all parts share: give `centers` (fit_centers makes them),"
            " or name their file in select.centers"
        )
    given = np.ascontiguousarray(read_centers(file) if centers is None else centers, np.float32)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"centres of shape {given.shape}; [clusters, dim] is needed")
    if not np.isfinite(given).all():
        raise ValueError(f"centre {np.argwhere(~np.isfinite(given))[0][0]} holds NaN or an infinity")
    return given


@contextlib.contextmanager
def _on(centers: Optional[np.ndarray], settings: Config) -> "Iterator[None]":
    """The settings with these centres in a file for the time of a selection."""
    if centers is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="causerie-") as folder:
        file = os.path.join(folder, "centers.safetensors")
        write_centers(centers, file)
        settings["select.centers"] = file
        yield


def fit_centers(rows: Any, config: "dict[str, Any]") -> np.ndarray:
    """The centres [clusters, dim] of K-means over `rows` [n, dim], as `js` would make them from `select.clusters`,
    `select.seed`, `select.kmeans_iterations` and `select.kmeans_batch`. A sample of all rows will do."""
    settings = settings_of({**config, "select.strategy": "js"})
    rows = np.asarray(rows, np.float32)
    with tempfile.TemporaryDirectory(prefix="causerie-") as folder, Embeddings.of(rows) as embeddings:
        file = os.path.join(folder, "centers.safetensors")
        Selection.centers(embeddings, file, settings)
        return read_centers(file)


def _sorted(ids: Any, rows: Any) -> "tuple[np.ndarray, np.ndarray]":
    """Rising ids: the lowest of a tie is picked, so the result must not hang on the order in which rows arrive."""
    ids, rows = np.asarray(ids), np.asarray(rows, np.float32)
    if ids.size and ids.dtype.kind not in "iu":
        raise ValueError(f"ids of type {ids.dtype}; whole numbers are needed (a missing id makes them floats)")
    ids = ids.astype(np.int64)
    if rows.ndim != 2 or len(ids) != len(rows):
        raise ValueError(f"ids of shape {ids.shape} for rows of shape {rows.shape}; [n] and [n, dim] are needed")
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    if len(ids) > 1 and (ids[1:] == ids[:-1]).any():
        raise ValueError(f"id {ids[1:][ids[1:] == ids[:-1]][0]} stands twice")
    return ids, rows


def deal(ids: Any, parts: int) -> np.ndarray:
    """The part of each id, [n], as the command deals rows (splitmix64): the same everywhere."""
    z = np.asarray(ids).astype(np.uint64)
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) % np.uint64(parts)).astype(np.int64)


def select_part(ids: Any, rows: Any, config: "dict[str, Any]", centers: Any = None) -> Part:
    """The first round on one part. `ids`: [n] integers; `rows`: [n, dim]; `config`: settings by their keys,
    `{"select.budget": 1000}`; `centers`: for `js`, [clusters, dim], the same for all parts. A part smaller than the budget
    gives all of its rows, but for rows of zeros, of which nothing is known."""
    ids, rows = _sorted(ids, rows)
    given = centers_of(config, centers)
    known = "" if given is None else hash_of(given)
    if len(ids) == 0:
        return Part(ids, rows, np.zeros(0), known)
    wrong = ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        raise ValueError(f"the row of id {ids[np.argmax(wrong)]} holds NaN or an infinity")
    if given is not None and given.shape[1] != rows.shape[1]:
        raise ValueError(f"centres of {given.shape[1]} values for rows of {rows.shape[1]}")
    settings = settings_of(config)
    budget = int(settings["select.budget"])
    settings["select.budget"] = min(budget, len(ids))
    with _on(given, settings), Embeddings.of(rows) as embeddings, Selection(embeddings, settings) as selection:
        picked = np.array(selection.rows, np.int64)
        return Part(ids[picked], rows[picked], np.array(selection.gains), known)


def merge(parts: Sequence[Part]) -> Merged:
    """Lays the picks of all parts together; refuses parts that were selected on different centres."""
    for number, part in enumerate(parts):
        if part.centers != parts[0].centers:
            one, other = (p.centers[:8] or "none" for p in (parts[0], part))
            raise ValueError(
                f"part 0 was selected on the centres {one}, part {number} on {other}: give every part the same `centers`"
            )
    parts = [part for part in parts if len(part.ids)]
    if not parts:
        raise ValueError("no part picked anything")
    best = parts[int(np.argmax([part.gains.sum() for part in parts]))]
    ids, rows = _sorted(np.concatenate([p.ids for p in parts]), np.concatenate([p.rows for p in parts]))
    return Merged(ids, rows, best, best.centers)


def finalise(merged: Merged, config: "dict[str, Any]", centers: Any = None) -> "list[tuple[int, float]]":
    """The second round: [(id, gain)], most informative first. For `fisher` the better of the selection from all picks and
    that of the best part alone. `centers`: for `js`, those of the parts."""
    final = select_part(merged.ids, merged.rows, config, centers)
    if final.centers != merged.centers:
        one, other = (known[:8] or "none" for known in (merged.centers, final.centers))
        raise ValueError(f"the parts were selected on the centres {one}, this is with {other}: give the same `centers`")
    fisher = strategy_of(settings_of(config)) == "fisher"
    if fisher and len(merged.best.ids) == len(final.ids) and merged.best.gains.sum() > final.gains.sum():
        final = merged.best
    return [(int(i), float(g)) for i, g in zip(final.ids, final.gains)]


def _one(given: "tuple[Any, Any, dict[str, Any], Any]") -> Part:
    return select_part(*given)


def select_processes(
    ids: Any, rows: Any, parts: int, config: "dict[str, Any]", processes: Optional[int] = None, centers: Any = None
) -> "list[tuple[int, float]]":
    """Both rounds on processes of this machine. `js` without `centers` fits them on all rows."""
    ids, rows = _sorted(ids, rows)
    settings = settings_of(config)
    if strategy_of(settings) == "js" and centers is None and not settings["select.centers"].strip('"'):
        centers = fit_centers(rows, config)
    part = deal(ids, parts)
    given = [(ids[part == p], rows[part == p], config, centers) for p in range(parts)]
    # Not forked: the parent may hold threads of its own.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return finalise(merge(pool.map(_one, given, chunksize=1)), config, centers)
