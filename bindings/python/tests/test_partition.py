"""Selection in parts, on plain processes: run by tests/abi/package.rs, or by hand with CAUSERIE_LIBRARY set."""

import numpy as np

import os
import tempfile

from causerie import Config, Embeddings, Selection
from causerie.partition import (
    deal, finalise, fit_centers, merge, read_centers, select_part, select_processes, write_centers,
)


def rows(n: int, dim: int) -> np.ndarray:
    """Rows around 30 centres, of unit length, as tests use them everywhere; one in fifty is a copy."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((30, dim))[rng.integers(0, 30, n)] + 0.7 * rng.standard_normal((n, dim))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("f4")
    x[::50] = x[7]
    return x


def log_det(x: np.ndarray) -> float:
    return float(np.linalg.slogdet(np.eye(x.shape[1]) + x.T.astype("f8") @ x.astype("f8"))[1])


def whole(x: np.ndarray, budget: int) -> np.ndarray:
    return np.array(Selection(Embeddings.of(x), Config(select_budget=budget)).rows, np.int64)


def js(ids: np.ndarray, x: np.ndarray) -> None:
    """JS: the same clusters for all parts."""
    config = {"select.strategy": "js", "select.budget": 60, "select.clusters": 12}
    centers = fit_centers(x, config)
    assert centers.shape == (12, x.shape[1]) and np.isfinite(centers).all()
    alone = Selection(Embeddings.of(x), Config(select_strategy="js", select_budget=60, select_clusters=12))
    # One part on the centres of K-means is the selection itself.
    one = finalise(merge([select_part(ids, x, config, centers)]), config, centers)
    assert [i for i, _ in one] == list(ids[np.array(alone.rows, np.int64)])
    part = deal(ids, 8)
    parts = [select_part(ids[part == p], x[part == p], config, centers) for p in range(8)]
    picks = finalise(merge(parts), config, centers)
    reached = sum(g for _, g in picks)
    assert len({i for i, _ in picks}) == 60 and reached > 0.98 * sum(alone.gains), (reached, sum(alone.gains))
    assert select_processes(ids, x, 8, config, processes=2) == picks

    # From a file, whoever wrote it; by what it holds, not by its name.
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = os.path.join(folder, "ours"), os.path.join(folder, "theirs")
        write_centers(centers, ours)
        assert (read_centers(ours) == centers).all()
        Selection.centers(Embeddings.of(x), theirs, Config(select_strategy="js", select_clusters=12))
        assert (read_centers(theirs) == centers).all()
        named = {**config, "select.centers": theirs}
        parts[3] = select_part(ids[part == 3], x[part == 3], named)
        assert finalise(merge(parts), {**config, "select.centers": ours}) == picks
        report = Selection(Embeddings.of(x), Config(select_strategy="js", select_budget=60, select_centers=ours)).report
        assert report["clusters"] == 12 and len(report["centers"]) == 32 and report["cost"]["seconds"] > 0, report
        with open(theirs, "wb") as out:
            out.write(b"no tensors")
        refused("theirs", lambda: read_centers(theirs))

    other = centers[::-1]
    parts[3] = select_part(ids[part == 3], x[part == 3], config, other)
    refused("part 3", lambda: merge(parts))
    parts[3] = select_part(ids[:5], x[:5], {"select.budget": 60})
    refused("on none", lambda: merge(parts))
    refused("the same `centers`", lambda: finalise(merge(parts[:3]), config, other))
    refused("fit_centers", lambda: select_part(ids, x, config))
    refused("values for rows", lambda: select_part(ids, x, config, centers[:, 1:]))
    refused("shape", lambda: select_part(ids, x, config, centers[0]))
    holed = centers.copy()
    holed[7, 1] = np.nan
    refused("centre 7", lambda: select_part(ids, x, config, holed))


def refused(why: str, call) -> None:
    try:
        call()
    except ValueError as e:
        assert why in str(e), e
        return
    raise AssertionError(f"a wrong call was taken: {why}")


def main() -> None:
    x, ids, config = rows(3000, 24), np.arange(3000) * 7 + 5, {"select.budget": 60}
    best = log_det(x[whole(x, 60)])

    # One part is the selection itself.
    one = finalise(merge([select_part(ids, x, config)]), config)
    assert [i for i, _ in one] == list(ids[whole(x, 60)])

    # Rows in any order, parts in any order: the same picks; the objective is what the gains say.
    part = deal(ids, 8)
    parts = [select_part(ids[part == p], x[part == p], config) for p in range(8)]
    picks = finalise(merge(parts), config)
    order = np.random.default_rng(1).permutation(3000)
    shuffled = [select_part(ids[o], x[o], config) for o in (order[part[order] == p] for p in range(7, -1, -1))]
    assert finalise(merge(shuffled), config) == picks
    found = log_det(x[[(i - 5) // 7 for i, _ in picks]])
    assert abs(found - sum(g for _, g in picks)) < 1e-6
    assert len({i for i, _ in picks}) == 60 and 0.9 * best < found <= best * (1 + 1e-9), (found, best)

    # On processes: the same.
    assert select_processes(ids, x, 8, config, processes=2) == picks

    refused("stands twice", lambda: select_part([1, 1], x[:2], config))
    refused("shape", lambda: select_part([1, 2, 3], x[:2], config))
    refused("cannot be shared", lambda: select_part(ids, x, {"select.strategy": "user_js"}))
    refused("no part", lambda: merge([]))
    # A row is named by its id, whatever its place.
    holed, zeros = x[:9].copy(), x[:9].copy()
    holed[4, 2], zeros[3] = np.inf, 0
    refused("id 33 holds", lambda: select_part(ids[:9], holed, config))
    assert 26 not in select_part(ids[:9], zeros, config).ids
    refused("whole numbers", lambda: select_part(np.array([1.0, np.nan]), x[:2], config))
    js(ids, x)
    # A part smaller than the budget gives all of its rows.
    assert len(select_part(ids[:5], x[:5], config).ids) == 5
    print("partition ok")


if __name__ == "__main__":
    main()
