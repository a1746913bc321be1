"""Reference picks of JS and FISHER, computed by numpy from the paper's formulas (§3.2) alone.

    python3 tests/oracle/select_oracle.py > tests/oracle/select.json

The matrix needs no random numbers: x[i, k] = sin(1 + 0.37 i + 1.7 k + 0.011 i k) rounded to f32, and rows 50, 60, 70 are
copies of rows 5, 6, 7. The centres are rows 0, 9, 18, 27, 36 plus 0.125. Everything else is float64.
"""
import json

import numpy as np

ROWS, DIM, BUDGET, LAMBDA, T = 120, 9, 40, 1.5, 0.4
i, k = np.arange(ROWS)[:, None], np.arange(DIM)[None, :]
x32 = np.sin(1 + 0.37 * i + 1.7 * k + 0.011 * i * k).astype(np.float32)
x32[[50, 60, 70]] = x32[[5, 6, 7]]
x = x32.astype(np.float64)
c = (x32[[0, 9, 18, 27, 36]] + np.float32(0.125)).astype(np.float64)


def argmax(scores, picked):
    scores = np.array([s if row not in picked else -np.inf for row, s in enumerate(scores)])
    # Equal rows score the same to rounding; the lowest one is meant.
    return int(np.flatnonzero(scores >= scores.max() - 1e-12)[0])


def fisher():
    """Gains as differences of log det(I + X_S' X_S): no Lambda, no update formula."""
    picks, gains, a = [], [], np.eye(DIM)
    for _ in range(BUDGET):
        now = np.linalg.slogdet(a)[1]
        scores = [np.linalg.slogdet(a + np.outer(r, r))[1] - now for r in x]
        row = argmax(scores, picks)
        picks.append(row), gains.append(scores[row])
        a += np.outer(x[row], x[row])
    return picks, gains


def js():
    """Jensen-Shannon as the mean of two Kullback-Leibler divergences."""
    e = np.exp(-np.linalg.norm(x[:, None] - c[None], axis=2) / T)
    p = e / e.sum(1, keepdims=True)
    kl = lambda a, b: float((a * np.log(a / b)).sum())
    picks, gains = [], []
    for _ in range(BUDGET):
        scores = []
        for r in p:
            score = -float((r * np.log(r)).sum())
            if picks:
                q = p[picks].mean(0)
                m = (r + q) / 2
                score += LAMBDA * (kl(r, m) + kl(q, m)) / 2
            scores.append(score)
        row = argmax(scores, picks)
        picks.append(row), gains.append(scores[row])
    return picks, gains


out = {"numpy": np.__version__, "rows": ROWS, "dim": DIM, "budget": BUDGET, "lambda": LAMBDA, "temperature": T}
for name, (picks, gains) in {"fisher": fisher(), "js": js()}.items():
    out[name] = {"picks": [int(p) for p in picks], "gains": [float(g) for g in gains]}
print(json.dumps(out))
