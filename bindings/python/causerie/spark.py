"""Selection on a Spark cluster, in the two rounds of `causerie.partition`.

    from causerie import spark
    picks = spark.select(df, budget=5000, parts=64)     # df: id (long), embedding (array<float>)
    picks = spark.select(df, budget=5000, parts=64, strategy="js", select_clusters=100)

`picks` is a DataFrame (rank, id, gain). Needs pyspark 3.4 or newer with pandas and pyarrow, numpy, and this package with its library on
every executor. The rows of one part must fit an executor's memory; those of all parts never meet: the second round sees
parts x budget rows at most. `js` needs the same clusters everywhere: their centres are fitted on the driver from a sample of the
rows (`fit_centers`), and go to the executors with the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["fit_centers", "select"]

_PICKED = "part long, id long, gain double, embedding array<float>"
_FINAL = "rank long, id long, gain double"


def _matrix(column: Any) -> Any:
    """An Arrow column of lists of floats as [n, dim] f32."""
    import numpy as np

    values = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if values.null_count or values.flatten().null_count:
        raise ValueError("an embedding is null, or holds a null")
    flat = np.asarray(values.flatten(), np.float32)
    if len(values) == 0:
        return flat.reshape(0, 0)
    if len(flat) % len(values):
        raise ValueError("embeddings of different lengths")
    rows = flat.reshape(len(values), -1)
    lengths = np.asarray(values.value_lengths())
    if (lengths != rows.shape[1]).any():
        raise ValueError("embeddings of different lengths")
    return rows


def _ids(table: Any) -> Any:
    import numpy as np

    column = table.column("id").combine_chunks()
    if column.null_count:
        raise ValueError("an id is null, or no whole number")
    return np.asarray(column)


def _table(batches: "Iterator[Any]") -> Any:
    import pyarrow as pa

    held = list(batches)
    return pa.Table.from_batches(held) if held else None


def _lists(rows: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    offsets = np.arange(0, rows.size + 1, rows.shape[1] or 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel()))


def _bytes(batches: "Iterator[Any]") -> "Iterator[Any]":
    """Rows as bytes of f32: a million numbers are not to become as many objects."""
    import pyarrow as pa

    table = _table(batches)
    if table is None or table.num_rows == 0:
        return
    rows = _matrix(table.column("embedding"))
    columns = [pa.array(_ids(table)), pa.array([row.tobytes() for row in rows], pa.binary())]
    yield pa.RecordBatch.from_arrays(columns, names=["id", "row"])


# What both rounds are given, centres among it, is pickled with them; Spark broadcasts what is large by itself.
def _first_round(config: "dict[str, Any]", centers: Any) -> Any:
    def select_here(batches: "Iterator[Any]") -> "Iterator[Any]":
        import numpy as np
        import pyarrow as pa
        from causerie.partition import select_part
        from pyspark import TaskContext

        table = _table(batches)
        if table is None or table.num_rows == 0:
            return
        part = select_part(_ids(table), _matrix(table.column("embedding")), config, centers)
        context = TaskContext.get()
        number = context.partitionId() if context is not None else 0
        columns = [pa.array(np.full(len(part.ids), number)), pa.array(part.ids), pa.array(part.gains), _lists(part.rows)]
        yield pa.RecordBatch.from_arrays(columns, names=["part", "id", "gain", "embedding"])

    return select_here


def _second_round(config: "dict[str, Any]", centers: Any) -> Any:
    def select_here(batches: "Iterator[Any]") -> "Iterator[Any]":
        import numpy as np
        import pyarrow as pa
        from causerie.partition import Part, finalise, hash_of, merge

        table = _table(batches)
        if table is None or table.num_rows == 0:
            return
        number, ids, gains = (np.asarray(table.column(c).combine_chunks()) for c in ("part", "id", "gain"))
        rows = _matrix(table.column("embedding"))
        known = "" if centers is None else hash_of(centers)
        parts = []
        for p in np.unique(number):
            at = np.flatnonzero(number == p)
            parts.append(Part(ids[at], rows[at], gains[at], known))
        picks = finalise(merge(parts), config, centers)
        columns = [
            pa.array(np.arange(len(picks))), pa.array([p[0] for p in picks], pa.int64()),
            pa.array([p[1] for p in picks], pa.float64()),
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["rank", "id", "gain"])

    return select_here


def _rows(df: "DataFrame", id_column: str, embedding_column: str) -> "DataFrame":
    from pyspark.sql import functions as f

    return df.select(
        f.col(id_column).cast("long").alias("id"), f.col(embedding_column).cast("array<float>").alias("embedding")
    )


def _settings(settings: "dict[str, Any]") -> "dict[str, Any]":
    return {key.replace("_", ".", 1): value for key, value in settings.items()}


def fit_centers(
    df: "DataFrame", sample: int = 50_000, id_column: str = "id", embedding_column: str = "embedding", **settings: Any
) -> Any:
    """The centres [clusters, dim] of `js`, a numpy array, fitted on the driver from `sample` rows of `df` by mini-batch K-means.

    The sample is the same on any cluster: rows by a hash of their id. Settings by name: `select_clusters=100`,
    `select_seed=1`, `select_kmeans_batch` (10,000 unless said otherwise; 0: all rows of the sample in every round).
    """
    import numpy as np
    from pyspark.sql import functions as f

    from . import partition

    if sample < 1:
        raise ValueError("sample is at least 1")
    config = {"select.kmeans_batch": 10_000, **_settings(settings)}
    rows = _rows(df, id_column, embedding_column).orderBy(f.xxhash64("id"), "id").limit(sample)
    drawn = rows.mapInArrow(_bytes, "id long, row binary").collect()
    if not drawn:
        raise ValueError("there are no rows to fit centres on")
    if len({len(one.row) for one in drawn}) > 1:
        raise ValueError("embeddings of different lengths")
    values = np.stack([np.frombuffer(one.row, np.float32) for one in sorted(drawn, key=lambda one: one.id)])
    return partition.fit_centers(values, config)


def select(
    df: "DataFrame", budget: int, parts: int, strategy: str = "fisher", id_column: str = "id",
    embedding_column: str = "embedding", centers: Any = None, sample: int = 50_000, **settings: Any,
) -> "DataFrame":
    """Selects `budget` rows of `df` in two rounds: a DataFrame (rank, id, gain), most informative first.

    `df` has a column of unique long ids and one of array<float>, all of one length, none null. `parts`: how many share the
    work; rows are dealt to them by a hash of the id, so the same data give the same picks on any cluster. Further settings by
    name: `select_seed=1`. Each executor core takes one thread, unless `run_threads` says otherwise.

    `js`: `centers` [clusters, dim], or a file on the driver as `select_centers`; without either they are fitted when this is
    called, by `fit_centers` on `sample` rows.
    """
    from .partition import centers_of, settings_of

    if budget < 1 or parts < 1:
        raise ValueError("budget and parts are at least 1")
    config: "dict[str, Any]" = {"run.threads": 1, "select.strategy": strategy, "select.budget": budget}
    config.update(_settings(settings))
    settings_of(config)
    if config["select.strategy"] == "js" and centers is None and not config.get("select.centers"):
        centers = fit_centers(df, sample, id_column, embedding_column, **settings)
    centers = centers_of(config, centers)
    # By what they hold: executors need not see the driver's files.
    config.pop("select.centers", None)
    rows = _rows(df, id_column, embedding_column)
    picked = rows.repartition(parts, "id").mapInArrow(_first_round(config, centers), _PICKED)
    return picked.coalesce(1).mapInArrow(_second_round(config, centers), _FINAL)
