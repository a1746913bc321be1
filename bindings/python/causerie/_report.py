"""Stage 7, evaluate; and the whole loop."""

from __future__ import annotations

import ctypes as c
import json
from typing import Any, Optional, Sequence

from ._config import Config
from ._handle import Handle, Path, check, number, path, pointers, raw, text
from ._native import lib
from ._recommender import Recommender
from ._rows import Records, json_lines
from ._run import RUN, Run, long


class Report(Handle):
    """What came of an evaluation, or of the whole loop. In a notebook it shows itself."""

    _free = lib.report_free
    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a Report comes of Report.evaluate, or of pipeline")

    @classmethod
    def evaluate(
        cls, recommenders: Sequence[Recommender], conversations: Records = "", config: Optional[Config] = None,
        run: Optional[Run] = None,
    ) -> "Report":
        """Scores recommenders of one catalogue on the same conversations ("": the files of the settings)."""
        lines, life = json_lines(conversations), cls._begin()
        lives = [r.raw for r in recommenders]
        long(run, lib.evaluate, pointers(lives), len(lives), lines, len(lines), raw(config), RUN, life.out)
        return cls._of(life)

    @property
    def data(self) -> dict[str, Any]:
        life = self.raw
        data: dict[str, Any] = json.loads(lib.report_json(life))
        return data

    @property
    def html(self) -> str:
        """One page that loads nothing."""
        life, out = self.raw, c.c_char_p()
        check(lib.report_html(life, c.byref(out)))
        return (out.value or b"").decode()

    def metric(self, name: str, system: int = 0) -> tuple[float, float]:
        """Mean and standard error of "recall@10" and its like, items already mentioned removed."""
        mean, se = c.c_double(), c.c_double()
        check(lib.report_metric(self.raw, number("system", system, 63), text(name, "name"), c.byref(mean), c.byref(se)))
        return mean.value, se.value

    def save(self, folder: Path) -> None:
        """Writes report.json and report.html into `folder`."""
        check(lib.report_save(self.raw, path(folder)))

    def _repr_html_(self) -> str:
        # A page of its own: its styles must not reach the notebook's.
        page = self.html.replace("&", "&amp;").replace('"', "&quot;")
        return f'<iframe srcdoc="{page}" width="100%" height="700" frameborder="0" sandbox></iframe>'


def pipeline(config: Config, work_dir: Path, restart: bool = False, run: Optional[Run] = None) -> Report:
    """All stages in rounds into `work_dir`; a second call goes on after the last finished one."""
    life = Report._begin()
    long(run, lib.pipeline, config.raw, path(work_dir), int(restart), RUN, life.out)
    return Report._of(life)
