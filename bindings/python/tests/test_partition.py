"""Selection in parts, on plain processes: run by tests/abi/package.rs, or by hand with CAUSERIE_LIBRARY set."""

import numpy as np

from causerie import Config, Embeddings, Selection
from causerie.partition import deal, finalise, merge, select_part, select_processes


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

    for wrong in (
        lambda: select_part([1, 1], x[:2], config),
        lambda: select_part([1, 2, 3], x[:2], config),
        lambda: select_part(ids, x, {"select.strategy": "js"}),
        lambda: merge([]),
    ):
        try:
            wrong()
        except ValueError:
            continue
        raise AssertionError("a wrong call was taken")
    # A part smaller than the budget gives all of its rows.
    assert len(select_part(ids[:5], x[:5], config).ids) == 5
    print("partition ok")


if __name__ == "__main__":
    main()
