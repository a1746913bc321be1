"""Selection by Spark, master `local[2]`: run by tests/abi/package.rs where pyspark and java are, or by hand."""

import os
import sys
import tempfile

import numpy as np
from pyspark.sql import SparkSession

from causerie import spark
from causerie import Config, Embeddings, Selection
from causerie.partition import finalise, fit_centers, merge, select_part
from test_partition import log_det, rows, whole


def main() -> None:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    scratch = tempfile.mkdtemp()
    session = (
        SparkSession.builder.master("local[2]").appName("causerie").config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "4").config("spark.local.dir", scratch)
        .config("spark.sql.warehouse.dir", scratch).getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    x = rows(1200, 16)
    data = [(int(i) * 3, [float(v) for v in x[i]]) for i in np.random.default_rng(2).permutation(1200)]
    df = session.createDataFrame(data, "review long, vector array<float>")

    def select(parts: int, **more):
        found = spark.select(df, 40, parts, id_column="review", embedding_column="vector", **more)
        return [(r.id, r.gain) for r in found.orderBy("rank").collect()]

    # One part: the selection of one machine.
    assert [i // 3 for i, _ in select(1)] == list(whole(x, 40))
    picks = select(5)
    assert len({i for i, _ in picks}) == 40
    best, found = log_det(x[whole(x, 40)]), log_det(x[[i // 3 for i, _ in picks]])
    assert 0.9 * best < found <= best * (1 + 1e-9), (found, best)
    # However the rows lie: the same picks.
    df = df.repartition(3, "vector")
    assert select(5) == picks
    # The same parts on plain processes: the same picks.
    from pyspark.sql import functions as f

    dealt = df.repartition(5, "review").select("review", f.spark_partition_id().alias("part")).collect()
    part = {r.review: r.part for r in dealt}
    ids = np.arange(1200) * 3
    of = np.array([part[int(i)] for i in ids])
    config = {"select.budget": 40}
    assert finalise(merge([select_part(ids[of == p], x[of == p], config) for p in range(5)]), config) == picks
    assert len(select(3, strategy="random", select_seed=4)) == 40

    # JS: centres from a sample that is all rows here are those of K-means on one machine; sent by what they hold.
    clusters = {"select_clusters": 10, "select_kmeans_batch": 500}
    settings = {"select.strategy": "js", "select.budget": 40, "select.clusters": 10, "select.kmeans_batch": 500}
    centers = spark.fit_centers(df, id_column="review", embedding_column="vector", **clusters)
    assert (centers == fit_centers(x, settings)).all()
    alone = Selection(Embeddings.of(x), Config(select_strategy="js", select_budget=40, **clusters))
    one = select(1, strategy="js", **clusters)
    assert [i // 3 for i, _ in one] == list(np.array(alone.rows, np.int64))
    js = select(5, strategy="js", **clusters)
    assert len({i for i, _ in js}) == 40 and sum(g for _, g in js) > 0.98 * sum(alone.gains)
    parts = [select_part(ids[of == p], x[of == p], settings, centers) for p in range(5)]
    assert finalise(merge(parts), settings, centers) == js
    assert select(5, strategy="js", centers=centers, select_clusters=3) == js
    # However the rows lie, and from a part of them: the same picks.
    few = select(5, strategy="js", sample=300, **clusters)
    df = df.repartition(7, "vector")
    assert select(5, strategy="js", **clusters) == js
    assert select(5, strategy="js", sample=300, **clusters) == few and len({i for i, _ in few}) == 40
    for wrong, why in (
        ({"strategy": "user_js"}, "cannot be shared"), ({"strategy": "js", "centers": centers[0]}, "shape"),
        ({"strategy": "js", "sample": 0}, "sample"),
    ):
        try:
            select(2, **wrong)
            raise AssertionError(f"{wrong} was taken")
        except ValueError as e:
            assert why in str(e), e
    # A missing id is no id.
    missing = session.createDataFrame([(None, [1.0, 0.0]), (1, [0.0, 1.0])], "id long, embedding array<float>")
    try:
        spark.select(missing, 1, 1).collect()
        raise AssertionError("a null id was taken")
    except Exception as e:
        assert "an id is null" in str(e), e
    session.stop()
    print("spark ok")


if __name__ == "__main__":
    main()
