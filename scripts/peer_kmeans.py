"""K-means beside `causerie bench select --what kmeans`, on one safetensors matrix: faiss and scikit-learn.

    python3 -m venv v && v/bin/pip install numpy threadpoolctl faiss-cpu scikit-learn
    v/bin/python scripts/peer_kmeans.py faiss|sklearn|sklearn-batch x.safetensors --clusters 100 --threads 2
Prints one JSON line: seconds, inertia over all rows (as `objective` too), rounds.
"""

import argparse
import json
import time

import numpy as np

p = argparse.ArgumentParser()
p.add_argument("what", choices=["faiss", "faiss-all", "sklearn", "sklearn-batch"])
p.add_argument("file")
p.add_argument("--clusters", type=int, default=100)
p.add_argument("--rounds", type=int, default=20)
p.add_argument("--batch", type=int, default=10_000)
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()

n = int.from_bytes(open(a.file, "rb").read(8), "little")
header = json.loads(open(a.file, "rb").read(8 + n)[8:])
name = next(k for k in header if k != "__metadata__")
x = np.fromfile(a.file, np.float32, offset=8 + n).reshape(header[name]["shape"])

cpu, begun, rounds = time.process_time(), time.perf_counter(), a.rounds
if a.what.startswith("faiss"):
    import faiss

    faiss.omp_set_num_threads(a.threads)
    most = len(x) if a.what == "faiss-all" else 256  # faiss looks at 256 rows a centre unless told otherwise
    km = faiss.Kmeans(x.shape[1], a.clusters, niter=a.rounds, seed=0, max_points_per_centroid=most)
    km.train(x)
    centres = km.centroids
else:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(a.threads):
        if a.what == "sklearn":
            km = KMeans(a.clusters, n_init=1, random_state=0, max_iter=300).fit(x)
        else:
            km = MiniBatchKMeans(a.clusters, n_init=1, random_state=0, batch_size=a.batch).fit(x)
    centres, rounds = km.cluster_centers_, int(km.n_iter_)
seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu

inertia = 0.0
lengths = (centres.astype("f8") ** 2).sum(1)
for s in range(0, len(x), 20_000):
    b = x[s : s + 20_000].astype("f8")
    inertia += float(((b**2).sum(1) + (lengths - 2 * b @ centres.T.astype("f8")).min(1)).sum())
print(json.dumps(dict(what=a.what, rows=len(x), dim=x.shape[1], clusters=a.clusters, seconds=round(seconds, 3),
                      cpu_seconds=round(cpu, 2), rounds=rounds, inertia=round(inertia, 2), objective=round(inertia, 2))))
