"""A selection that several processes or machines share, in two rounds: every part selects from its own rows, the picks of
all parts are laid together, and from those the selection is made.

    part_a = select_part(ids_a, rows_a, config)        # anywhere
    part_b = select_part(ids_b, rows_b, config)
    picks = finalise(merge([part_a, part_b]), config)  # [(id, gain), …], most informative first

`select_processes` does so on processes of this machine, `causerie.spark` on a Spark cluster. Needs numpy.
For strategies over rows alone: `fisher` and `random`. `js` needs the same clusters everywhere: use the command's
`causerie select --partition` there.
"""

from __future__ import annotations

import multiprocessing
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from . import Config, Embeddings, Selection

__all__ = ["Merged", "Part", "deal", "finalise", "merge", "select_part", "select_processes"]

_STRATEGIES = ("fisher", "random")


class Part(NamedTuple):
    """What one part picked, most informative first."""

    ids: np.ndarray
    """[picks] int64: names of the rows, unique over all parts."""
    rows: np.ndarray
    """[picks, dim] f32: the rows themselves, for the second round."""
    gains: np.ndarray
    """[picks] f64: what each added to its part."""


class Merged(NamedTuple):
    """The picks of all parts, and of the best one alone."""

    ids: np.ndarray
    rows: np.ndarray
    best: Part


def settings_of(config: "dict[str, Any]") -> Config:
    """The settings, refused where parts cannot share the strategy."""
    settings = Config()
    for key, value in config.items():
        settings[key] = value
    strategy = settings["select.strategy"].strip('"')
    if strategy not in _STRATEGIES:
        raise ValueError(
            f"select.strategy = {strategy!r} cannot be shared here; it is one of {', '.join(_STRATEGIES)}"
            " (js: `causerie select --partition`, which gives every part the same clusters)"
        )
    return settings


def _sorted(ids: Any, rows: Any) -> "tuple[np.ndarray, np.ndarray]":
    """Rising ids: the lowest of a tie is picked, so the result must not hang on the order in which rows arrive."""
    ids, rows = np.asarray(ids, np.int64), np.asarray(rows, np.float32)
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


def select_part(ids: Any, rows: Any, config: "dict[str, Any]") -> Part:
    """The first round on one part. `ids`: [n] integers; `rows`: [n, dim]; `config`: settings by their keys,
    `{"select.budget": 1000}`. A part smaller than the budget gives all of its rows."""
    ids, rows = _sorted(ids, rows)
    if len(ids) == 0:
        return Part(ids, rows, np.zeros(0))
    settings = settings_of(config)
    budget = int(settings["select.budget"])
    settings["select.budget"] = min(budget, len(ids))
    with Embeddings.of(rows) as embeddings, Selection(embeddings, settings) as selection:
        picked = np.array(selection.rows, np.int64)
        return Part(ids[picked], rows[picked], np.array(selection.gains))


def merge(parts: Sequence[Part]) -> Merged:
    """Lays the picks of all parts together."""
    parts = [part for part in parts if len(part.ids)]
    if not parts:
        raise ValueError("no part picked anything")
    best = parts[int(np.argmax([part.gains.sum() for part in parts]))]
    ids, rows = _sorted(np.concatenate([p.ids for p in parts]), np.concatenate([p.rows for p in parts]))
    return Merged(ids, rows, best)


def finalise(merged: Merged, config: "dict[str, Any]") -> "list[tuple[int, float]]":
    """The second round: [(id, gain)], most informative first. For `fisher` the better of the selection from all picks and
    that of the best part alone."""
    final = select_part(merged.ids, merged.rows, config)
    fisher = settings_of(config)["select.strategy"].strip('"') == "fisher"
    if fisher and len(merged.best.ids) == len(final.ids) and merged.best.gains.sum() > final.gains.sum():
        final = merged.best
    return [(int(i), float(g)) for i, g in zip(final.ids, final.gains)]


def _one(given: "tuple[Any, Any, dict[str, Any]]") -> Part:
    return select_part(*given)


def select_processes(
    ids: Any, rows: Any, parts: int, config: "dict[str, Any]", processes: Optional[int] = None
) -> "list[tuple[int, float]]":
    """Both rounds on processes of this machine."""
    ids, rows = _sorted(ids, rows)
    part = deal(ids, parts)
    given = [(ids[part == p], rows[part == p], config) for p in range(parts)]
    # Not forked: the parent may hold threads of its own.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return finalise(merge(pool.map(_one, given, chunksize=1)), config)
