"""Selection by Spark, master `local[2]`: run by tests/abi/package.rs where pyspark and java are, or by hand."""

import os
import sys
import tempfile

import numpy as np
from pyspark.sql import SparkSession

from causerie import spark
from causerie.partition import finalise, merge, select_part
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
    try:
        select(2, strategy="js")
        raise AssertionError("js was taken")
    except ValueError as e:
        assert "select --partition" in str(e), e
    session.stop()
    print("spark ok")


if __name__ == "__main__":
    main()
