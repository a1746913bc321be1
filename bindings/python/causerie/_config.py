"""Settings."""

from __future__ import annotations

import ctypes as c
import decimal
import json
import operator
import os
from typing import Any, Union

from ._handle import Handle, check, text, utf8
from ._native import lib
from ._numpy import np


class Config(Handle):
    """The settings of every stage: `Config(select_budget=500)`, or TOML."""

    _free = lib.config_free
    __slots__ = ()

    def __init__(self, toml: Union[str, bytes] = "", **values: Any) -> None:
        life = self._begin()
        check(lib.config_new(life.out))
        super().__init__(life)
        if not isinstance(toml, str) or toml:
            self.read(toml)
        for key, value in values.items():
            self[key.replace("_", ".", 1)] = value

    def read(self, toml: Union[str, bytes]) -> None:
        """Reads TOML over the current values."""
        given = utf8(toml)
        check(lib.config_read(self.raw, given, len(given)))

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            # In quotes, so that a text may hold a comma.
            given = [(_word(key, v), isinstance(v, (str, os.PathLike))) for v in value]
            said = f"[{', '.join(json.dumps(word, ensure_ascii=False) if quoted else word for word, quoted in given)}]"
        else:
            said = _word(key, value)
        check(lib.config_set(self.raw, text(key, "a key"), text(said)))

    def __getitem__(self, key: str) -> str:
        """The value as TOML: texts in quotes."""
        life, out = self.raw, c.c_char_p()
        check(lib.config_get(life, text(key, "a key"), c.byref(out)))
        return (out.value or b"").decode()

    @property
    def toml(self) -> str:
        """All settings, as `read` takes them."""
        life, out = self.raw, c.c_char_p()
        check(lib.config_toml(life, c.byref(out)))
        return (out.value or b"").decode()


def _word(key: str, value: Any) -> str:
    """A value as C reads it."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, bool) or (np is not None and isinstance(value, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, decimal.Decimal)) or (np is not None and isinstance(value, np.floating)):
        return str(value)
    try:
        return str(operator.index(value))
    except TypeError:
        pass
    raise TypeError(f"{key!s:.60}: a setting is a text, a number, a boolean or a list of them, not {value!r:.60}")
