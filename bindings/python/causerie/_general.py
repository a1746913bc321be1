"""What belongs to no handle: the library, its log, the table of settings."""

from __future__ import annotations

import atexit
import ctypes as c
import os
from typing import Any, Callable, NamedTuple, Optional

from . import _native
from ._config import Config
from ._handle import Path, number, path, raw
from ._native import lib
from ._run import RUN, Run, ending, long


def version() -> str:
    """`causerie/0.1.0 …` of the library that is loaded."""
    return str(lib.version().decode())


def handles() -> int:
    """Handles of this process that are not ended, of all its users: 0 once everything was. For tests that look for leaks."""
    return int(lib.handles())


class Setting(NamedTuple):
    """One row of the table of settings."""

    key: str
    kind: str
    initial: str
    bounds: str
    doc: str


def settings() -> list[Setting]:
    """Every setting with its default, its bounds and what it does."""
    rows = (lib.config_setting(i).contents for i in range(lib.config_count()))
    return [Setting(*(getattr(row, name).decode() for name in Setting._fields)) for row in rows]


_log_callback: Any = None


def log(callback: Optional[Callable[[int, str], object]], level: int = 2) -> None:
    """Sends the library's log to `callback(level, text)`, up to `level` (1 error … 4 debug); None silences it. It is called
    on any thread; what it raises goes to `sys.unraisablehook`, and the call that logged goes on."""
    global _log_callback
    if callback is None:
        lib.log(_native.LOG_FN(), None, 0)
        _log_callback = None
        return
    said = callback

    def _tell(at: int, text: int, length: int, _: object) -> None:
        said(at, c.string_at(text, length).decode(errors="replace"))

    if ending():  # no callback can be entered soon
        return
    before, _log_callback = _log_callback, _native.LOG_FN(_tell)
    lib.log(_log_callback, None, number("level", level))
    del before


_process = os.getpid()


def _end() -> None:
    # In a process that was forked, what another thread had of the log may never be given back.
    if _log_callback is not None and os.getpid() == _process:
        log(None)


atexit.register(_end)


def simulate(config: Optional[Config], folder: Path, run: Optional[Run] = None) -> None:
    """Writes a simulated domain into `folder`."""
    long(run, lib.simulate, raw(config), path(folder), RUN)
