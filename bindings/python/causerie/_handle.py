"""What every noun rests on: errors, handles that end themselves, arguments that C would misread."""

from __future__ import annotations

import contextlib
import ctypes as c
import operator
import os
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterator, Optional, Sequence, SupportsIndex, Type, TypeVar, Union

from ._native import lib
from ._numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

    # What type checkers know of the arrays; without numpy they are memoryviews of the same shape.
    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.uint64]

INVALID, NOT_FOUND, IO, FORMAT, TEACHER, MEMORY, CANCELLED, UNSUPPORTED = 1, 2, 3, 4, 5, 6, 7, 8
BUSY, CLOSED, BUG = 9, 10, 99

Path = Union[str, "os.PathLike[str]"]


class Error(Exception):
    """What a call failed with: `code` for programs, the message for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> Any:  # for processes that tell each other
        return type(self), (self.code, str(self))


class ClosedError(Error, ValueError):
    """The handle was closed, by another thread perhaps."""


def check(error: Optional[int]) -> None:
    """Raises what a call gave."""
    if error:
        code, message = lib.error_code(error), lib.error_message(error).decode()
        lib.error_free(error)
        raise (ClosedError if code == CLOSED else Error)(code, message)


def text(value: str, name: str = "this") -> bytes:
    """A text that C reads up to its NUL."""
    return _whole(words(value, name))


def words(value: str, name: str = "this") -> bytes:
    """A text as C reads it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r:.60}; a text is needed")
    return value.encode()


def path(value: Optional[Path]) -> Optional[bytes]:
    return None if value is None else _whole(os.fsencode(value))


def _whole(value: bytes) -> bytes:
    if b"\0" in value:
        raise ValueError(f"{value!r}: a NUL stands in it, and C would read no further")
    return value


def number(name: str, value: SupportsIndex, bits: int = 31) -> int:
    """A number that C reads in so many bits: what is beyond, ctypes would cut without a word."""
    if isinstance(value, bool):
        raise TypeError(f"{name} is {value}; a number is needed")
    whole = operator.index(value)
    if not 0 <= whole < 1 << bits:
        raise ValueError(f"{name} is {whole}; it must be from 0 to {(1 << bits) - 1}")
    return whole


def index(value: SupportsIndex) -> int:
    """A place in a list: IndexError for what C could not read, which is beyond every list."""
    if isinstance(value, bool):
        raise TypeError(f"{value} is no index; a number is needed")
    whole = operator.index(value)
    if not -(1 << 63) <= whole < 1 << 63:
        raise IndexError(value)
    return whole


def utf8(value: Union[str, bytes, bytearray, memoryview]) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"a text or bytes are needed, not {value!r:.60}")
    return bytes(value)


def view(buffer: Any, shape: tuple[int, ...]) -> "memoryview[Any]":
    """A buffer of ctypes as [shape]: with strides that memoryview knows how to index."""
    kind: Any = memoryview(buffer).format.lstrip("<")
    flat = memoryview(buffer).cast("B")
    return flat.cast(kind, shape) if len(shape) > 1 and len(flat) else flat.cast(kind)


def array(life: "Life", address: Optional[int], shape: tuple[int, ...], ctype: Any) -> Any:
    """A read-only view of memory behind the handle of `life`, which it keeps alive."""
    count = 1
    for n in shape:
        count *= n
    if not address or count == 0:
        buffer = (ctype * 0)()
    else:
        buffer = (ctype * count).from_address(address)
        buffer._owner = life  # the view keeps the buffer, the buffer what is behind the handle, closed or not
    if np is None:
        return view(buffer, shape).toreadonly()
    values = np.ctypeslib.as_array(buffer).reshape(shape)
    values.flags.writeable = False
    return values


class _End(weakref.ref):  # type: ignore[type-arg]
    """Ends what is behind a handle, when its Life goes, by C alone: a signal that strikes in a destructor written in Python
    would be lost, and the handle with it."""

    __slots__ = ("_as_parameter_",)

    _as_parameter_: c.c_void_p


# By their own address: all that lay at one address have one hash.
_ends: dict[int, _End] = {}
_ends_kept = 256


def _drop_ends() -> None:
    """An end has to be there when its time comes. Those that are past are dropped now and then."""
    global _ends_kept
    for key, end in list(_ends.items()):
        if end() is None:
            _ends.pop(key, None)
    _ends_kept = max(256, 2 * len(_ends))


class _Turn:
    """A call that has a handle alone; one that a signal tore out of its call is gone as well."""

    __slots__ = ("__weakref__",)


_untrack = c.pythonapi.PyObject_GC_UnTrack
_untrack.restype, _untrack.argtypes = None, [c.py_object]


class Life:
    """What is behind a C handle: it ends when nobody holds it, neither the handle nor a view of its memory. ctypes takes it as
    an argument, and so a call holds it to its end, whoever closes the handle meanwhile. It is there before the call that
    fills it, so that an exception that a signal raises loses nothing."""

    __slots__ = ("_as_parameter_", "__weakref__")

    def __init__(self, free: Any) -> None:
        end = _End(self, free)
        self._as_parameter_ = end._as_parameter_ = c.c_void_p()
        _ends[id(end)] = end
        if len(_ends) > _ends_kept:
            _drop_ends()
        # The collector would end it before it runs the destructors of a circle in which it stands, and they may use it.
        _untrack(self)

    @property
    def out(self) -> Any:
        """Where C puts the handle."""
        return c.byref(self._as_parameter_)


class ChangingLife(Life):
    """The same behind a handle that calls change, and whose readers cannot say that they were refused meanwhile."""

    __slots__ = ("_turns", "_changes")

    def __init__(self, free: Any) -> None:
        super().__init__(free)
        self._turns: "weakref.WeakSet[_Turn]" = weakref.WeakSet()
        self._changes = 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For the time of a call that needs the handle alone."""
        turn = _Turn()
        self._turns.add(turn)
        self._changes += 1
        try:
            yield
        finally:
            self._turns.discard(turn)

    def read(self, function: Any, *arguments: Any) -> Any:
        """Calls a function that gives 0 or NULL where it may not read: beside a call that needs the handle alone."""
        alone, changes = bool(self._turns), self._changes
        given = function(self, *arguments)
        if not given and (alone or changes != self._changes):
            raise Error(BUSY, "another call changes this handle at this moment; read it again later")
        return given


def pointers(lives: Sequence[Life]) -> Any:
    """An array of handles for C; the caller holds `lives` until the call has returned."""
    return (c.c_void_p * len(lives))(*(life._as_parameter_ for life in lives))


H = TypeVar("H", bound="Handle")


class Handle:
    """A C handle that ends itself. Any thread may use and close it: a call under way goes on to its end, later ones raise
    ClosedError or ValueError."""

    _free: Any = None
    __slots__ = ("_life", "__weakref__")

    _life: Optional[Life]

    def __init__(self, life: Life) -> None:
        if hasattr(self, "_life"):
            raise TypeError(f"this {type(self).__name__} is there already; make another")
        self._life = life

    @classmethod
    def _begin(cls) -> Life:
        """For a call to fill."""
        return Life(cls._free)

    @classmethod
    def _of(cls: Type[H], life: Life) -> H:
        self = cls.__new__(cls)
        Handle.__init__(self, life)
        return self

    @property
    def raw(self) -> Life:
        """What a call is given. Whoever reads memory that the handle lends keeps it in a local until that is read."""
        life: Optional[Life] = getattr(self, "_life", None)
        if life is None:
            raise ClosedError(CLOSED, f"this {type(self).__name__} was closed")
        return life

    def close(self) -> None:
        """Ends the handle; it ends by itself as well. Arrays that it gave out stay valid: they keep its memory."""
        self._life = None

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it stands for something in this process")

    def __enter__(self: H) -> H:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


class ChangingHandle(Handle):
    """A handle whose calls may need it alone."""

    __slots__ = ()

    @classmethod
    def _begin(cls) -> Life:
        return ChangingLife(cls._free)

    @property
    def raw(self) -> ChangingLife:
        life = super().raw
        assert isinstance(life, ChangingLife)
        return life


def raw(handle: Optional[Handle]) -> Optional[Life]:
    return None if handle is None else handle.raw
