"""Settings."""

from __future__ import annotations

import ctypes as c
import json
from typing import Any, Union

from ._handle import Handle, check, text, utf8
from ._native import lib


class Config(Handle):
    """The settings of every stage: `Config(select_budget=500)`, or TOML."""

    _free = lib.config_free
    __slots__ = ()

    def __init__(self, toml: Union[str, bytes] = "", **values: Any) -> None:
        life = self._begin()
        check(lib.config_new(life.out))
        super().__init__(life)
        if toml:
            self.read(toml)
        for key, value in values.items():
            self[key.replace("_", ".", 1)] = value

    def read(self, toml: Union[str, bytes]) -> None:
        """Reads TOML over the current values."""
        given = utf8(toml)
        check(lib.config_read(self.raw, given, len(given)))

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, (list, tuple)):
            # In quotes, so that a text may hold a comma.
            value = f"[{', '.join(json.dumps(v, ensure_ascii=False) if isinstance(v, str) else str(v) for v in value)}]"
        check(lib.config_set(self.raw, text(key), text(str(value))))

    def __getitem__(self, key: str) -> str:
        """The value as TOML: texts in quotes."""
        life, out = self.raw, c.c_char_p()
        check(lib.config_get(life, text(key), c.byref(out)))
        return (out.value or b"").decode()

    @property
    def toml(self) -> str:
        """All settings, as `read` takes them."""
        life, out = self.raw, c.c_char_p()
        check(lib.config_toml(life, c.byref(out)))
        return (out.value or b"").decode()
