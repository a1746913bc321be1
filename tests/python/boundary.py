"""What crashed, hung or passed silently when the package was tried as new and as hostile users would. argv: a folder."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import causerie
from domain import Domain, domain, raises, recommender, run_all

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

SECONDS = 1.5


def _at_once(*works: Callable[[], Any], seconds: float = SECONDS) -> "dict[str, int]":
    """Each work over and over on a thread of its own; how often each ended, and how it failed."""
    stop, counts, lock = threading.Event(), {}, threading.Lock()  # type: ignore[var-annotated]

    def go(work: Callable[[], Any]) -> None:
        while not stop.is_set():
            try:
                work()
                how = work.__name__
            except causerie.Error as e:
                how = f"{work.__name__}: {e.code}"
            except ValueError:
                how = f"{work.__name__}: closed"
            with lock:
                counts[how] = counts.get(how, 0) + 1

    threads = [threading.Thread(target=go, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return counts


def a_recommender_closed_while_it_was_in_use_was_freed_under_its_callers(d: Domain) -> None:
    r = recommender(d)

    def ask() -> None:
        r.recommend("something dark and slow", 5)

    closing = threading.Timer(SECONDS / 2, r.close)
    closing.start()
    counts = _at_once(*[ask] * 8)
    assert counts.keys() == {"ask", f"ask: {causerie.CLOSED}"}, counts
    raises(ValueError, lambda: r.recommend("x"), "closed")


def settings_set_while_they_were_read_corrupted_the_heap(d: Domain) -> None:
    config = causerie.Config()

    def write() -> None:
        config["dataset.reviews"] = "x" * (time.monotonic_ns() % 3000)
        config["evaluate.conversations"] = ["a" * (time.monotonic_ns() % 50)] * 30

    def read() -> None:
        config.toml, config["dataset.reviews"]

    counts = _at_once(write, write, read, read)
    assert counts["read"] > 0 and counts["write"] > 0, counts
    assert counts.keys() <= {"read", "write", f"read: {causerie.BUSY}", f"write: {causerie.BUSY}"}, counts


def a_query_that_grew_while_it_was_asked_crashed(d: Domain) -> None:
    r, query = recommender(d), causerie.Query("something funny")

    def ask() -> None:
        r.recommend(query, 3)

    def grow() -> None:
        for i in range(50):
            query.turn("user", f"I like {i} ")
        query.clear()

    counts = _at_once(ask, ask, ask, grow)
    assert counts["ask"] > 0 and counts.keys() <= {"ask", "grow", f"ask: {causerie.BUSY}", f"grow: {causerie.BUSY}"}, counts


def items_added_while_a_recommender_was_asked_crashed_it(d: Domain) -> None:
    r, number = recommender(d), iter(range(10**9))

    def ask() -> None:
        r.recommend("something funny", 3)

    def add() -> None:
        assert r.add([{"item": f"new-{next(number)}", "title": "Another", "plot": "A funny one"}]) == 0

    counts = _at_once(ask, ask, ask, add)
    assert counts.keys() == {"ask", "add"} and len(r) == d.dataset.items + counts["add"], counts


def a_view_whose_handle_was_closed_read_freed_memory(d: Domain) -> None:
    rows = [[float(i % 7 + 1), float(i % 11)] for i in range(50_000)]
    with causerie.Embeddings.of(rows) as e:
        values = e.values
        selection = causerie.Selection(e, causerie.Config(select_budget=5, select_strategy="random"))
    picked, gains = selection.rows, selection.gains
    selection.close()
    gc.collect()
    assert values[49_999, 0] == rows[-1][0] and len(picked) == 5 and len(gains) == 5
    raises(ValueError, lambda: e.values, "closed")
    raises(ValueError, lambda: selection.rows, "closed")


def handles_that_were_copied_or_pickled_were_freed_twice(d: Domain) -> None:
    for handle in (d.config, d.dataset, d.embeddings, d.selection, d.dialogues, d.model, causerie.Query(), causerie.Run()):
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            raises(TypeError, lambda: way(handle), type(handle).__name__)  # noqa: B023
    error = raises(causerie.Error, lambda: d.config["nothing"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is causerie.Error and again.code == error.code and str(again) == str(error)  # type: ignore[attr-defined]


def a_seen_id_and_a_text_where_a_list_is_meant_were_passed_over(d: Domain) -> None:
    r = recommender(d)
    top = r.recommend("something funny", 1)[0]
    for seen in ([{"id": top.item}], [{"item": top.item}], [top.item], [{"title": top.title, "year": top.year}]):
        assert top.item not in [i.item for i in r.recommend("something funny", 60, seen=seen)], seen
    for wrong in ([{}], [{"idd": top.item}], [{"id": top.item, "why": 1}], [{"year": 1999}], [7], [[top.item]]):
        raises(causerie.Error, lambda: r.recommend("x", 1, seen=wrong), code=causerie.INVALID)  # type: ignore[arg-type] # noqa: B023
    for name in ("seen", "exclude", "allow"):
        raises(TypeError, lambda: r.recommend("x", 1, **{name: top.item}), name, "list")  # type: ignore[arg-type] # noqa: B023
        raises(TypeError, lambda: r.recommend("x", 1, **{name: {"id": top.item}}), name)  # type: ignore[arg-type] # noqa: B023
    raises(TypeError, lambda: r.recommend({"role": "user", "text": "x"}), "turns")  # type: ignore[arg-type]
    raises(causerie.Error, lambda: r.recommend([{"role": "user", "words": "x"}]), code=causerie.INVALID)
    for request in ('{"turns": [], "sene": []}', '{"turns": [], "exclude": "x"}', "{}", "[7]", "x", '{"turns": [], "explain": -1}'):
        raises(causerie.Error, lambda: causerie.Query.parse(request), code=causerie.INVALID)  # noqa: B023
    asked = causerie.Query.parse(f'{{"turns": [{{"role": "user", "text": "something funny"}}], "seen": ["{top.item}"], "allow": ["{top.item}"]}}')
    assert r.recommend(asked) == []
    for name in ("exclude", "allow"):
        for wrong in ([1, 2], [None], [True, "x"], [1.5]):
            raises(TypeError, lambda: r.recommend("x", 1, **{name: wrong}), f"{name}[")  # type: ignore[arg-type] # noqa: B023


def masks_by_id_by_row_and_by_booleans_say_the_same(d: Domain) -> None:
    r = recommender(d)
    ids, n = r.ids, len(r)
    whole = [i.item for i in r.recommend("something funny", n)]
    rows = [r.find(item) for item in whole[:4]]
    some = [i in rows for i in range(n)]
    spellings: list[Any] = [whole[:4], tuple(whole[:4]), set(whole[:4]), some]
    if np is not None:
        spellings += [np.array(rows), np.array(rows, np.uint8), np.array(some), np.array(whole[:4]), [np.bool_(b) for b in some]]
    else:
        spellings += [r.rank("something funny", 4)[0]]
    query = causerie.Query("something funny")
    for spelling in spellings:
        assert [i.item for i in r.recommend("something funny", n, exclude=spelling)] == whole[4:], spelling
        assert [i.item for i in r.recommend("something funny", n, allow=spelling)] == whole[:4], spelling
        assert [i.item for i in r.recommend(query.allow(spelling), n)] == whole[:4], spelling
        query.clear().turn("user", "something funny")
    for row, score in enumerate(r.score("something funny", exclude=some)):
        assert (score == -float("inf")) == (row in rows)
    assert [r.find(item) for item in ids] == list(range(n))
    # Nothing is allowed.
    for nothing in [[], (), set(), [False] * n] + ([np.array([]), np.array([], int), np.zeros(n, bool)] if np else []):
        assert r.recommend("something funny", allow=nothing) == [], nothing
        assert r.recommend(causerie.Query("something funny").allow(nothing)) == [], nothing
        assert len(r.recommend("something funny", n, exclude=nothing)) == n, nothing
    # Of another length, or none.
    for wrong in ([True] * (n - 1), [False] * (n + 1)):
        for name in ("exclude", "allow"):
            raises(ValueError, lambda: r.recommend("x", **{name: wrong}), str(len(wrong)), str(n))  # type: ignore[arg-type] # noqa: B023
        raises(ValueError, lambda: r.recommend_many([causerie.Query("x", exclude=wrong)]))  # noqa: B023
        raises(ValueError, lambda: r.score("x", allow=wrong))  # noqa: B023
    raises(ValueError, lambda: causerie.Query("x", allow=[True] * n, exclude=[True]), "booleans")
    if np is not None:
        raises(ValueError, lambda: r.recommend("x", exclude=np.array([-1])), "-1")
        raises(ValueError, lambda: r.recommend("x", exclude=np.zeros((2, n), bool)), "shape")
        raises(TypeError, lambda: r.recommend("x", exclude=np.array([1.5])))
        raises(causerie.Error, lambda: r.recommend("x", exclude=np.array([n])), code=causerie.INVALID)
    # What a Query says, arguments beside it cannot.
    for name, value in {"seen": [{"id": "1"}], "exclude": some, "allow": [], "explain": 0}.items():
        raises(ValueError, lambda: r.recommend(query, **{name: value}), name)  # type: ignore[arg-type] # noqa: B023


def numbers_that_c_would_have_cut_are_refused(d: Domain) -> None:
    r = recommender(d)
    calls: list[Callable[[Any], Any]] = [
        lambda k: r.recommend("x", k), lambda k: r.rank("x", k), lambda k: r.recommend_many(["x"], k),
        lambda k: r.recommend("x", explain=k), lambda k: causerie.Query("x", explain=k), lambda k: causerie.Query().explain(k),
        lambda k: causerie.Run(k), lambda k: causerie.Dataset().add(k, "{}"), lambda k: causerie.Query().seen_title("x", k),
    ]
    for call in calls:
        for wrong in (-1, 2**31, 2**32, 2**64, -(2**70)):
            raises(ValueError, lambda: call(wrong), "it must be from 0 to")  # noqa: B023
        for kind in (True, 1.0, "1", [1]):
            raises(TypeError, lambda: call(kind))  # noqa: B023
    wide: list[Callable[[int], Any]] = [
        lambda k: causerie.Embeddings.shard(k, 2, d.dataset, d.folder / "none"),
        lambda k: causerie.Embeddings.join(d.folder / "none", k),
        lambda k: causerie.Selection.part(k, 2, d.embeddings, d.folder / "none"),
        lambda k: causerie.Model.new(d.dataset, k, d.folder / "none"),
        lambda k: causerie.Dialogues(d.dataset, d.selection, round=k),
        lambda k: r.swap_adapter(None, expected=k), lambda k: r.roll_back(k),
    ]
    for call in wide:
        for beyond in (-1, 2**64):
            raises(ValueError, lambda: call(beyond), "it must be from 0 to")  # noqa: B023
    raises(IndexError, lambda: d.dataset.title(-1))
    raises(IndexError, lambda: d.dialogues[-len(d.dialogues) - 1])


def settings_and_texts_of_other_kinds_were_taken_by_their_spelling(d: Domain) -> None:
    config = causerie.Config()
    before = config.toml
    wrongs: list[Any] = [None, b"abc", object(), {}, {"a"}, [None], [["a"]], [b"a"], 1j, dict]
    for wrong in wrongs:
        raises(TypeError, lambda: config.__setitem__("dataset.items", wrong), "dataset.items")  # noqa: B023
    assert config.toml == before
    config["dataset.items"], config["select.budget"] = Path("a") / "b", 7
    assert config["dataset.items"] == '"a/b"' and config["select.budget"] == "7"
    raises(TypeError, lambda: config.__setitem__(b"dataset.items", "x"), "key")  # type: ignore[arg-type]
    r = recommender(d)
    calls: list[Callable[[Any], Any]] = [
        causerie.Config, config.read, causerie.Query.parse, causerie.Dialogues.parse,
        lambda w: causerie.Dataset().add(causerie.ITEMS, w),
    ]
    for call in calls:
        for wrong in (5, None, 0, True):
            raises(TypeError, lambda: call(wrong))  # noqa: B023
    texts: list[Callable[[Any], Any]] = [
        r.find, causerie.Query().seen, causerie.Query().seen_title, lambda w: causerie.Query().turn("user", w), causerie.Query,
        lambda w: r.recommend(w), lambda w: r.recommend("x", seen=[w]), lambda w: r.recommend("x", exclude=[w]),
        lambda w: d.config[w], lambda w: d.embeddings.pack(w, d.folder / "none"),
    ]
    for call in texts:
        for wrong in (b"abc", 5, bytearray(b"abc")):
            raises((TypeError, causerie.Error), lambda: call(wrong))  # type: ignore[arg-type] # noqa: B023


def indexes_beyond_what_c_reads_gave_the_first(d: Domain) -> None:
    calls: list[Callable[[Any], Any]] = [d.dataset.title, d.dialogues.__getitem__]
    for call in calls:
        assert call(0)
        for beyond in (2**31, 2**32, 2**63, 2**64, 2**64 + 1, -(2**63), -(2**64)):
            raises(IndexError, lambda: call(beyond))  # noqa: B023
        for kind in (True, False, 1.0, "0", None):
            raises(TypeError, lambda: call(kind))  # noqa: B023
    assert d.dialogues[-1] == d.dialogues[len(d.dialogues) - 1]


def masked_arrays_lost_their_mask(d: Domain) -> None:
    if np is None:
        return
    r, n = recommender(d), d.dataset.items
    for values in (np.arange(4), np.ones(n, bool), np.array(r.ids[:4])):
        some = np.ma.array(values, mask=[True] + [False] * (len(values) - 1))
        for name in ("exclude", "allow"):
            raises(ValueError, lambda: r.recommend("x", **{name: some}), name, "masked")  # type: ignore[arg-type] # noqa: B023
        assert r.recommend("x", exclude=np.ma.array(values)) == r.recommend("x", exclude=values)
    raises(ValueError, lambda: causerie.Query().allow_rows(np.ma.array([1, 2], mask=[0, 1])), "masked")
    raises(ValueError, lambda: causerie.Embeddings.of(np.ma.array([[1.0, 2.0]], mask=[[True, False]])), "masked")
    raises(ValueError, lambda: causerie.Embeddings.of([np.ma.array([1.0, 2.0], mask=[True, False])]), "masked")
    assert causerie.Embeddings.of(np.ma.array([[1.0, 2.0]])).shape == (1, 2)


def a_nul_in_a_path_or_a_key_ended_it_there(d: Domain) -> None:
    calls: list[Callable[[str], Any]] = [
        causerie.Dataset.load, causerie.Embeddings.open, causerie.Selection.load, causerie.Dialogues.load, causerie.Model.load,
        causerie.Recommender.open, d.dataset.save, d.embeddings.save, d.selection.save, d.dialogues.save, d.model.save,
        lambda name: causerie.simulate(d.config, name), lambda name: d.config[name],
        lambda name: d.embeddings.pack("f32", name),
    ]
    for call in calls:
        raises(ValueError, lambda: call(str(d.folder / "a\0b")), "NUL")  # noqa: B023
    assert not (d.folder / "a").exists()


def lists_with_commas_in_settings_stay_as_they_were_given(d: Domain) -> None:
    config = causerie.Config()
    for files in (["a,b", 'c"d', "é 😀"], [], ["one"]):
        config["evaluate.conversations"] = files
        again = causerie.Config(config.toml)
        assert again["evaluate.conversations"] == config["evaluate.conversations"]
    config["evaluate.conversations"] = ["a,b", "c"]
    assert config["evaluate.conversations"] == '["a,b", "c"]', config["evaluate.conversations"]


def what_c_has_is_there(d: Domain) -> None:
    """What Python lacked: replies as text, dialogues from memory, a version, the count of handles."""
    r = recommender(d)
    reply = r.ask("something funny", 3, explain=0)
    assert len(reply) == 3 and reply.text.count("\n") >= 2 and reply.text.startswith("1. ")
    assert [i.score for i in reply.items] == list(reply.scores)
    assert [r.ids[row] for row in reply.rows] == [i.item for i in reply.items]
    assert not reply.partial and not reply.truncated and reply.warnings == reply.items.warnings
    warned = r.recommend(causerie.Query("something funny").exclude(["no such item"]).seen("nor this"), 3)
    assert warned.warnings and "nor this" in " ".join(warned.warnings), warned.warnings
    again = causerie.Dialogues.parse(list(d.dialogues))  # type: ignore[call-overload]
    assert [x["items"] for x in again] == [x["items"] for x in d.dialogues] and again.dropped == 0  # type: ignore[attr-defined]
    import json

    lines = json.dumps(d.dialogues[0]) + "\nno dialogue\n"
    assert causerie.Dialogues.parse(lines).dropped == 1
    raises(causerie.Error, lambda: causerie.Dialogues.parse("no dialogue\n"), code=causerie.FORMAT)
    calls: list[Callable[[], Any]] = [r.roll_back, lambda: r.roll_back(1), lambda: r.swap_adapter(None), lambda: r.generation]
    for call in calls:
        raises(causerie.Error, call, code=causerie.UNSUPPORTED)
    assert causerie.version().startswith(f"causerie/{causerie.__version__} ")
    before = causerie.handles()
    query = causerie.Query("x")
    assert causerie.handles() == before + 1
    del query
    assert causerie.handles() == before


def main(folder: Path) -> None:
    run_all(globals(), domain(folder))
    gc.collect()
    assert causerie.handles() == 0, causerie.handles()
    print("boundary ok")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
