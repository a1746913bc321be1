"""Selection on a Spark cluster, in the two rounds of `causerie.partition`.

    from causerie import spark
    picks = spark.select(df, budget=5000, parts=64)     # df: id (long), embedding (array<float>)

`picks` is a DataFrame (rank, id, gain). Needs pyspark 3.4 or newer with pandas and pyarrow, numpy, and this package with its library on
every executor. The rows of one part must fit an executor's memory; those of all parts never meet: the second round sees
parts x budget rows at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["select"]

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


def _table(batches: "Iterator[Any]") -> Any:
    import pyarrow as pa

    held = list(batches)
    return pa.Table.from_batches(held) if held else None


def _lists(rows: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    offsets = np.arange(0, rows.size + 1, rows.shape[1] or 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel()))


def _first_round(config: "dict[str, Any]") -> Any:
    def select_here(batches: "Iterator[Any]") -> "Iterator[Any]":
        import numpy as np
        import pyarrow as pa
        from causerie.partition import select_part
        from pyspark import TaskContext

        table = _table(batches)
        if table is None or table.num_rows == 0:
            return
        part = select_part(np.asarray(table.column("id").combine_chunks()), _matrix(table.column("embedding")), config)
        context = TaskContext.get()
        number = context.partitionId() if context is not None else 0
        columns = [pa.array(np.full(len(part.ids), number)), pa.array(part.ids), pa.array(part.gains), _lists(part.rows)]
        yield pa.RecordBatch.from_arrays(columns, names=["part", "id", "gain", "embedding"])

    return select_here


def _second_round(config: "dict[str, Any]") -> Any:
    def select_here(batches: "Iterator[Any]") -> "Iterator[Any]":
        import numpy as np
        import pyarrow as pa
        from causerie.partition import Part, finalise, merge

        table = _table(batches)
        if table is None or table.num_rows == 0:
            return
        number, ids, gains = (np.asarray(table.column(c).combine_chunks()) for c in ("part", "id", "gain"))
        rows = _matrix(table.column("embedding"))
        parts = []
        for p in np.unique(number):
            at = np.flatnonzero(number == p)
            parts.append(Part(ids[at], rows[at], gains[at]))
        picks = finalise(merge(parts), config)
        columns = [
            pa.array(np.arange(len(picks))), pa.array([p[0] for p in picks], pa.int64()),
            pa.array([p[1] for p in picks], pa.float64()),
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["rank", "id", "gain"])

    return select_here


def select(
    df: "DataFrame", budget: int, parts: int, strategy: str = "fisher", id_column: str = "id",
    embedding_column: str = "embedding", **settings: Any,
) -> "DataFrame":
    """Selects `budget` rows of `df` in two rounds: a DataFrame (rank, id, gain), most informative first.

    `df` has a column of unique long ids and one of array<float>, all of one length, none null. `parts`: how many share the
    work; rows are dealt to them by a hash of the id, so the same data give the same picks on any cluster. Further settings by
    name: `select_seed=1`. Each executor core takes one thread, unless `run_threads` says otherwise.
    """
    from pyspark.sql import functions as f

    from .partition import settings_of

    if budget < 1 or parts < 1:
        raise ValueError("budget and parts are at least 1")
    config: "dict[str, Any]" = {"run.threads": 1, "select.strategy": strategy, "select.budget": budget}
    config.update({key.replace("_", ".", 1): value for key, value in settings.items()})
    settings_of(config)
    rows = df.select(
        f.col(id_column).cast("long").alias("id"), f.col(embedding_column).cast("array<float>").alias("embedding")
    )
    picked = rows.repartition(parts, "id").mapInArrow(_first_round(config), _PICKED)
    return picked.coalesce(1).mapInArrow(_second_round(config), _FINAL)
