"""Stage 4, synthesize."""

from __future__ import annotations

import ctypes as c
import json
import math
from typing import Any, Callable, NamedTuple, Optional, SupportsIndex, Union

from . import _native
from ._config import Config
from ._dataset import _MANY, Dataset
from ._handle import ChangingHandle, Life, Path, check, index, number, path, raw, text
from ._native import lib
from ._rows import Records, json_lines
from ._run import RUN, Run, apart, ending, long, outlived
from ._selection import Selection

ASK_QUERY, ASK_RECOMMEND, ASK_DIALOGUE, ASK_JUDGE = 0, 1, 2, 3
FAIL_REFUSED, FAIL_BROKEN, FAIL_THROTTLED = 1, 2, 3


class Request(NamedTuple):
    """What a teacher is asked; `kind` is ASK_QUERY, ASK_RECOMMEND, ASK_DIALOGUE or ASK_JUDGE."""

    kind: int
    prompt: str
    id: str
    temperature: float
    max_tokens: int
    seed: int
    attempt: int


class Answer(NamedTuple):
    """What a teacher says, and the tokens it cost."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class TeacherError(Exception):
    """Raised by a teacher: no answer this time; the library decides by `why` (FAIL_…) whether it asks again. Less than 0 in
    `retry_after_ms` counts as 0: as the library thinks fit. NaN and infinity are a ValueError, which ends the synthesis."""

    def __init__(self, why: int, message: str = "", retry_after_ms: float = 0) -> None:
        super().__init__(message)
        self.why, self.retry_after_ms = why, retry_after_ms


Teacher = Callable[[Request], Union[Answer, str]]


class _Asked:
    """A teacher of Python as C calls it, on threads of the library; what it raises ends the synthesis."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self.thrown: Optional[BaseException] = None
        self.callback = _native.TEACHER_FN(self._tell)

    def _tell(self, address: int, slot: int, _: object) -> int:
        try:
            if ending():
                return 1
            self._answer(address, slot)
            return 0
        except BaseException as e:
            self.thrown = self.thrown or e
            return 1

    def _answer(self, address: int, slot: int) -> None:
        r = _native.Request.from_address(address)
        prompt = c.string_at(r.prompt, r.prompt_len).decode()
        request = Request(r.kind, prompt, r.id.decode(), r.temperature, r.max_tokens, r.seed, r.attempt)
        try:
            answer = self._teacher(request)
        except TeacherError as e:
            why = str(e).encode(errors="replace")
            if isinstance(e.retry_after_ms, float) and not math.isfinite(e.retry_after_ms):
                raise ValueError(f"retry_after_ms is {e.retry_after_ms}; a number of milliseconds is needed") from None
            wait = int(min(max(e.retry_after_ms, 0), (1 << 63) - 1))
            return check(lib.answer_fail(slot, number("why", e.why), wait, why, len(why)))
        if isinstance(answer, str):
            answer = Answer(answer)
        if not isinstance(answer, Answer) or not isinstance(answer.text, str):
            raise TypeError(f"a teacher gives a text or an Answer, not {answer!r:.80}")
        said = answer.text.encode(errors="replace")
        tokens = (number("prompt_tokens", answer.prompt_tokens, 63), number("completion_tokens", answer.completion_tokens, 63))
        check(lib.answer_set(slot, said, len(said), *tokens))


class Dialogues(ChangingHandle):
    """Stage 4, synthesize: training pairs. `teacher`: a callable of your own, called from up to synthesize.in_flight
    threads; None takes that of the settings. `journal` keeps requests and answers."""

    _free = lib.dialogues_free
    __slots__ = ("_dropped",)

    def __init__(
        self, dataset: Dataset, selection: Selection, config: Optional[Config] = None, journal: Optional[Path] = None,
        teacher: Optional[Teacher] = None, teacher_name: str = "python", round: int = 1, run: Optional[Run] = None,
    ) -> None:
        life, of = self._begin(), (dataset.raw, selection.raw)
        how = (raw(config), number("round", round, 63), path(journal))
        if teacher is None:
            long(run, lib.synthesize, *of, *how, RUN, life.out)
        else:
            if ending() and not outlived():
                raise RuntimeError("the interpreter ends: a teacher of Python can be asked nothing any more")
            asked = _Asked(teacher)
            try:
                long(run, lib.synthesize_with, *of, text(teacher_name, "teacher_name"), asked.callback, None, *how, RUN, life.out)
            except Exception:
                thrown, asked.thrown = asked.thrown, None
                if thrown is None:
                    raise
                try:
                    raise thrown from None
                finally:
                    del thrown
        super().__init__(life)
        self._dropped = 0

    @classmethod
    def _filled(cls, life: Life, dropped: int) -> "Dialogues":
        self = cls._of(life)
        self._dropped = dropped
        return self

    @staticmethod
    def export_requests(
        dataset: Dataset, selection: Selection, config: Config, journal: Path, file: Path, run: Optional[Run] = None
    ) -> tuple[int, int]:
        """For a batch endpoint: writes the requests that can be made now and are not answered in `journal` to `file`;
        gives how many those are, and how many are answered."""
        requests, answered = c.c_uint64(), c.c_uint64()
        of = (dataset.raw, selection.raw, config.raw, path(journal), path(file))
        long(run, lib.synthesize_export, *of, RUN, c.byref(requests), c.byref(answered))
        return requests.value, answered.value

    @staticmethod
    def import_answers(journal: Path, answers: Path, run: Optional[Run] = None) -> tuple[int, int]:
        """Takes a batch endpoint's answers into `journal`; gives how many were taken, and how many are missing."""
        taken, missing = c.c_uint64(), c.c_uint64()
        long(run, lib.synthesize_import, path(journal), path(answers), RUN, c.byref(taken), c.byref(missing))
        return taken.value, missing.value

    @classmethod
    def load(cls, file: Path) -> "Dialogues":
        """What `save` wrote, or the dialogues.jsonl of a work directory; `dropped` counts the lines that are none."""
        life, dropped, of = cls._begin(), c.c_size_t(), path(file)
        apart(lambda: check(lib.dialogues_load(of, life.out, c.byref(dropped))), True)
        return cls._filled(life, dropped.value)

    @classmethod
    def parse(cls, dialogues: Records) -> "Dialogues":
        """The same from JSON lines in memory, or from dicts as `dialogues[i]` gives them."""
        life, dropped, lines = cls._begin(), c.c_size_t(), json_lines(dialogues)
        apart(lambda: check(lib.dialogues_parse(lines, len(lines), life.out, c.byref(dropped))), len(lines) > _MANY)
        return cls._filled(life, dropped.value)

    @property
    def dropped(self) -> int:
        """Lines of `load` and `parse` that were no dialogues, and passed over."""
        return self._dropped

    def __len__(self) -> int:
        return int(self.raw.read(lib.dialogues_count))

    def __getitem__(self, i: SupportsIndex) -> dict[str, Any]:
        life, at = self.raw, index(i)
        if at < 0:
            at += life.read(lib.dialogues_count)
        found = life.read(lib.dialogues_get, at) if at >= 0 else None
        if found is None:
            raise IndexError(i)
        dialogue: dict[str, Any] = json.loads(found)
        return dialogue

    def add(self, more: "Dialogues") -> None:
        """Appends the dialogues of a later round."""
        life = self.raw
        with life.alone():
            check(lib.dialogues_add(life, more.raw))

    def save(self, file: Path) -> None:
        """Writes JSON lines in chat format, all or nothing."""
        life, of = self.raw, path(file)
        apart(lambda: check(lib.dialogues_save(life, of)), True)

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.raw.read(lib.dialogues_report))
        return report
