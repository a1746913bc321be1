"""Stage 6, recommend: what is asked."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from ._handle import Handle, check, number, utf8, words
from ._native import lib
from ._rows import Items, Mask, as_json, mask, named

Turns = Union[str, Sequence[Mapping[str, Any]]]
Seen = Iterable[Union[str, Mapping[str, Any]]]


NOTHING: tuple[()] = ()
_FEW = 16
_ADDS = {"exclude": (lib.query_exclude, lib.query_exclude_rows), "allow": (lib.query_allow, lib.query_allow_rows)}


def _request(turns: Turns, seen: Seen, lists: Mapping[str, Sequence[str]], explain: Optional[int]) -> bytes:
    if isinstance(turns, str):
        turns = [{"role": "user", "text": turns}]
    for name, given in (("turns", turns), ("seen", seen)):
        if isinstance(given, (str, bytes, bytearray, memoryview, Mapping)):
            raise TypeError(f"{name} is a list, not one {type(given).__name__}: {name}=[{given!r:.60}]")
    request: dict[str, Any] = {"turns": list(turns), "seen": list(seen), **lists}
    if explain is not None:
        request["explain"] = number("explain", explain)
    return as_json(request, "the query").encode()


class Query(Handle):
    """A request, built once and asked often; kept between the turns of a conversation it grows by a turn at a time.

    `turns`: a text, or [{"role", "text"}, …]. `seen`: what the user knows, [{"id"} | {"title", "year"} | an id or a title, …].
    `exclude` and `allow`: what must not, and what alone may, come back: ids, or rows of the catalogue (the order of
    `Recommender.ids`) as an array of integers, or booleans, one for each item; a recommender of another number of items refuses
    such a query with ValueError. `allow=[]` allows nothing. `explain`: reviews for each item."""

    _free = lib.query_free
    __slots__ = ("_items",)

    def __init__(
        self, turns: Turns = NOTHING, *, seen: Seen = NOTHING, exclude: Items = NOTHING, allow: Optional[Items] = None,
        explain: Optional[int] = None,
    ) -> None:
        life = self._begin()
        lists = {} if exclude is NOTHING else {"exclude": named("exclude", exclude)}
        if allow is not None:
            lists["allow"] = named("allow", allow)
        if isinstance(turns, str) and seen is NOTHING and all(len(given) < _FEW for given in lists.values()):
            # Without JSON, which takes longer than many an answer.
            check(lib.query_new(life.out))
            super().__init__(life)
            self._items: Optional[int] = None
            self.turn("user", turns)
            if explain is not None:
                self.explain(explain)
        else:
            ids = {name: given for name, given in lists.items() if not isinstance(given, Mask)}
            request = _request(turns, seen, ids, explain)
            check(lib.query_parse(request, len(request), life.out))
            super().__init__(life)
            self._items = None
            lists = {name: given for name, given in lists.items() if isinstance(given, Mask)}
        for name, given in lists.items():
            self._add(given, *_ADDS[name])

    @classmethod
    def parse(cls, request: Union[str, bytes]) -> "Query":
        """A query of JSON, as other languages and HTTP write it: the turns, [{"role", "text"}, …], or {"turns", "seen",
        "exclude", "allow", "explain"}. What it does not know is an error."""
        life, text = cls._begin(), utf8(request)
        check(lib.query_parse(text, len(text), life.out))
        self = cls._of(life)
        self._items = None
        return self

    def turn(self, role: str, text: str) -> "Query":
        """Adds a turn of "user" or "assistant"."""
        if role not in ("user", "assistant"):
            raise ValueError(f'{role!r}: "user" or "assistant"')
        said = words(text, "text")
        check(lib.query_turn(self.raw, 0 if role == "user" else 1, said, len(said)))
        return self

    def seen(self, item: str) -> "Query":
        """Adds an item that the user knows, by its id: it tells of taste, and does not come back."""
        name = words(item, "item")
        check(lib.query_seen(self.raw, name, len(name)))
        return self

    def seen_title(self, title: str, year: int = 0) -> "Query":
        """The same by title and year of release (0: unknown)."""
        name = words(title, "title")
        check(lib.query_seen_title(self.raw, name, len(name), number("year", year)))
        return self

    def exclude(self, items: Items) -> "Query":
        """Adds what must not come back: ids, an array of rows, or booleans."""
        self._add(named("exclude", items), *_ADDS["exclude"])
        return self

    def allow(self, items: Items) -> "Query":
        """Adds what may come back, where anything may until then: ids, an array of rows, or booleans. `[]` alone: nothing."""
        self._add(named("allow", items), *_ADDS["allow"])
        return self

    def exclude_rows(self, rows: Any) -> "Query":
        """`exclude` for rows, which may be a list here."""
        self._add_rows(lib.query_exclude_rows, mask("exclude_rows", rows))
        return self

    def allow_rows(self, rows: Any) -> "Query":
        """`allow` for rows, which may be a list here."""
        self._add_rows(lib.query_allow_rows, mask("allow_rows", rows))
        return self

    def explain(self, reviews: int) -> "Query":
        """Has every item come with so many reviews that speak for it."""
        check(lib.query_explain(self.raw, number("explain", reviews)))
        return self

    def _add(self, given: Union[list[str], Mask], by_id: Any, by_row: Any) -> None:
        if isinstance(given, Mask):
            return self._add_rows(by_row, given)
        life = self.raw
        if not given:
            check(by_row(life, None, 0))
        for item in given:
            name = words(item)
            check(by_id(life, name, len(name)))

    def _add_rows(self, add: Any, rows: Mask) -> None:
        if rows.items is not None and self._items not in (None, rows.items):
            raise ValueError(f"{rows.items} booleans, where those before were {self._items}: one for each item")
        check(add(self.raw, rows.address, rows.length))
        if rows.items is not None:
            self._items = rows.items

    def _for(self, items: int) -> "Query":
        if self._items not in (None, items):
            raise ValueError(f"the query has {self._items} booleans for rows, the recommender {items} items")
        return self

    def clear(self) -> "Query":
        """Empties the query, for the next conversation."""
        check(lib.query_clear(self.raw))
        self._items = None
        return self


Asked = Union[Turns, Query]


def query_of(
    asked: Asked, seen: Seen = NOTHING, exclude: Items = NOTHING, allow: Optional[Items] = None, explain: Optional[int] = None
) -> Query:
    if not isinstance(asked, Query):
        return Query(asked, seen=seen, exclude=exclude, allow=allow, explain=explain)
    given = {"seen": seen is not NOTHING, "exclude": exclude is not NOTHING, "allow": allow is not None, "explain": explain is not None}
    for name in given:
        if given[name]:
            raise ValueError(f"what a Query asks stands in it, and so goes {name}")
    return asked
