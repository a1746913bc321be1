"""A call under way: its progress, its cancel, and how Ctrl-C stops it.

Python runs signal handlers on the main thread alone, between two steps of its own, and so never while that thread is in C. A
call that may take long is therefore made on a thread of its own where the main thread asks for it: the main thread waits where
signals reach it, runs the callbacks (they stay on the thread that asked), and cancels the call when a handler raises. On other
threads, which no signal reaches, the call is made in place, and so are short ones everywhere.
"""

from __future__ import annotations

import _thread
import ctypes as c
import queue
import sys
import threading
import time
from typing import Any, Callable, NamedTuple, Optional

from . import _native
from ._handle import Handle, Life, check, number
from ._native import lib
from ._numpy import np


class Progress(NamedTuple):
    """How far a call is."""

    stage: str
    unit: str
    done: int
    total: int
    seconds: float
    seconds_left: float
    note: str


def _progress(p: _native.Progress) -> Progress:
    def text(b: Optional[bytes]) -> str:
        return (b or b"").decode(errors="replace")

    return Progress(text(p.stage), text(p.unit), p.done, p.total, p.seconds, p.seconds_left, text(p.note))


def _stops(said: Any) -> bool:
    """Whether a callback stopped its call: by False, of Python or numpy; 0 is what `write("")` returns."""
    return said is False or (np is not None and isinstance(said, np.bool_) and not said)


# The call that each thread is in.
_calls: dict[int, "_Call"] = {}


class _Call:
    """One call of C, and what was raised meanwhile."""

    __slots__ = ("_life", "_function", "_arguments", "_error", "thrown", "_aside", "_stopped", "_gate", "_done", "_wake", "_said")

    def __init__(self, life: Life, function: Any, arguments: tuple[Any, ...]) -> None:
        self._life, self._function, self._arguments = life, function, arguments
        self._error: Optional[int] = None
        self.thrown: Optional[BaseException] = None
        self._aside = self._stopped = self._done = False

    def here(self) -> None:
        """Makes the call on this thread."""
        ident = _thread.get_ident()
        before = _calls.get(ident)
        _calls[ident] = self
        try:
            self._error = self._function(*self._arguments)
        except BaseException as e:
            self.thrown = self.thrown or e
        finally:
            if before is None:
                del _calls[ident]
            else:
                _calls[ident] = before

    def aside(self) -> None:
        """Makes the call on a thread of its own, and serves its callbacks on this one until it has ended."""
        self._aside = True
        self._gate = _thread.allocate_lock()  # whoever takes it decides: the call is begun, or never will be
        self._wake: "queue.SimpleQueue[Optional[tuple[Callable[[Any], Any], Any]]]" = queue.SimpleQueue()
        self._said: "queue.SimpleQueue[int]" = queue.SimpleQueue()
        try:
            task = _Task.now()
            try:
                _thread.start_new_thread(self._work, ())
            except RuntimeError:  # no thread is to be had; at the interpreter's end, say
                self._aside = False
                return self.here()
            while (asked := self._next(task)) is not None:
                self._said.put(self.answer(*asked))
        except BaseException as e:
            self._stop(e)

    def _next(self, task: Optional["_Task"]) -> Optional[tuple[Callable[[Any], Any], Any]]:
        while True:
            try:
                return self._wake.get(timeout=None if task is None else 0.05)
            except queue.Empty:
                if task is not None:
                    task.check()

    def _work(self) -> None:
        if not self._gate.acquire(False):
            return
        self.here()
        self._done = True
        self._wake.put(None)

    def _stop(self, thrown: BaseException) -> None:
        """Cancels the call, and waits until it has ended: what it was given is in use until then."""
        self.thrown = self.thrown or thrown
        self._stopped = True
        if self._gate.acquire(False):
            return
        patience = time.monotonic() + 5
        while not self._done:
            try:
                # Again and again: a cancel that comes before the call has begun may be lost.
                lib.run_cancel(self._life)
                time.sleep(0.001)
            except BaseException:
                if time.monotonic() > patience:
                    raise

    def hear(self, callback: Callable[[Any], Any], argument: Any) -> int:
        """Runs a callback of this call on the thread that asked for it; what C is told, 0 to go on."""
        if not self._aside:
            return self.answer(callback, argument)
        if self._stopped:
            return 1
        self._wake.put((callback, argument))
        while True:
            try:
                return self._said.get(timeout=0.05)
            except queue.Empty:
                if self._stopped:
                    return 1

    def answer(self, callback: Callable[[Any], Any], argument: Any) -> int:
        if self.thrown is not None:
            return 1
        try:
            return int(_stops(callback(argument)))
        except BaseException as e:
            self.thrown = e
            return 1

    def end(self) -> None:
        """Raises what was raised, else what the call failed with."""
        error, thrown = self._error, self.thrown
        # Nothing of the call may live on in the traceback of what is raised.
        self._error = self.thrown = None
        self._arguments = ()
        if thrown is None:
            return check(error)
        if error:
            lib.error_free(error)
        try:
            raise thrown
        finally:
            del thrown


class _Task:
    """The asyncio task that makes a call. asyncio's own handler of Ctrl-C raises nothing at first, but cancels the task."""

    __slots__ = ("_task", "_before")

    def __init__(self, task: Any) -> None:
        self._task, self._before = task, task.cancelling()

    @staticmethod
    def now() -> Optional["_Task"]:
        asyncio = sys.modules.get("asyncio")
        try:
            task = asyncio.current_task() if asyncio is not None else None
        except RuntimeError:  # no loop runs on this thread
            task = None
        return _Task(task) if hasattr(task, "cancelling") else None

    def check(self) -> None:
        if self._task.cancelling() > self._before:
            raise sys.modules["asyncio"].CancelledError


def _heard(callback: Callable[[Any], Any], argument: Any) -> int:
    call = _calls.get(_thread.get_ident())
    return 1 if call is None else call.hear(callback, argument)


OnProgress = Callable[[Progress], object]
OnToken = Callable[[str], object]


class Run(Handle):
    """Calls that are watched: `Run(on_progress=print)`. `on_token` gets the text that a language model writes, "" at the end
    of an answer. A callback that returns False stops its call (Error with CANCELLED), what it raises ends the call and comes
    out of it; anything else goes on. Both run on the thread that made the call. `cancel()` works from any thread, and so do
    `reset` and `poll`."""

    _free = lib.run_free
    __slots__ = ("_callbacks", "_lock", "_under_way", "_interrupted")

    def __init__(
        self, threads: int = 0, on_progress: Optional[OnProgress] = None, on_token: Optional[OnToken] = None
    ) -> None:
        life = self._begin()
        check(lib.run_new(number("threads", threads), life.out))
        super().__init__(life)
        self._lock = threading.Lock()
        self._under_way, self._interrupted = 0, False
        self._callbacks: list[Any] = []
        if on_progress is not None:
            progressed: OnProgress = on_progress

            def tell(address: int, _: object) -> int:
                return _heard(progressed, _progress(_native.Progress.from_address(address)))

            self._callbacks.append(_native.PROGRESS_FN(tell))
            check(lib.run_on_progress(life, self._callbacks[-1], None))
        if on_token is not None:
            written: OnToken = on_token

            def read(text: int, length: int, _: object) -> int:
                return _heard(written, c.string_at(text, length).decode(errors="replace"))

            self._callbacks.append(_native.TOKEN_FN(read))
            check(lib.run_on_token(life, self._callbacks[-1], None))

    def cancel(self) -> None:
        """Ends the calls under way, at their next step, with Error and CANCELLED; what was finished is kept. Later calls fail
        so as well, until `reset`."""
        lib.run_cancel(self.raw)

    def reset(self) -> None:
        """Takes a cancel back."""
        lib.run_reset(self.raw)

    def poll(self) -> Progress:
        """How far the call is."""
        out = _native.Progress()
        check(lib.run_poll(self.raw, c.byref(out), c.sizeof(out)))
        return _progress(out)

    def _do(self, life: Life, function: Any, arguments: tuple[Any, ...], long: bool) -> None:
        call = _Call(life, function, arguments)
        if not long:
            call.here()
            return call.end()
        with self._lock:
            self._under_way += 1
        try:
            if threading.current_thread() is threading.main_thread():
                call.aside()
            else:
                call.here()
        finally:
            with self._lock:
                self._under_way -= 1
                self._interrupted |= call._stopped
                # Calls beside it are to see the cancel; those to come are not.
                if self._interrupted and self._under_way == 0:
                    self._interrupted = False
                    lib.run_reset(life)
        call.end()


RUN = object()
"""Stands among arguments for what the run of a call is to C."""


def long(run: Optional[Run], function: Any, *arguments: Any) -> None:
    """Makes a call that may take long: Ctrl-C stops it. RUN among the arguments stands for `run`, or for one of its own."""
    run = Run() if run is None else run
    life = run.raw
    run._do(life, function, tuple(life if a is RUN else a for a in arguments), True)


def short(run: Optional[Run], function: Any, *arguments: Any) -> None:
    """Makes a call that is over before a thread could be started for it."""
    if run is None:
        return check(function(*(None if a is RUN else a for a in arguments)))
    life = run.raw
    run._do(life, function, tuple(life if a is RUN else a for a in arguments), False)
