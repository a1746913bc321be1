"""A call under way: its progress, its cancel, and how Ctrl-C stops it.

Python runs signal handlers on the main thread alone, between two steps of its own, and so never while that thread is in C. A
call that may take long is therefore made on a thread of its own where the main thread asks for it: the main thread waits where
signals reach it, runs the callbacks (they stay on the thread that asked), and cancels the call when a handler raises. A call with
callbacks is made so on every thread: what another thread raises in this one would strike at the head of a callback, and be lost
in C. Other calls of other threads, which no signal reaches, are made in place, and so are short ones everywhere.

A thread that enters Python while the interpreter ends is torn out of it, through the frames of C that called it. So all calls
are ended before that: see `_end`.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes as c
import os
import queue
import sys
import threading
import time
from typing import Any, Callable, NamedTuple, Optional

from . import _native
from ._handle import CANCELLED, Error, Handle, Life, check, number
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
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_calls.clear)  # their threads are not there

_PATIENCE = 5.0
"""Seconds that calls have to end in, once they were cancelled, before their thread goes on without them."""

_ender: Optional[int] = None
"""The thread that ends the interpreter, once it does."""


def _end() -> None:
    """Ends the calls of threads that outlive the program, before the interpreter ends: afterwards no callback can be entered."""
    global _ender
    _ender = _thread.get_ident()
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            calls = [call for ident, call in list(_calls.items()) if ident != _ender]
            if not calls:
                return
            for call in calls:
                lib.run_cancel(call.life)
            time.sleep(0.001)
        except BaseException:  # a signal: what is waited for must be over all the same
            pass


atexit.register(_end)


def outlived() -> bool:
    """Whether this thread is one that the program leaves behind: its calls end, and so does it, without a word."""
    return _ender not in (None, _thread.get_ident())


def ending() -> bool:
    """Whether the interpreter ends: no thread can be waited for any more."""
    return _ender is not None or sys.is_finalizing()


class _Call:
    """One call of C, and what was raised meanwhile."""

    __slots__ = (
        "life", "_function", "_arguments", "_error", "thrown", "_aside", "_stopped", "_gate", "_done", "_wake", "_said", "_process",
    )

    def __init__(self, life: Life, function: Any, arguments: tuple[Any, ...]) -> None:
        self.life, self._function, self._arguments = life, function, arguments
        self._error: Optional[int] = None
        self.thrown: Optional[BaseException] = None
        self._aside = self._stopped = self._done = False

    def here(self) -> None:
        """Makes the call on this thread."""
        ident = _thread.get_ident()
        before = _calls.get(ident)
        _calls[ident] = self
        try:
            if outlived():
                raise SystemExit
            self._error = self._function(*self._arguments)
        except BaseException as e:
            self.thrown = self.thrown or e
        finally:
            if before is None:
                _calls.pop(ident, None)
            else:
                _calls[ident] = before

    def aside(self) -> None:
        """Makes the call on a thread of its own, and serves its callbacks on this one until it has ended."""
        self._aside, self._process = True, os.getpid()
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
                said = self.answer(*asked)
                if os.getpid() != self._process:
                    raise Error(CANCELLED, "the call is under way in the process from which this one was forked in a callback")
                self._said.put(said)
        except BaseException as e:
            self._stop(e)

    def _next(self, task: Optional["_Task"]) -> Optional[tuple[Callable[[Any], Any], Any]]:
        # Signals reach the main thread while it waits; what asyncio or another thread has to say is looked for.
        patience = None if task is None and threading.current_thread() is threading.main_thread() else 0.05
        while True:
            try:
                return self._wake.get(timeout=patience)
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
        if os.getpid() != self._process:
            return
        self._stopped = True
        if self._gate.acquire(False):
            return
        patience = time.monotonic() + _PATIENCE
        while not self._done:
            try:
                # Again and again: a cancel that comes before the call has begun may be lost.
                lib.run_cancel(self.life)
                time.sleep(0.001)
            except BaseException:
                if time.monotonic() > patience:
                    raise

    def hear(self, callback: Callable[[Any], Any], argument: Any) -> int:
        """Runs a callback of this call on the thread that asked for it; what C is told, 0 to go on."""
        if outlived():
            return 1
        if not self._aside:
            return self.answer(callback, argument)
        if self._stopped:
            return 1
        self._wake.put((callback, argument))
        while True:
            try:
                return self._said.get(timeout=0.05)
            except queue.Empty:
                if self._stopped or _ender is not None:
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
        if error and outlived():
            thrown = SystemExit()
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


_track = c.pythonapi.PyObject_GC_Track
_track.restype, _track.argtypes = None, [c.py_object]


class _RunLife(Life):
    """The same behind a Run, with the callbacks that C has: a call that goes on alone holds them as well."""

    __slots__ = ("callbacks",)

    def __init__(self, free: Any) -> None:
        super().__init__(free)
        self.callbacks: list[Any] = []  # which may know the run again
        _track(self)


def _heard(callback: Callable[[Any], Any], argument: Callable[[], Any]) -> int:
    call: Optional[_Call] = None
    try:
        call = _calls.get(_thread.get_ident())
        return 1 if call is None else call.hear(callback, argument())
    except BaseException as e:  # on the way to the callback
        if call is not None:
            call.thrown = call.thrown or e
        return 1


OnProgress = Callable[[Progress], object]
OnToken = Callable[[str], object]


class Run(Handle):
    """Calls that are watched: `Run(on_progress=print)`. `on_token` gets the text that a language model writes, "" at the end
    of an answer. A callback that returns False stops its call (Error with CANCELLED), what it raises ends the call and comes
    out of it; anything else goes on. Both run on the thread that made the call. `cancel()` works from any thread, and so do
    `reset` and `poll`."""

    _free = lib.run_free
    __slots__ = ("_lock", "_under_way", "_interrupted")

    @classmethod
    def _begin(cls) -> _RunLife:
        return _RunLife(cls._free)

    @property
    def raw(self) -> _RunLife:
        life = super().raw
        assert isinstance(life, _RunLife)
        return life

    def __init__(
        self, threads: int = 0, on_progress: Optional[OnProgress] = None, on_token: Optional[OnToken] = None
    ) -> None:
        life = self._begin()
        check(lib.run_new(number("threads", threads), life.out))
        super().__init__(life)
        self._lock = threading.Lock()
        self._under_way, self._interrupted = 0, False
        if on_progress is not None:
            progressed: OnProgress = on_progress

            def tell(address: int, _: object) -> int:
                return _heard(progressed, lambda: _progress(_native.Progress.from_address(address)))

            life.callbacks.append(_native.PROGRESS_FN(tell))
            check(lib.run_on_progress(life, life.callbacks[-1], None))
        if on_token is not None:
            written: OnToken = on_token

            def read(text: int, length: int, _: object) -> int:
                return _heard(written, lambda: c.string_at(text, length).decode(errors="replace"))

            life.callbacks.append(_native.TOKEN_FN(read))
            check(lib.run_on_token(life, life.callbacks[-1], None))

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

    def _do(self, life: _RunLife, function: Any, arguments: tuple[Any, ...], long: bool) -> None:
        call = _Call(life, function, arguments)
        if not long:
            call.here()
            return call.end()
        with self._lock:
            self._under_way += 1
        try:
            if not ending() and (life.callbacks or threading.current_thread() is threading.main_thread()):
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


def apart(function: Callable[[], None], long: bool) -> None:
    """Calls a function that makes a call of C which nothing can stop. Where the main thread asks for a long one, a thread of its
    own makes it: what a signal handler raises comes out at once, and the call goes on to its end, of which nobody hears."""
    if not long or ending() or threading.current_thread() is not threading.main_thread():
        return function()
    done: "queue.SimpleQueue[Optional[BaseException]]" = queue.SimpleQueue()

    def work() -> None:
        try:
            function()
        except BaseException as e:
            done.put(e)
        else:
            done.put(None)

    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:
        return function()
    thrown = done.get()
    if thrown is not None:
        try:
            raise thrown
        finally:
            del thrown
