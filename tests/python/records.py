"""What Python programs hold their data in, added to a dataset: what passed silently, or fell out. argv: a folder."""

from __future__ import annotations

import datetime
import decimal
import json
import pathlib
import sys
import tempfile
import uuid
from typing import Any

import causerie
from domain import raises, run_all

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]
try:
    import pandas as pd
except ImportError:
    pd = None  # type: ignore[assignment]
try:
    import pyarrow as pa
except ImportError:
    pa = None

NAN = float("nan")
ITEMS = [{"item": str(i), "title": f"Title {i}"} for i in range(5)]


def _filled(table: int, rows: Any, items: Any = ()) -> causerie.Dataset:
    dataset = causerie.Dataset()
    if items:
        assert dataset.add(causerie.ITEMS, items) == 0
    assert dataset.add(table, rows) == 0
    return dataset


def records_with_nan_were_all_dropped() -> None:
    dataset = _filled(causerie.ITEMS, [{"item": "1", "title": "A", "year": NAN}, {"item": "2", "title": "B", "year": 1999.0}])
    assert dataset.items == 2 and dataset.title(0) == "A" and dataset.title(1) == "B (1999)", dataset.title(1)
    if np is not None:
        dataset = _filled(causerie.ITEMS, [{"item": np.str_("1"), "title": "A", "year": np.float32("nan")}])
        assert dataset.title(0) == "A"


def half_a_surrogate_pair_became_another_letter() -> None:
    dataset = causerie.Dataset()
    for row, at in (
        ({"item": "a", "title": "b\ud800"}, "rows[1]['title']"), ({"item": "a", "x": [{"y": "\udfff"}]}, "rows[1]['x'][0]['y']"),
        ({"item": "a", "\udc00": 1}, "rows[1]: the key"), ({"item": pathlib.Path("a\udcff")}, "rows[1]['item']"),
    ):
        error = raises(ValueError, lambda: dataset.add(causerie.ITEMS, [{"item": "é😀"}, row]), at, "surrogate")  # noqa: B023
        str(error).encode()
    raises(ValueError, lambda: dataset.add(causerie.ITEMS, '{"item": "a\ud800"}'), "surrogate")
    raises(ValueError, lambda: causerie.Query([{"role": "user", "text": "\ud800"}]), "the query['turns'][0]['text']")
    assert dataset.items == 0
    assert _filled(causerie.ITEMS, [{"item": "1", "title": "é\u2028😀"}]).title(0) == "é\u2028😀"


def of_two_columns_of_one_name_one_was_passed_over() -> None:
    dataset = causerie.Dataset()
    if pd is not None:
        frame = pd.DataFrame([["a", "b", "T"]], columns=["item", "item", "title"])
        raises(ValueError, lambda: dataset.add(causerie.ITEMS, frame), "item")
    if pa is not None:
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["item", "item"])
        raises(ValueError, lambda: dataset.add(causerie.ITEMS, table), "item")
    assert dataset.items == 0


def rows_that_are_all_bad_passed_silently() -> None:
    dataset = causerie.Dataset()
    raises(causerie.Error, lambda: dataset.add(causerie.ITEMS, [{"itm": "1", "title": "x"}]), "item", code=causerie.FORMAT)
    assert dataset.items == 0 and dataset.dropped == 0


def rows_that_are_dropped_are_counted_in_what_add_returns() -> None:
    dataset = causerie.Dataset()
    assert dataset.add(causerie.ITEMS, ITEMS) == 0
    assert dataset.add(causerie.ITEMS, [{"item": "5"}, {"itm": "6"}, {"item": NAN}]) == 2
    assert dataset.add(causerie.REVIEWS, [{"item": "1", "text": "Good, and long enough to keep"}, {"item": "99", "text": "About nothing"}]) == 1
    assert dataset.dropped == 3 and dataset.items == 6 and dataset.reviews == 1, (dataset, dataset.report)
    assert dataset.report["bad_lines"] == 2
    assert repr(dataset) == "Dataset(6 items, 1 reviews, 0 interactions)"
    dataset.close()
    assert repr(dataset) == "Dataset(closed)"


def values_of_the_standard_library_are_written_as_what_they_mean() -> None:
    key = uuid.UUID(int=7)
    items: list[dict[str, Any]] = [
        {"item": key, "title": "A", "year": datetime.date(1999, 3, 1), "price": decimal.Decimal("12.5")},
        {"item": decimal.Decimal(8), "title": pathlib.PurePosixPath("b/c"), "year": decimal.Decimal("NaN"), "genres": ("x", None)},
    ]
    dataset = _filled(causerie.ITEMS, items)
    assert dataset.title(0) == "A (1999)" and dataset.title(1) == "b/c"
    at = datetime.datetime(2019, 1, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    reviews = [{"item": key, "user": 3, "text": "Good, and long enough to keep", "timestamp": t} for t in (at, at.replace(tzinfo=None), at.date())]
    dataset = _filled(causerie.REVIEWS, reviews, items)
    assert dataset.reviews == 3


def what_cannot_be_written_names_its_row_and_key() -> None:
    dataset = causerie.Dataset()
    for wrong, words in (
        ([{"item": "1"}, {"item": "2", "year": 1j}], ("rows[1]['year']", "complex")),
        ([{"item": "1", "genres": ["x", {"y"}]}], ("rows[0]['genres'][1]", "set")),
        ([{"item": b"1"}], ("rows[0]['item']", "bytes")),
        ([{"item": object()}], ("rows[0]['item']", "object")),
        ([{1: "x"}], ("rows[0]", "key 1")),
        (["item"], ("rows[0]", "str")),
        ([["item", "1"]], ("rows[0]", "list")),
        ({"item": "1"}, ("list of one",)),
        (7, ()),
    ):
        raises(TypeError, lambda: dataset.add(causerie.ITEMS, wrong), *words)  # type: ignore[arg-type] # noqa: B023
    raises(ValueError, lambda: dataset.add(causerie.ITEMS, [{"item": "1", "price": float("inf")}]), "rows[0]['price']", "inf")
    endless: dict[str, Any] = {"item": "1"}
    endless["genres"] = [endless]
    raises(ValueError, lambda: dataset.add(causerie.ITEMS, [endless]), "rows[0]", "itself")
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    raises(ValueError, lambda: dataset.add(causerie.ITEMS, [{"item": "1", "genres": deep}]), "rows[0]", "deep")
    while isinstance(deep, list):  # Python frees what is deep by recursion
        deep = deep.pop()
    assert dataset.items == 0


def text_and_bytes_go_as_they_are() -> None:
    lines = "\n".join(map(json.dumps, ITEMS))
    for given in (lines, lines.encode(), bytearray(lines.encode()), memoryview(lines.encode()), iter(ITEMS), tuple(ITEMS)):
        assert _filled(causerie.ITEMS, given).items == 5
    dataset = _filled(causerie.INTERACTIONS, "user,item,rating\na,1,5\nb,2,4\n", ITEMS)
    assert dataset.interactions == 2
    dataset = causerie.Dataset()
    assert dataset.add(causerie.ITEMS, "") == 0 and dataset.add(causerie.ITEMS, []) == 0


def scalars_of_numpy_are_numbers() -> None:
    if np is None:
        return
    items = [
        {"item": np.int64(7), "title": "A", "year": np.int16(1999), "price": np.float16(2.5), "genres": np.array(["x", "y"])},
        {"item": np.uint8(8), "title": "B", "year": np.datetime64("2001-05-05"), "keywords": np.array([1, 2])},
        {"item": np.array(9), "title": "C", "year": np.datetime64("NaT"), "price": np.longdouble(2)},
    ]
    dataset = _filled(causerie.ITEMS, items)
    assert [dataset.title(i) for i in range(3)] == ["A (1999)", "B (2001)", "C"]
    reviews = [{"item": 7, "text": "Good, and long enough to keep", "timestamp": t, "rating": np.float32(4)} for t in (
        np.datetime64("2019-01-30T01:00:00.123456789"), np.datetime64("NaT", "ns"), np.datetime64("2019-01-30"))]
    assert _filled(causerie.REVIEWS, reviews, items).reviews == 3
    raises(TypeError, lambda: causerie.Dataset().add(causerie.ITEMS, [{"item": np.complex64(1)}]), "rows[0]['item']", "numpy.complex64")


def frames_of_pandas_are_read_with_and_without_pyarrow() -> None:
    if pd is None:
        return
    items = pd.DataFrame({
        "item": [1, 2, 3], "title": ["A", "B", None], "year": [NAN, 1999, 2001], "genres": [["x"], [], None],
        "price": pd.array([1, None, 3], dtype="Int64"), "seen": pd.to_datetime(["2019-01-30", None, "2020-01-01"]),
    })
    mixed = items.assign(genres=[["x"], "y", 7.0])  # no one type: Arrow has none for it
    for frame in (items, mixed, items.to_dict("records")):
        dataset = _filled(causerie.ITEMS, frame)
        assert [dataset.title(i) for i in range(2)] == ["A", "B (1999)"], [dataset.title(i) for i in range(2)]
        assert dataset.items == 3
        reviews = pd.DataFrame({
            "item": [1, 2, 3], "user": ["u", None, "w"], "text": ["Good, and long enough to keep"] * 3, "rating": [5, NAN, 1],
            "timestamp": pd.to_datetime(["2019-01-30", None, "2020-01-01"]),
        })
        for given in (reviews, reviews.to_dict("records")):
            assert dataset.add(causerie.REVIEWS, given) == 0
        assert dataset.reviews == 6
    rows = causerie.Embeddings.of(pd.DataFrame(np.eye(3)))
    assert rows.shape == (3, 3)
    ids = pd.Series(["1", "2"])
    causerie.Query("x", exclude=ids, allow=pd.Series([True, False, True]))


def types_of_arrow_that_databases_give_are_read() -> None:
    if pa is None:
        return
    day = datetime.date(2019, 1, 30)
    items = pa.table({"item": ["1", "2"], "title": ["A", "B"], "price": pa.array([decimal.Decimal("12.50"), None], pa.decimal128(9, 2))})
    dataset = _filled(causerie.ITEMS, items)
    for kind in (pa.date32(), pa.date64(), pa.timestamp("us"), pa.timestamp("ns", "UTC")):
        reviews = pa.table({
            "item": ["1", "2"], "text": ["Good, and long enough to keep"] * 2, "rating": pa.array([4.0, None], pa.float16()),
            "timestamp": pa.array([day, None], pa.date32()).cast(kind),
        })
        assert dataset.add(causerie.REVIEWS, reviews) == 0, kind
        assert dataset.add(causerie.REVIEWS, reviews.to_batches()[0]) == 0, kind
    assert dataset.reviews == 16
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        values = pa.array([[1.0, 0.5], [0.25, 1.0]], pa.list_(kind, 2))
        assert causerie.Embeddings.of(pa.table({"embedding": values})).values.tolist() == [[1.0, 0.5], [0.25, 1.0]]
    raises(causerie.Error, lambda: dataset.add(causerie.ITEMS, pa.table({"itm": ["1"]})), "item")
    nothing = pa.table({"item": pa.nulls(3, pa.string()), "title": ["a", "b", "c"]})
    raises(causerie.Error, lambda: causerie.Dataset().add(causerie.ITEMS, nothing), code=causerie.FORMAT)


def _attributes(dataset: causerie.Dataset) -> Any:
    """The hash of what its items' attributes are; None: they have none."""
    with tempfile.TemporaryDirectory() as folder:
        dataset.save(folder)
        columns = json.loads((pathlib.Path(folder) / "manifest.json").read_text())["columns"]
    return columns.get("item_attributes")


def attributes_come_as_objects_structs_maps_and_text() -> None:
    given = [{"Brand": "Acme", "Colour": ["red", "blue"], "Legs": 4}, {"Brand": None, "Colour": [], "Legs": None}]
    plain = [{"item": str(i), "attributes": a} for i, a in enumerate(given)]
    wanted = _attributes(_filled(causerie.ITEMS, plain))
    assert wanted is not None and _attributes(_filled(causerie.ITEMS, [{"item": "0"}, {"item": "1"}])) is None
    if pa is None:
        return
    ids = pa.array(["0", "1"])
    entries = [[("Brand", ["Acme"]), ("Colour", ["red", "blue"]), ("Legs", ["4"])], None]
    for column in (
        pa.array(given),
        pa.chunked_array([pa.array([{"Brand": "x"}] + given).slice(1)]),
        pa.array(entries, pa.map_(pa.string(), pa.list_(pa.string()))),
        pa.array([json.dumps(a) for a in given]),
    ):
        table = pa.table({"item": ids, "attributes": column})
        assert _attributes(_filled(causerie.ITEMS, table)) == wanted, column.type
    # What is no attribute costs itself.
    for column in (pa.array([1, 2]), pa.array([[1], [2]]), pa.array([{"at": datetime.date(2020, 1, 1)}, None]), pa.array(["x", "{"])):
        dataset = _filled(causerie.ITEMS, pa.table({"item": ids, "attributes": column}))
        assert dataset.items == 2 and dataset.dropped == 0 and _attributes(dataset) is None, column.type


def a_column_of_billions_of_nulls_aborted_the_process() -> None:
    if pa is None:
        return
    nulls = pa.nulls(2**32)
    batch = pa.RecordBatch.from_arrays([nulls, nulls], names=["item", "title"])
    raises(causerie.Error, lambda: causerie.Dataset().add(causerie.ITEMS, batch))


def rows_of_embeddings_are_numbers_of_one_length() -> None:
    raises(ValueError, lambda: causerie.Embeddings.of([[1.0, 2.0], [1.0]]))
    if np is None:
        return
    raises(ValueError, lambda: causerie.Embeddings.of(np.ones(3)), "[rows, dim]")
    raises(TypeError, lambda: causerie.Embeddings.of(np.ones((2, 2), complex)), "complex")
    raises(TypeError, lambda: causerie.Embeddings.of([["a", "b"]]))
    e = causerie.Embeddings.of(np.eye(3, dtype="f8")[::-1])
    assert np.asarray(e).base is not None and np.asarray(e, "f8").dtype == "f8" and np.array(e).flags.writeable
    assert not e.values.flags.writeable and (e.values == np.eye(3)[::-1]).all()


def main() -> None:
    run_all(globals())
    print("records ok", "with" if np is not None else "without", "numpy")


if __name__ == "__main__":
    main()
