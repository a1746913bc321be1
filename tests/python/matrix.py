"""Every pair of methods of every handle, on 16 threads at once: nothing crashes or hangs, and what comes is a result, busy or
closed. The methods are found in the package, their arguments below: a method without is an error. argv: a folder.
CAUSERIE_MATRIX_SECONDS: seconds in all."""

from __future__ import annotations

import copy
import faulthandler
import gc
import itertools
import os
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import causerie
from domain import Domain, domain, recommender

SECONDS = float(os.environ.get("CAUSERIE_MATRIX_SECONDS", "30"))
THREADS = 16

WORDS = "something moving and funny"
_number = itertools.count()


class How(NamedTuple):
    """A call of a method on the handle, and what else than busy and closed it may fail with."""

    call: Callable[[Any, Domain], Any]
    codes: "tuple[int, ...]" = ()
    heavy: bool = False
    """Takes tens of milliseconds: two threads of the sixteen do it."""
    leaves: bool = False
    """Leaves the handle other than it was: the next pair gets a new one."""


def _scratch(d: Domain, name: str) -> Path:
    """A file of this thread's own."""
    return d.folder / f"scratch-{threading.get_ident()}-{name}"


def _grow(query: causerie.Query) -> None:
    query.turn("user", WORDS) if next(_number) % 50 else query.clear()


def _item() -> "dict[str, Any]":
    return {"item": f"new-{next(_number)}", "title": "Another", "plot": "A funny one"}


def _with(handle: Any) -> None:
    with handle:
        pass


MADE: "dict[type, Callable[[Domain], Any]]" = {
    causerie.Config: lambda d: causerie.Config(d.config.toml),
    causerie.Run: lambda d: causerie.Run(1),
    causerie.Dataset: lambda d: causerie.Dataset.load(d.folder / "kept-dataset"),
    causerie.Embeddings: lambda d: causerie.Embeddings(d.dataset, d.config, d.folder / "kept-embeddings"),
    causerie.Selection: lambda d: causerie.Selection.load(d.folder / "kept-selection.jsonl"),
    causerie.Dialogues: lambda d: causerie.Dialogues.load(d.folder / "kept-dialogues.jsonl"),
    causerie.Model: lambda d: causerie.Model.load(d.folder / "kept-model"),
    causerie.Query: lambda d: causerie.Query(WORDS),
    causerie.Recommender: recommender,
    causerie.Reply: lambda d: recommender(d).ask(WORDS, 5),
    causerie.Report: lambda d: causerie.Report.evaluate([recommender(d)], config=d.config),
}


def _keep(d: Domain) -> None:
    d.dataset.save(d.folder / "kept-dataset")
    causerie.Embeddings(d.dataset, d.config, d.folder / "kept-embeddings")
    d.selection.save(d.folder / "kept-selection.jsonl")
    d.dialogues.save(d.folder / "kept-dialogues.jsonl")
    d.model.save(d.folder / "kept-model")


CANCELLED, INVALID, UNSUPPORTED, FORMAT = causerie.CANCELLED, causerie.INVALID, causerie.UNSUPPORTED, causerie.FORMAT

_NO_FILE = (causerie.NOT_FOUND, UNSUPPORTED, INVALID, causerie.IO)

OF_ALL: "dict[str, How]" = {
    "close": How(lambda h, d: h.close(), leaves=True),
    "__enter__": How(lambda h, d: _with(h), leaves=True),
    "__exit__": How(lambda h, d: h.__exit__(None, None, None), leaves=True),
    "raw": How(lambda h, d: h.raw),
    "__reduce__": How(lambda h, d: _refused(TypeError, lambda: copy.copy(h))),
}

CALLS: "dict[type, dict[str, How]]" = {
    causerie.Config: {
        "__init__": How(lambda h, d: causerie.Config(h.toml, select_budget=3)),
        "__getitem__": How(lambda h, d: h["select.budget"]),
        "__setitem__": How(lambda h, d: h.__setitem__("evaluate.conversations", ["x" * (next(_number) % 300)] * 9)),
        "read": How(lambda h, d: h.read("[select]\nbudget = 20")),
        "toml": How(lambda h, d: h.toml),
        "read by a dataset": How(lambda h, d: causerie.Dataset(h)),
        "read by a selection": How(lambda h, d: causerie.Selection(d.embeddings, h, d.dataset), heavy=True),
    },
    causerie.Run: {
        "__init__": How(lambda h, d: causerie.Run(1, on_progress=print, on_token=print)),
        "cancel": How(lambda h, d: h.cancel(), leaves=True),
        "reset": How(lambda h, d: h.reset()),
        "poll": How(lambda h, d: h.poll()),
        "watches a selection": How(lambda h, d: causerie.Selection(d.embeddings, d.config, d.dataset, run=h), (CANCELLED,), heavy=True),
    },
    causerie.Dataset: {
        "__init__": How(lambda h, d: causerie.Dataset(d.config)),
        "__repr__": How(lambda h, d: repr(h)),
        "read": How(lambda h, d: causerie.Dataset.read(d.config), heavy=True),
        "load": How(lambda h, d: causerie.Dataset.load(d.folder / "kept-dataset"), heavy=True),
        "save": How(lambda h, d: h.save(_scratch(d, "dataset")), heavy=True),
        "add": How(lambda h, d: h.add(causerie.REVIEWS, [{"item": d.dialogues[0]["items"][0], "text": "Good, and long enough to keep"}]), leaves=True),
        "add_file": How(lambda h, d: h.add_file(causerie.REVIEWS, d.folder / "few.jsonl"), leaves=True),
        "dropped": How(lambda h, d: h.dropped),
        "items": How(lambda h, d: h.items),
        "reviews": How(lambda h, d: h.reviews),
        "interactions": How(lambda h, d: h.interactions),
        "title": How(lambda h, d: h.title(3)),
        "report": How(lambda h, d: h.report),
        "is embedded": How(lambda h, d: causerie.Embeddings(h, d.config), heavy=True),
        "is selected from": How(lambda h, d: causerie.Selection(d.embeddings, d.config, h), (INVALID,), heavy=True),
        "is recommended": How(lambda h, d: causerie.Recommender(h, d.embeddings, d.model, config=d.config), (INVALID,), heavy=True),
    },
    causerie.Embeddings: {
        "__init__": How(lambda h, d: causerie.Embeddings(d.dataset, d.config), heavy=True),
        "__array__": How(lambda h, d: h.__array__("f8") if hasattr(h.values, "astype") else None),
        "of": How(lambda h, d: causerie.Embeddings.of([[1.0, 2.0]])),
        "open": How(lambda h, d: causerie.Embeddings.open(d.folder / "packed")),
        "shard": How(lambda h, d: causerie.Embeddings.shard(0, 2, d.dataset, _scratch(d, "shards"), d.config), heavy=True),
        "join": How(lambda h, d: causerie.Embeddings.join(d.folder / "kept-shards", 2)),
        "shape": How(lambda h, d: h.shape),
        "values": How(lambda h, d: h.values[3, 2]),
        "save": How(lambda h, d: h.save(_scratch(d, "embeddings"))),
        "pack": How(lambda h, d: h.pack("f16", _scratch(d, "packed"))),
        "are selected": How(lambda h, d: causerie.Selection(h, d.config, d.dataset), heavy=True),
        "are tuned on": How(lambda h, d: causerie.Model(d.dialogues, d.dataset, h, d.config), heavy=True),
    },
    causerie.Selection: {
        "__init__": How(lambda h, d: causerie.Selection(d.embeddings, d.config, d.dataset, earlier=h), heavy=True),
        "load": How(lambda h, d: causerie.Selection.load(d.folder / "kept-selection.jsonl")),
        "centers": How(lambda h, d: causerie.Selection.centers(d.embeddings, _scratch(d, "centers"), causerie.Config(select_strategy="js", select_clusters=3)), heavy=True),
        "part": How(lambda h, d: causerie.Selection.part(0, 1, d.embeddings, _scratch(d, "part"), d.config, d.dataset), heavy=True),
        "merge": How(lambda h, d: causerie.Selection.merge([d.folder / "kept-part"], _scratch(d, "merged"))),
        "finalise": How(lambda h, d: causerie.Selection.finalise(d.folder / "kept-merged", d.embeddings, d.config, d.dataset), heavy=True),
        "rows": How(lambda h, d: h.rows[3]),
        "gains": How(lambda h, d: h.gains[3]),
        "report": How(lambda h, d: h.report),
        "save": How(lambda h, d: h.save(_scratch(d, "selection"))),
        "is asked about": How(lambda h, d: causerie.Dialogues(d.dataset, h, d.config, teacher=lambda r: "Something moving, not too long"), (causerie.TEACHER,), heavy=True),
    },
    causerie.Dialogues: {
        "__init__": How(lambda h, d: causerie.Dialogues(d.dataset, d.selection, d.config), heavy=True),
        "__len__": How(lambda h, d: len(h)),
        "__getitem__": How(lambda h, d: h[-1]),
        "export_requests": How(lambda h, d: causerie.Dialogues.export_requests(d.dataset, d.selection, d.config, _scratch(d, "journal"), _scratch(d, "requests")), (INVALID,)),
        "import_answers": How(lambda h, d: causerie.Dialogues.import_answers(_scratch(d, "none"), d.folder / "items.jsonl"), (FORMAT, INVALID, causerie.NOT_FOUND)),
        "load": How(lambda h, d: causerie.Dialogues.load(d.folder / "kept-dialogues.jsonl")),
        "parse": How(lambda h, d: causerie.Dialogues.parse([d.dialogues[0]])),
        "dropped": How(lambda h, d: h.dropped),
        "add": How(lambda h, d: h.add(d.dialogues if next(_number) % 2 else h), (INVALID,), leaves=True),
        "save": How(lambda h, d: h.save(_scratch(d, "dialogues"))),
        "report": How(lambda h, d: h.report),
        "are tuned on": How(lambda h, d: causerie.Model(h, d.dataset, d.embeddings, d.config), heavy=True),
    },
    causerie.Model: {
        "__init__": How(lambda h, d: causerie.Model(d.dialogues, d.dataset, d.embeddings, d.config), heavy=True),
        "lm": How(lambda h, d: causerie.Model.lm(d.dialogues, d.folder / "none.gguf", _scratch(d, "lm"), d.config), _NO_FILE),
        "new": How(lambda h, d: causerie.Model.new(d.dataset, 7, _scratch(d, "gguf"), d.config), (INVALID, UNSUPPORTED)),
        "merge": How(lambda h, d: causerie.Model.merge(d.folder / "none.gguf", d.folder / "none.gguf", _scratch(d, "merged-lm")), _NO_FILE),
        "load": How(lambda h, d: causerie.Model.load(d.folder / "kept-model")),
        "save": How(lambda h, d: h.save(_scratch(d, "model"))),
        "report": How(lambda h, d: h.report),
        "file": How(lambda h, d: h.file),
        "is recommended with": How(lambda h, d: causerie.Recommender(d.dataset, d.embeddings, h, config=d.config), heavy=True),
    },
    causerie.Query: {
        "__init__": How(lambda h, d: causerie.Query(WORDS, seen=["x"], exclude=["1"], allow=["2"], explain=1)),
        "parse": How(lambda h, d: causerie.Query.parse('{"turns": [], "allow": []}')),
        "turn": How(lambda h, d: _grow(h)),
        "seen": How(lambda h, d: h.seen("1")),
        "seen_title": How(lambda h, d: h.seen_title("Another", 1999)),
        "exclude": How(lambda h, d: h.exclude(["1", "2"])),
        "allow": How(lambda h, d: h.allow(["3"]), leaves=True),
        "exclude_rows": How(lambda h, d: h.exclude_rows([1, 2])),
        "allow_rows": How(lambda h, d: h.allow_rows([3] * 5), leaves=True),
        "explain": How(lambda h, d: h.explain(0)),
        "clear": How(lambda h, d: h.clear()),
        "is asked": How(lambda h, d: _shared(d).recommend(h, 3), (causerie.NOT_FOUND,)),
        "is asked with others": How(lambda h, d: _shared(d).recommend_many([h, h, WORDS], 3), (causerie.NOT_FOUND,)),
        "is scored": How(lambda h, d: _shared(d).score(h), (causerie.NOT_FOUND,)),
    },
    causerie.Recommender: {
        "__init__": How(lambda h, d: recommender(d), heavy=True),
        "open": How(lambda h, d: causerie.Recommender.open(d.folder / "work"), heavy=True),
        "lm": How(lambda h, d: causerie.Recommender.lm(d.dataset, d.folder / "none.gguf"), _NO_FILE),
        "__len__": How(lambda h, d: len(h)),
        "ids": How(lambda h, d: h.ids),
        "name": How(lambda h, d: h.name),
        "find": How(lambda h, d: h.find(d.dialogues[0]["items"][0])),
        "recommend": How(lambda h, d: h.recommend(WORDS, 3, seen=[{"title": "Another"}])),
        "ask": How(lambda h, d: h.ask(WORDS, 3).items),
        "rank": How(lambda h, d: h.rank(WORDS, 3)),
        "say": How(lambda h, d: h.say(WORDS, 3), (UNSUPPORTED,)),
        "recommend_many": How(lambda h, d: h.recommend_many([WORDS] * 3, 3)),
        # Items may join between its two looks at their number, more than once.
        "score": How(lambda h, d: h.score(WORDS), (INVALID,)),
        "score_many": How(lambda h, d: h.score_many([WORDS] * 3), (INVALID,)),
        "add": How(lambda h, d: h.add([_item()]), leaves=True),
        "memory_bytes": How(lambda h, d: h.memory_bytes),
        "generation": How(lambda h, d: h.generation, (UNSUPPORTED,)),
        "swap_adapter": How(lambda h, d: h.swap_adapter(None), (UNSUPPORTED,)),
        "roll_back": How(lambda h, d: h.roll_back(), (UNSUPPORTED,)),
        "is evaluated": How(lambda h, d: causerie.Report.evaluate([h, h], config=d.config), heavy=True),
    },
    causerie.Reply: {
        "__init__": How(lambda h, d: _refused(TypeError, causerie.Reply)),
        "__len__": How(lambda h, d: len(h)),
        "rows": How(lambda h, d: h.rows[0]),
        "scores": How(lambda h, d: h.scores[0]),
        "items": How(lambda h, d: h.items),
        "text": How(lambda h, d: h.text),
        "partial": How(lambda h, d: h.partial),
        "truncated": How(lambda h, d: h.truncated),
        "warnings": How(lambda h, d: h.warnings),
    },
    causerie.Report: {
        "__init__": How(lambda h, d: _refused(TypeError, causerie.Report)),
        "evaluate": How(lambda h, d: causerie.Report.evaluate([_shared(d)], config=d.config), heavy=True),
        "data": How(lambda h, d: h.data),
        "html": How(lambda h, d: h.html),
        "_repr_html_": How(lambda h, d: h._repr_html_()),
        "metric": How(lambda h, d: h.metric("recall@10")),
        "save": How(lambda h, d: h.save(_scratch(d, "report"))),
    },
}

_recommenders: "list[causerie.Recommender]" = []


def _shared(d: Domain) -> causerie.Recommender:
    return _recommenders[0]


def _refused(kind: "type[BaseException]", call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError("it was taken")


def handles() -> "list[type]":
    """The handles of the package."""
    return [v for v in vars(causerie).values() if isinstance(v, type) and hasattr(v, "raw")]


def methods(handle: type) -> "set[str]":
    """What can be called or read of a handle, but for what Python's own classes have."""
    kinds = (types.FunctionType, property, staticmethod, classmethod)
    own = [k for k in handle.__mro__ if k.__module__.partition(".")[0] == "causerie"]
    names = {name for k in own for name, value in vars(k).items() if isinstance(value, kinds)}
    return {n for n in names if not n.startswith("_") or n.startswith("__") or n == "_repr_html_"}


def pairs() -> "Iterator[tuple[type, str, str]]":
    for handle in handles():
        table = {**OF_ALL, **CALLS[handle]}
        missing = methods(handle) - set(table)
        assert not missing, f"{handle.__name__}: no arguments for {sorted(missing)}; add them to CALLS"
        assert all(" " in name or name in methods(handle) for name in table), f"{handle.__name__}: {set(table) - methods(handle)}"
        for pair in itertools.combinations_with_replacement(sorted(table), 2):
            yield handle, *pair


def main(folder: Path) -> None:
    # A thread that hangs is shown where it hangs.
    faulthandler.dump_traceback_later(SECONDS * 4 + 120, exit=True)
    d = domain(folder)
    _keep(d)
    lines = (folder / "reviews.jsonl").read_text().splitlines()[:3]
    (folder / "few.jsonl").write_text("\n".join(lines))
    d.embeddings.pack("f32", folder / "packed")
    for index in range(2):
        causerie.Embeddings.shard(index, 2, d.dataset, folder / "kept-shards", d.config)
    causerie.Selection.part(0, 1, d.embeddings, folder / "kept-part", d.config, d.dataset)
    causerie.Selection.merge([folder / "kept-part"], folder / "kept-merged")
    causerie.pipeline(d.config, folder / "work")
    _recommenders.append(recommender(d))

    counts: "dict[str, int]" = {}
    wrong: "dict[str, int]" = {}
    lock, heavy = threading.Lock(), threading.Semaphore(2)

    def work(how: How, handle: Any, name: str, until: float) -> None:
        ended: "dict[str, int]" = {}
        calls = 0
        while calls == 0 or time.monotonic() < until:
            if how.heavy and not heavy.acquire(blocking=False):
                if time.monotonic() >= until:
                    break
                time.sleep(0.001)
                continue
            try:
                how.call(handle, d)
                end = "results"
            except causerie.ClosedError:
                end = "closed"
            except causerie.Error as e:
                end = "busy" if e.code == causerie.BUSY else "expected errors"
                if e.code not in (causerie.BUSY, *how.codes):
                    wrong[f"{name}: {e.code} {e}"] = calls
            except BaseException as e:
                end = "others"
                wrong[f"{name}: {type(e).__name__} {e}"] = calls
            finally:
                if how.heavy:
                    heavy.release()
            ended[end] = ended.get(end, 0) + 1
            calls += 1
        with lock:
            for end, n in ended.items():
                counts[end] = counts.get(end, 0) + n

    todo = list(pairs())
    begun, handle, last = time.monotonic(), None, None
    for at, (kind, one, other) in enumerate(todo):
        table = {**OF_ALL, **CALLS[kind]}
        if kind is not last or handle is None:
            handle, last = MADE[kind](d), kind
        left = begun + SECONDS - time.monotonic()
        until = time.monotonic() + max(left / (len(todo) - at), 0.002)
        names = [f"{kind.__name__}.{one}", f"{kind.__name__}.{other}"]
        how = [table[one], table[other]]
        threads = [threading.Thread(target=work, args=(how[i % 2], handle, f"{names[i % 2]} beside {names[1 - i % 2]}", until)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if how[0].leaves or how[1].leaves:
            handle = None
    seconds = time.monotonic() - begun
    assert not wrong, "\n".join(list(wrong)[:40])
    assert counts.get("busy") and counts.get("closed") and counts["results"] > len(todo), counts
    faulthandler.cancel_dump_traceback_later()
    del d, handle, threads
    _recommenders.clear()
    gc.collect()
    assert causerie.handles() == 0, causerie.handles()
    print(f"matrix ok: {len(todo)} pairs on {THREADS} threads in {seconds:.0f} s: {counts}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
