"""Stage 6, recommend."""

from __future__ import annotations

import ctypes as c
import json
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from ._config import Config
from ._dataset import Dataset
from ._dialogues import Dialogues
from ._embeddings import Embeddings
from ._handle import INVALID, UNSUPPORTED, Handle, Life, Path, array, check, number, path, pointers, raw, text, view, words
from ._model import Model
from ._native import lib
from ._numpy import np
from ._query import NOTHING, Asked, Query, Seen, query_of
from ._rows import Items, Records, json_lines
from ._run import RUN, Run, long, short

if TYPE_CHECKING:
    from ._handle import Doubles, Floats, Rows


class Recommendation(NamedTuple):
    """One item of an answer."""

    item: str
    title: str
    year: Optional[int]
    score: float
    #: Reviews that speak for it, nearest first: {"review": row, "similarity", "text"}.
    evidence: Sequence[Mapping[str, Any]] = ()


class Recommendations(List[Recommendation]):
    """An answer: a list of `Recommendation`, best first, and what is to be said of it."""

    def __init__(self, items: Iterable[Recommendation] = ()) -> None:
        super().__init__(items)
        self.partial = False
        """The time was up before the search was: these are the items found by then."""
        self.truncated = False
        """The conversation was longer than what the recommender reads."""
        self.warnings: list[str] = []
        """Names that are not in the catalogue, what was cut, what is missing; one sentence each."""


class Reply(Handle):
    """One answer, of `Recommender.ask`. Its arrays lie over the library's memory, its texts are made when they are read."""

    _free = lib.reply_free
    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a Reply comes of Recommender.ask")

    def __len__(self) -> int:
        return int(lib.reply_count(self.raw))

    @property
    def rows(self) -> "Rows":
        """The items as rows of the catalogue (the order of `Recommender.ids`), best first."""
        life, count = self.raw, c.c_size_t()
        rows: "Rows" = array(life, lib.reply_rows(life, c.byref(count)), (count.value,), c.c_uint64)
        return rows

    @property
    def scores(self) -> "Doubles":
        """Their scores, falling, of the recommender's own scale."""
        life, count = self.raw, c.c_size_t()
        scores: "Doubles" = array(life, lib.reply_scores(life, c.byref(count)), (count.value,), c.c_double)
        return scores

    @property
    def items(self) -> Recommendations:
        """All of it: ids, titles, years, scores, reasons."""
        life = self.raw
        items = Recommendations(Recommendation(**row) for row in json.loads(lib.reply_json(life)))
        items.partial = bool(lib.reply_partial(life))
        items.truncated = bool(lib.reply_truncated(life))
        items.warnings = _warnings(life)
        return items

    @property
    def text(self) -> str:
        """The answer as text to show: "1. Title (1999)" a line."""
        life = self.raw
        return str(lib.reply_text(life).decode())

    @property
    def partial(self) -> bool:
        """The time was up before the search was: these are the items found by then."""
        return bool(lib.reply_partial(self.raw))

    @property
    def truncated(self) -> bool:
        """The conversation was longer than what the recommender reads."""
        return bool(lib.reply_truncated(self.raw))

    @property
    def warnings(self) -> list[str]:
        """Names that are not in the catalogue, what was cut, what is missing; one sentence each."""
        return _warnings(self.raw)


def _warnings(life: Life) -> list[str]:
    warnings: list[str] = []
    while (warning := lib.reply_warning(life, len(warnings))) is not None:
        warnings.append(warning.decode())
    return warnings


class Recommender(Handle):
    """Stage 6, recommend: ranks the catalogue for a conversation; threads may share it."""

    _free = lib.recommender_free
    __slots__ = ("_slow",)

    _slow: bool
    """A language model, which takes long enough for Ctrl-C."""

    def __init__(
        self, dataset: Dataset, embeddings: Optional[Embeddings] = None, model: Optional[Model] = None,
        dialogues: Optional[Dialogues] = None, config: Optional[Config] = None, run: Optional[Run] = None,
    ) -> None:
        life = self._begin()
        of = (dataset.raw, raw(embeddings), raw(model), raw(dialogues), raw(config))
        long(run, lib.recommender_new, *of, RUN, life.out)
        super().__init__(life)
        self._slow = False

    @classmethod
    def _ready(cls, life: Life) -> "Recommender":
        self = cls._of(life)
        error = lib.recommender_generation(life, None)
        self._slow = not error or lib.error_code(error) != UNSUPPORTED
        lib.error_free(error)
        return self

    @classmethod
    def open(
        cls, work_dir: Path, config: Optional[Config] = None, strategy: str = "", run: Optional[Run] = None
    ) -> "Recommender":
        """A finished work directory."""
        life = cls._begin()
        long(run, lib.recommender_open, path(work_dir), text(strategy, "strategy"), raw(config), RUN, life.out)
        return cls._ready(life)

    @classmethod
    def lm(
        cls, dataset: Dataset, gguf: Path, adapter: Optional[Path] = None, config: Optional[Config] = None,
        run: Optional[Run] = None,
    ) -> "Recommender":
        """A language model that names items of the catalogue alone."""
        life = cls._begin()
        long(run, lib.recommender_open_lm, dataset.raw, path(gguf), path(adapter), raw(config), RUN, life.out)
        return cls._ready(life)

    def __len__(self) -> int:
        return int(lib.recommender_count(self.raw))

    @property
    def ids(self) -> list[str]:
        life = self.raw
        return [lib.recommender_id(life, i).decode() for i in range(lib.recommender_count(life))]

    @property
    def name(self) -> str:
        """Its name in reports: "head", "nbcrs", …"""
        life = self.raw
        return str(lib.recommender_name(life).decode())

    def find(self, item: str) -> int:
        """The row of an item by its id: its place in `ids`."""
        name, out = words(item, "item"), c.c_uint64()
        check(lib.recommender_find(self.raw, name, len(name), c.byref(out)))
        return out.value

    def recommend(
        self, turns: Asked, top_k: int = 0, *, seen: Seen = NOTHING, exclude: Items = NOTHING,
        allow: Optional[Items] = None, explain: Optional[int] = None, run: Optional[Run] = None,
    ) -> Recommendations:
        """The best items for `turns` (a text, [{"role", "text"}, …], or a Query) and, as `Query` takes them, what was seen
        and what may come back. `top_k` of 0: as recommend.top_k says; `explain`: reviews for each item (else
        recommend.explain says)."""
        return self._ask(query_of(turns, seen, exclude, allow, explain), top_k, run).items

    def ask(
        self, turns: Asked, top_k: int = 0, *, seen: Seen = NOTHING, exclude: Items = NOTHING,
        allow: Optional[Items] = None, explain: Optional[int] = None, run: Optional[Run] = None,
    ) -> Reply:
        """The same as a handle, of which no more is read than is needed."""
        return self._ask(query_of(turns, seen, exclude, allow, explain), top_k, run)

    def rank(self, turns: Asked, top_k: int = 0, *, run: Optional[Run] = None) -> "tuple[Rows, Doubles]":
        """The best items as rows of the catalogue (the order of `ids`) and their scores: arrays, and no text at all."""
        reply = self._ask(query_of(turns), top_k, run)
        return reply.rows, reply.scores

    def say(self, turns: Asked, top_k: int = 0, *, run: Optional[Run] = None) -> tuple[str, Recommendations]:
        """The best items, and before them a sentence about them in the language model's own words, which names items of
        the answer and nothing else of the catalogue. The run's `on_token` hears it while it is written."""
        life, query, out = self.raw, query_of(turns), c.c_char_p()
        reply = self._ask(query, top_k, run)
        lent = reply.raw
        long(run, lib.recommender_say, life, query.raw, lent, RUN, c.byref(out))
        return (out.value or b"").decode(), reply.items

    def recommend_many(
        self, queries: Sequence[Asked], top_k: int = 0, *, run: Optional[Run] = None
    ) -> list[Recommendations]:
        """Several requests in one call, which costs less than as many calls."""
        life, top = self.raw, number("top_k", top_k)
        items = int(lib.recommender_count(life))
        asked = [query_of(query)._for(items) for query in queries]
        lives = [query.raw for query in asked]
        replies = (c.c_void_p * len(asked))()
        ends = [Reply._begin() for _ in asked]
        self._call(len(asked))(run, lib.recommend_many, life, pointers(lives), len(asked), top, RUN, replies)
        for end, reply in zip(ends, replies):
            end._as_parameter_.value = reply
        return [Reply._of(end).items for end in ends]

    def _call(self, queries: int) -> Any:
        """How a call of so many queries is made: what is over within milliseconds, Ctrl-C need not stop."""
        return long if self._slow or queries > 64 else short

    def _ask(self, query: Query, top_k: int, run: Optional[Run]) -> Reply:
        life, top, out = self.raw, number("top_k", top_k), Reply._begin()
        if query._items is not None:
            query._for(int(lib.recommender_count(life)))
        (long if self._slow else short)(run, lib.recommend_query, life, query.raw, top, RUN, out.out)
        return Reply._of(out)

    def score(
        self, turns: Asked, *, seen: Seen = NOTHING, exclude: Items = NOTHING, allow: Optional[Items] = None,
        run: Optional[Run] = None,
    ) -> "Floats":
        """Scores of the whole catalogue in the order of `ids`; -inf for what is masked."""
        scores: "Floats" = self._scores([query_of(turns, seen, exclude, allow)], run, False)
        return scores

    def score_many(self, queries: Sequence[Asked], *, run: Optional[Run] = None) -> "Floats":
        """Scores of several requests, [queries, items]."""
        scores: "Floats" = self._scores([query_of(query) for query in queries], run, True)
        return scores

    def _scores(self, queries: Sequence[Query], run: Optional[Run], many: bool) -> Any:
        life, lives = self.raw, [query.raw for query in queries]
        items = int(lib.recommender_count(life))
        while True:
            for query in queries:
                query._for(items)
            count = len(queries) * items
            scores: Any = (c.c_float * count)() if np is None else np.empty(count, dtype=np.float32)
            address = scores if np is None else scores.ctypes.data
            try:
                if many:
                    of = (life, pointers(lives), len(lives), RUN, address, count)
                    self._call(len(lives))(run, lib.score_many, *of)
                else:
                    self._call(1)(run, lib.score_query, life, lives[0], RUN, address, count)
                break
            except Exception as e:
                # Items may join between the count and the call: then once more.
                before, items = items, int(lib.recommender_count(life))
                if getattr(e, "code", None) != INVALID or items == before:
                    raise
        shape = (len(queries), items) if many else (items,)
        if np is not None:
            return scores.reshape(shape)
        return view(scores, shape)

    def add(self, items: Records, run: Optional[Run] = None) -> int:
        """Adds items while it serves; other calls may run beside it. All or nothing; gives how many were dropped, for an id
        that stands twice among them."""
        lines, dropped = json_lines(items), c.c_size_t()
        long(run, lib.recommender_add, self.raw, lines, len(lines), RUN, c.byref(dropped))
        return dropped.value

    @property
    def memory_bytes(self) -> int:
        """About how much memory it holds."""
        return int(lib.recommender_bytes(self.raw))

    @property
    def generation(self) -> int:
        """The number of the adapters that serve, of a language model."""
        out = c.c_uint64()
        check(lib.recommender_generation(self.raw, c.byref(out)))
        return out.value

    def swap_adapter(self, adapter: Optional[Path], scale: float = 1.0, expected: Optional[int] = None) -> int:
        """Puts another adapter in place of generation `expected` (None: whichever serves) while requests are answered; gives
        the new generation."""
        out = c.c_uint64()
        serving = self.generation if expected is None else number("expected", expected, 63)
        check(lib.recommender_swap_adapter(self.raw, serving, path(adapter), scale, c.byref(out)))
        return out.value

    def roll_back(self, expected: Optional[int] = None) -> int:
        """Puts the adapters before generation `expected` (None: the one that serves) back; gives the new generation."""
        out = c.c_uint64()
        serving = self.generation if expected is None else number("expected", expected, 63)
        check(lib.recommender_roll_back(self.raw, serving, c.byref(out)))
        return out.value
