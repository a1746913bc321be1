"""causerie: from reviews to a conversational recommender of your own.

load → embed → select → synthesize → tune → recommend → evaluate, over the C library. Works without numpy; with it,
embeddings, selections and scores are numpy arrays over the library's memory, without a copy.
"""

from __future__ import annotations

import ctypes as c
import json
import operator
import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, NamedTuple, Optional, Sequence, Union

from . import _native
from ._native import lib

try:
    import numpy as _np
except ImportError:  # memoryviews then
    _np = None

if TYPE_CHECKING:
    import numpy

__all__ = [
    "Answer", "ClosedError", "Config", "Dataset", "Dialogues", "Embeddings", "Error", "Model", "Progress", "Query", "Recommendation",
    "Recommendations",
    "Recommender", "Report", "Request", "Run", "Selection", "TeacherError", "log", "pipeline", "settings", "simulate",
    "version",
]

INVALID, NOT_FOUND, IO, FORMAT, TEACHER, MEMORY, CANCELLED, UNSUPPORTED = 1, 2, 3, 4, 5, 6, 7, 8
BUSY, CLOSED, BUG = 9, 10, 99
ITEMS, REVIEWS, INTERACTIONS = 0, 1, 2
ASK_QUERY, ASK_RECOMMEND = 0, 1
FAIL_REFUSED, FAIL_BROKEN, FAIL_THROTTLED = 1, 2, 3

Path = Union[str, "os.PathLike[str]"]
Array = Union["numpy.ndarray", memoryview]


class Error(Exception):
    """What a call failed with: `code` for programs, the message for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ClosedError(Error, ValueError):
    """The handle was closed, by another thread perhaps."""


def _check(error: Optional[int]) -> None:
    if error:
        code, message = lib.error_code(error), lib.error_message(error).decode()
        lib.error_free(error)
        raise (ClosedError if code == CLOSED else Error)(code, message)


def _text(text: str) -> bytes:
    """A text that C reads up to its NUL."""
    return _whole(text.encode())


def _path(path: Optional[Path]) -> Optional[bytes]:
    return None if path is None else _whole(os.fsencode(path))


def _whole(text: bytes) -> bytes:
    if b"\0" in text:
        raise ValueError(f"{text!r}: a NUL stands in it, and C would read no further")
    return text


def _number(name: str, value: int) -> int:
    """A number that C reads in 32 bits, which it would cut without a word."""
    value = operator.index(value)
    if not 0 <= value < 2**31:
        raise ValueError(f"{name} is {value}; it must be from 0 to {2**31 - 1}")
    return value


def _bytes(text: Union[str, bytes]) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _array(life: "_Life", address: Optional[int], shape: tuple, ctype: Any) -> Array:
    """A read-only view of memory behind the handle of `life`, which it keeps alive."""
    count = 1
    for n in shape:
        count *= n
    if not address or count == 0:
        buffer = (ctype * 0)()
    else:
        buffer = (ctype * count).from_address(address)
        buffer._owner = life  # the view keeps the buffer, the buffer what is behind the handle, closed or not
    if _np is None:
        view = memoryview(buffer).cast("B").cast(memoryview(buffer).format.lstrip("<"))
        return (view.cast("B").cast(view.format, shape) if len(shape) > 1 and count else view).toreadonly()
    array = _np.ctypeslib.as_array(buffer).reshape(shape)
    array.flags.writeable = False
    return array


class _Life:
    """What is behind a C handle: it ends when nobody holds it, neither the handle nor a view of its memory. ctypes takes it as
    an argument, and so a call holds it to its end, whoever closes the handle meanwhile."""

    __slots__ = ("_as_parameter_", "free")

    def __init__(self, raw: c.c_void_p, free: Any) -> None:
        self._as_parameter_, self.free = raw, free

    def __del__(self) -> None:
        if lib is not None and self._as_parameter_:
            self.free(self._as_parameter_)


def _pointers(lives: Sequence[_Life]) -> Any:
    """An array of handles for C; the caller holds `lives` until the call has returned."""
    return (c.c_void_p * len(lives))(*(life._as_parameter_ for life in lives))


class _Handle:
    """A C handle that ends itself. Any thread may use and close it: a call under way goes on to its end, later ones raise
    ClosedError or ValueError."""

    _free = "config_free"
    __slots__ = ("_life", "__weakref__")

    def __init__(self, raw: c.c_void_p) -> None:
        self._life: Optional[_Life] = _Life(raw, getattr(lib, self._free))

    @property
    def raw(self) -> _Life:
        """What a call is given. Whoever reads memory that the handle lends keeps it in a local until that is read."""
        life = getattr(self, "_life", None)
        if life is None:
            raise ValueError(f"this {type(self).__name__} was closed")
        return life

    def close(self) -> None:
        """Ends the handle; it ends by itself as well. Arrays that it gave out stay valid: they keep its memory."""
        self._life = None

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it stands for something in this process")

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _raw(handle: Optional[_Handle]) -> Optional[_Life]:
    return None if handle is None else handle.raw


def version() -> str:
    """`causerie/0.1.0 …` of the library that is loaded."""
    return lib.version().decode()


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


def log(callback: Optional[Callable[[int, str], None]], level: int = 2) -> None:
    """Sends the library's log to `callback(level, text)`, up to `level` (1 error … 4 debug); None silences it."""
    global _log_callback
    if callback is None:
        lib.log(_native.LOG_FN(), None, 0)
        _log_callback = None
        return

    def tell(at: int, text: int, length: int, _: object) -> None:
        callback(at, c.string_at(text, length).decode(errors="replace"))

    before, _log_callback = _log_callback, _native.LOG_FN(tell)
    lib.log(_log_callback, None, level)
    del before


class Config(_Handle):
    """The settings of every stage: `Config(select_budget=500)`, or TOML."""

    _free = "config_free"
    __slots__ = ()

    def __init__(self, toml: str = "", **values: Any) -> None:
        raw = c.c_void_p()
        _check(lib.config_new(c.byref(raw)))
        super().__init__(raw)
        if toml:
            self.read(toml)
        for key, value in values.items():
            self[key.replace("_", ".", 1)] = value

    def read(self, toml: str) -> None:
        """Reads TOML over the current values."""
        text = _bytes(toml)
        _check(lib.config_read(self.raw, text, len(text)))

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        _check(lib.config_set(self.raw, _text(key), _text(str(value))))

    def __getitem__(self, key: str) -> str:
        life, out = self.raw, c.c_char_p()
        _check(lib.config_get(life, _text(key), c.byref(out)))
        return (out.value or b"").decode()

    @property
    def toml(self) -> str:
        life, out = self.raw, c.c_char_p()
        _check(lib.config_toml(life, c.byref(out)))
        return (out.value or b"").decode()


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
    text = lambda b: (b or b"").decode(errors="replace")  # noqa: E731
    return Progress(text(p.stage), text(p.unit), p.done, p.total, p.seconds, p.seconds_left, text(p.note))


class Run(_Handle):
    """One call under way: `Run(on_progress=print)`. `on_token` gets the text that a language model writes, "" at the end of
    an answer. What a callback raises ends the call and comes out of it; True stops the call. `cancel()` works from any
    thread."""

    _free = "run_free"
    __slots__ = ("_callbacks", "_thrown")

    def __init__(
        self,
        threads: int = 0,
        on_progress: Optional[Callable[[Progress], Optional[bool]]] = None,
        on_token: Optional[Callable[[str], Optional[bool]]] = None,
    ) -> None:
        raw = c.c_void_p()
        _check(lib.run_new(threads, c.byref(raw)))
        super().__init__(raw)
        self._thrown: Optional[BaseException] = None
        self._callbacks: list[Any] = []
        if on_progress is not None:

            def tell(address: int, _: object) -> int:
                return self._call(on_progress, _progress(_native.Progress.from_address(address)))

            self._callbacks.append(_native.PROGRESS_FN(tell))
            _check(lib.run_on_progress(self.raw, self._callbacks[-1], None))
        if on_token is not None:

            def read(text: int, length: int, _: object) -> int:
                return self._call(on_token, c.string_at(text, length).decode(errors="replace"))

            self._callbacks.append(_native.TOKEN_FN(read))
            _check(lib.run_on_token(self.raw, self._callbacks[-1], None))

    def _call(self, callback: Callable, argument: Any) -> int:
        try:
            return 1 if callback(argument) is True else 0
        except BaseException as e:
            self._thrown = e
            return 1

    def cancel(self) -> None:
        lib.run_cancel(self.raw)

    def reset(self) -> None:
        lib.run_reset(self.raw)

    def poll(self) -> Progress:
        out = _native.Progress()
        _check(lib.run_poll(self.raw, c.byref(out), c.sizeof(out)))
        return _progress(out)


def _done(run: Optional[Run], error: Optional[int]) -> None:
    """Raises what a callback raised, else what the call failed with."""
    if error and run is not None:
        # In one step: of calls at the same time one takes what was thrown, and the others fail as cancelled.
        thrown, run._thrown = run._thrown, None
        if thrown is not None:
            lib.error_free(error)
            life = run._life
            if life is not None:  # another thread may have closed it
                lib.run_reset(life)
            raise thrown
    _check(error)


def simulate(config: Optional[Config], folder: Path, run: Optional[Run] = None) -> None:
    """Writes a simulated domain into `folder`."""
    _done(run, lib.simulate(_raw(config), _path(folder), _raw(run)))


def _arrow(value: Any) -> tuple[str, Any]:
    """The capsules of anything that speaks the Arrow PyCapsule interface (pyarrow, polars, nanoarrow, …)."""
    if hasattr(value, "__arrow_c_stream__"):
        return "stream", value.__arrow_c_stream__()
    if hasattr(value, "__arrow_c_array__"):
        return "array", value.__arrow_c_array__()
    raise TypeError(f"{type(value).__name__}: neither __arrow_c_stream__ nor __arrow_c_array__")


def _pointer(capsule: Any, name: bytes) -> int:
    get = c.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c.c_void_p, [c.py_object, c.c_char_p]
    return get(capsule, name)


class Dataset(_Handle):
    """Stage 1, load: items, reviews, interactions. Add the items first."""

    _free = "dataset_free"
    __slots__ = ()

    def __init__(self, config: Optional[Config] = None) -> None:
        raw = c.c_void_p()
        _check(lib.dataset_new(_raw(config), c.byref(raw)))
        super().__init__(raw)

    @classmethod
    def _of(cls, raw: c.c_void_p) -> "Dataset":
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @classmethod
    def read(cls, config: Config, run: Optional[Run] = None) -> "Dataset":
        """The files that the settings name."""
        raw = c.c_void_p()
        _done(run, lib.dataset_import(config.raw, _raw(run), c.byref(raw)))
        return cls._of(raw)

    @classmethod
    def load(cls, folder: Path, config: Optional[Config] = None) -> "Dataset":
        raw = c.c_void_p()
        _check(lib.dataset_load(_path(folder), _raw(config), c.byref(raw)))
        return cls._of(raw)

    def save(self, folder: Path) -> None:
        _check(lib.dataset_save(self.raw, _path(folder)))

    def add(self, table: int, rows: Union[str, bytes, Iterable[dict], Any], run: Optional[Run] = None) -> "Dataset":
        """Adds JSON lines, dicts, or anything with the Arrow PyCapsule interface."""
        if hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "__arrow_c_array__"):
            kind, capsules = _arrow(rows)
            if kind == "stream":
                pointer = _pointer(capsules, b"arrow_array_stream")
                _done(run, lib.dataset_add_arrow_stream(self.raw, table, pointer, _raw(run)))
            else:
                schema, array = _pointer(capsules[0], b"arrow_schema"), _pointer(capsules[1], b"arrow_array")
                _check(lib.dataset_add_arrow(self.raw, table, schema, array))
            return self
        if not isinstance(rows, (str, bytes, bytearray, memoryview)):
            rows = "\n".join(map(json.dumps, rows))
        text = _bytes(rows)
        _check(lib.dataset_add(self.raw, table, text, len(text)))
        return self

    def add_file(self, table: int, path: Path, run: Optional[Run] = None) -> "Dataset":
        """Adds a file: plain, .gz or .zst."""
        _done(run, lib.dataset_add_file(self.raw, table, _path(path), _raw(run)))
        return self

    @property
    def items(self) -> int:
        return lib.dataset_count(self.raw, ITEMS)

    @property
    def reviews(self) -> int:
        return lib.dataset_count(self.raw, REVIEWS)

    @property
    def interactions(self) -> int:
        return lib.dataset_count(self.raw, INTERACTIONS)

    def title(self, i: int) -> str:
        """`Title (1999)` of item `i`."""
        text = lib.dataset_title(self.raw, i)
        if text is None:
            raise IndexError(i)
        return text.decode()

    @property
    def report(self) -> dict:
        life, out = self.raw, c.c_char_p()
        _check(lib.dataset_report(life, c.byref(out)))
        return json.loads(out.value or b"{}")

    def __repr__(self) -> str:
        return f"Dataset({self.items} items, {self.reviews} reviews, {self.interactions} interactions)"


class Embeddings(_Handle):
    """Stage 2, embed: [rows, dim] f32; `folder` keeps them, so that an embedding that was stopped goes on."""

    _free = "embeddings_free"
    __slots__ = ()

    def __init__(
        self, dataset: Dataset, config: Optional[Config] = None, folder: Optional[Path] = None, run: Optional[Run] = None
    ) -> None:
        raw = c.c_void_p()
        _done(run, lib.embed(dataset.raw, _raw(config), _path(folder), _raw(run), c.byref(raw)))
        super().__init__(raw)

    @classmethod
    def of(cls, rows: Any) -> "Embeddings":
        """Rows of your own: a numpy array [rows, dim], a list of rows, or Arrow fixed-size lists of f32."""
        raw = c.c_void_p()
        if hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "__arrow_c_array__"):
            kind, capsules = _arrow(rows)
            if kind == "stream":
                error = lib.embeddings_from_arrow_stream(_pointer(capsules, b"arrow_array_stream"), c.byref(raw))
            else:
                schema, array = _pointer(capsules[0], b"arrow_schema"), _pointer(capsules[1], b"arrow_array")
                error = lib.embeddings_from_arrow(schema, array, c.byref(raw))
            _check(error)
        elif _np is not None:
            values = _np.ascontiguousarray(rows, dtype=_np.float32)
            if values.ndim != 2:
                raise ValueError(f"[rows, dim] is needed, not {values.shape}")
            _check(lib.embeddings_from_rows(values.ctypes.data, *values.shape, c.byref(raw)))
        else:
            rows = [list(row) for row in rows]
            dim = len(rows[0]) if rows else 0
            if any(len(row) != dim for row in rows):
                raise ValueError("rows of different lengths")
            flat = [v for row in rows for v in row]
            buffer = (c.c_float * len(flat))(*flat)
            _check(lib.embeddings_from_rows(buffer, len(rows), dim, c.byref(raw)))
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @classmethod
    def open(cls, file: Path) -> "Embeddings":
        """Rows too many for memory, mapped from a safetensors file or a list of shards: for selecting."""
        raw = c.c_void_p()
        _check(lib.embeddings_open(_path(file), c.byref(raw)))
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @staticmethod
    def shard(
        index: int, count: int, dataset: Dataset, folder: Path, config: Optional[Config] = None, run: Optional[Run] = None
    ) -> int:
        """Embeds the reviews of shard `index` of `count` alone, into `folder`; gives how many shards are still to be made.
        Once all lie in the folder, its embeddings.json lists them, for `open`."""
        missing = c.c_size_t()
        error = lib.embed_shard(
            dataset.raw, _raw(config), _path(folder), index, count, _raw(run), c.byref(missing)
        )
        _done(run, error)
        return missing.value

    @staticmethod
    def join(folder: Path, count: int) -> int:
        """Lists shards that were brought together in `folder`; gives how many are not there."""
        missing = c.c_size_t()
        _check(lib.embed_join(_path(folder), count, c.byref(missing)))
        return missing.value

    @property
    def shape(self) -> tuple[int, int]:
        life, rows, dim = self.raw, c.c_size_t(), c.c_size_t()
        lib.embeddings_data(life, c.byref(rows), c.byref(dim))
        return rows.value, dim.value

    @property
    def values(self) -> Array:
        """[rows, dim], read-only, without a copy. Mapped rows have none: numpy reads their file."""
        life, rows, dim = self.raw, c.c_size_t(), c.c_size_t()
        address = lib.embeddings_data(life, c.byref(rows), c.byref(dim))
        if not address and rows.value:
            raise Error(INVALID, "embeddings: these rows are mapped from a file, and are not in memory")
        return _array(life, address, (rows.value, dim.value), c.c_float)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        values = self.values
        return values if dtype is None else values.astype(dtype)  # type: ignore[union-attr]

    def save(self, file: Path) -> None:
        _check(lib.embeddings_save(self.raw, _path(file)))

    def pack(self, store: str, file: Path, run: Optional[Run] = None) -> None:
        """Writes the rows as "f32", "f16" or "i8", for `open`."""
        _done(run, lib.embeddings_pack(self.raw, _text(store), _path(file), _raw(run)))


class Selection(_Handle):
    """Stage 3, select: seed rows, most informative first."""

    _free = "selection_free"
    __slots__ = ()

    def __init__(
        self, embeddings: Embeddings, config: Optional[Config] = None, dataset: Optional[Dataset] = None,
        earlier: Optional["Selection"] = None, run: Optional[Run] = None, checkpoint: Optional[Path] = None,
    ) -> None:
        """`checkpoint`: a file that keeps the picks so far, so that a selection that was stopped goes on."""
        raw = c.c_void_p()
        error = lib.select_keeping(
            _raw(dataset), embeddings.raw, _raw(earlier), _path(checkpoint), _raw(config), _raw(run), c.byref(raw)
        )
        _done(run, error)
        super().__init__(raw)

    @classmethod
    def _of(cls, raw: c.c_void_p) -> "Selection":
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @classmethod
    def load(cls, file: Path) -> "Selection":
        """What `save` wrote, or `causerie select`."""
        raw = c.c_void_p()
        _check(lib.selection_load(_path(file), c.byref(raw)))
        return cls._of(raw)

    @staticmethod
    def centers(
        embeddings: Embeddings, file: Path, config: Optional[Config] = None, dataset: Optional[Dataset] = None,
        run: Optional[Run] = None,
    ) -> None:
        """Writes the centres of K-means over all rows, for `select.centers`: the JS strategies then select on them."""
        _done(run, lib.select_centers(_raw(dataset), embeddings.raw, _raw(config), _raw(run), _path(file)))

    @staticmethod
    def part(
        number: int, parts: int, embeddings: Embeddings, file: Path, config: Optional[Config] = None,
        dataset: Optional[Dataset] = None, run: Optional[Run] = None,
    ) -> None:
        """The first step of a selection that several machines share: part `number` of `parts`, from 0, writes its picks."""
        error = lib.select_part(
            _raw(dataset), embeddings.raw, number, parts, _raw(config), _raw(run), _path(file)
        )
        _done(run, error)

    @staticmethod
    def merge(files: Sequence[Path], merged: Path) -> None:
        """The second step: lays the files of all parts together."""
        names = (c.c_char_p * len(files))(*map(_path, files))
        _check(lib.select_merge(names, len(files), _path(merged)))

    @classmethod
    def finalise(
        cls, merged: Path, embeddings: Embeddings, config: Optional[Config] = None, dataset: Optional[Dataset] = None,
        run: Optional[Run] = None,
    ) -> "Selection":
        """The third step: selects from what `merge` wrote."""
        raw = c.c_void_p()
        error = lib.select_finalise(
            _raw(dataset), embeddings.raw, _path(merged), _raw(config), _raw(run), c.byref(raw)
        )
        _done(run, error)
        return cls._of(raw)

    @property
    def rows(self) -> Array:
        life, count = self.raw, c.c_size_t()
        address = lib.selection_rows(life, c.byref(count))
        return _array(life, address, (count.value,), c.c_uint64)

    @property
    def gains(self) -> Array:
        life, count = self.raw, c.c_size_t()
        address = lib.selection_gains(life, c.byref(count))
        return _array(life, address, (count.value,), c.c_double)

    @property
    def report(self) -> dict:
        return json.loads(lib.selection_report(self.raw))

    def save(self, file: Path) -> None:
        _check(lib.selection_save(self.raw, _path(file)))


class Request(NamedTuple):
    """What a teacher is asked; `kind` is ASK_QUERY or ASK_RECOMMEND."""

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
    """Raised by a teacher: no answer this time; the library decides by `why` (FAIL_…) whether it asks again."""

    def __init__(self, why: int, message: str = "", retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.why, self.retry_after_ms = why, retry_after_ms


Teacher = Callable[[Request], Union[Answer, str]]


class Dialogues(_Handle):
    """Stage 4, synthesize: training pairs. `teacher`: a callable of your own, called from up to synthesize.in_flight
    threads; None takes that of the settings. `journal` keeps requests and answers."""

    _free = "dialogues_free"
    __slots__ = ()

    def __init__(
        self, dataset: Dataset, selection: Selection, config: Optional[Config] = None, journal: Optional[Path] = None,
        teacher: Optional[Teacher] = None, teacher_name: str = "python", round: int = 1, run: Optional[Run] = None,
    ) -> None:
        raw = c.c_void_p()
        if teacher is None:
            error = lib.synthesize(
                dataset.raw, selection.raw, _raw(config), round, _path(journal), _raw(run), c.byref(raw)
            )
            _done(run, error)
            super().__init__(raw)
            return
        thrown: list[BaseException] = []

        def tell(address: int, slot: int, _: object) -> int:
            try:
                r = _native.Request.from_address(address)
                prompt = c.string_at(r.prompt, r.prompt_len).decode()
                request = Request(r.kind, prompt, r.id.decode(), r.temperature, r.max_tokens, r.seed, r.attempt)
                try:
                    answer = teacher(request)
                except TeacherError as e:
                    text = str(e).encode()
                    _check(lib.answer_fail(slot, e.why, e.retry_after_ms, text, len(text)))
                    return 0
                answer = Answer(answer) if isinstance(answer, str) else answer
                text = answer.text.encode()
                _check(lib.answer_set(slot, text, len(text), answer.prompt_tokens, answer.completion_tokens))
                return 0
            except BaseException as e:
                thrown.append(e)
                return 1

        callback = _native.TEACHER_FN(tell)
        error = lib.synthesize_with(
            dataset.raw, selection.raw, _text(teacher_name), callback, None, _raw(config), round, _path(journal),
            _raw(run), c.byref(raw),
        )
        if error and thrown:
            lib.error_free(error)
            raise thrown[0]
        _done(run, error)
        super().__init__(raw)

    @staticmethod
    def export_requests(
        dataset: Dataset, selection: Selection, config: Config, journal: Path, file: Path, run: Optional[Run] = None
    ) -> tuple[int, int]:
        """For a batch endpoint: writes the requests that can be made now and are not answered in `journal` to `file`;
        gives how many those are, and how many are answered."""
        requests, answered = c.c_uint64(), c.c_uint64()
        error = lib.synthesize_export(
            dataset.raw, selection.raw, config.raw, _path(journal), _path(file), _raw(run), c.byref(requests),
            c.byref(answered),
        )
        _done(run, error)
        return requests.value, answered.value

    @staticmethod
    def import_answers(journal: Path, answers: Path, run: Optional[Run] = None) -> tuple[int, int]:
        """Takes a batch endpoint's answers into `journal`; gives how many were taken, and how many are missing."""
        taken, missing = c.c_uint64(), c.c_uint64()
        error = lib.synthesize_import(_path(journal), _path(answers), _raw(run), c.byref(taken), c.byref(missing))
        _done(run, error)
        return taken.value, missing.value

    @classmethod
    def load(cls, file: Path) -> "Dialogues":
        raw = c.c_void_p()
        _check(lib.dialogues_load(_path(file), c.byref(raw)))
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    def __len__(self) -> int:
        return lib.dialogues_count(self.raw)

    def __getitem__(self, i: int) -> dict:
        life = self.raw
        at = i if i >= 0 else lib.dialogues_count(life) + i
        text = lib.dialogues_get(life, at) if at >= 0 else None
        if text is None:
            raise IndexError(i)
        return json.loads(text)

    def add(self, more: "Dialogues") -> None:
        """Appends the dialogues of a later round."""
        _check(lib.dialogues_add(self.raw, more.raw))

    def save(self, file: Path) -> None:
        _check(lib.dialogues_save(self.raw, _path(file)))

    @property
    def report(self) -> dict:
        return json.loads(lib.dialogues_report(self.raw))


class Model(_Handle):
    """Stage 5, tune: a ranking head; `Model.lm` for a language model."""

    _free = "model_free"
    __slots__ = ()

    def __init__(
        self, dialogues: Dialogues, dataset: Dataset, embeddings: Embeddings, config: Optional[Config] = None,
        run: Optional[Run] = None,
    ) -> None:
        raw = c.c_void_p()
        _done(run, lib.tune(dialogues.raw, dataset.raw, embeddings.raw, _raw(config), _raw(run), c.byref(raw)))
        super().__init__(raw)

    @classmethod
    def _of(cls, raw: c.c_void_p) -> "Model":
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @classmethod
    def lm(
        cls, dialogues: Dialogues, base: Path, folder: Path, config: Config, dataset: Optional[Dataset] = None,
        run: Optional[Run] = None,
    ) -> "Model":
        """LoRA or all weights of the GGUF `base`, into `folder`; with a dataset a ranking head may be trained along."""
        raw = c.c_void_p()
        error = lib.tune_lm(
            dialogues.raw, _raw(dataset), _path(base), _path(folder), config.raw, _raw(run), c.byref(raw)
        )
        _done(run, error)
        return cls._of(raw)

    @classmethod
    def new(
        cls, dataset: Dataset, parameters: int, file: Path, config: Optional[Config] = None,
        folder: Optional[Path] = None, run: Optional[Run] = None,
    ) -> "Model":
        """A language model from nothing, of about so many parameters; with a `folder` then trained on the reviews."""
        raw = c.c_void_p()
        error = lib.model_new(
            dataset.raw, parameters, _raw(config), _path(file), _path(folder), _raw(run), c.byref(raw)
        )
        _done(run, error)
        return cls._of(raw)

    @classmethod
    def merge(cls, base: Path, adapter: Path, file: Path, kind: str = "q8_0", run: Optional[Run] = None) -> "Model":
        """A LoRA adapter (a GGUF, or a PEFT folder) in its base: one GGUF of `kind` ("f32", "q8_0", …)."""
        raw = c.c_void_p()
        error = lib.model_merge(_path(base), _path(adapter), _text(kind), _path(file), _raw(run), c.byref(raw))
        _done(run, error)
        return cls._of(raw)

    @classmethod
    def load(cls, file: Path) -> "Model":
        raw = c.c_void_p()
        _check(lib.model_load(_path(file), c.byref(raw)))
        return cls._of(raw)

    def save(self, file: Path) -> None:
        _check(lib.model_save(self.raw, _path(file)))

    @property
    def report(self) -> dict:
        return json.loads(lib.model_report(self.raw))

    @property
    def file(self) -> Optional[str]:
        """adapter.gguf or model.gguf of a language model; None of a head."""
        text = lib.model_file(self.raw)
        return None if text is None else os.fsdecode(text)


class Recommendation(NamedTuple):
    """One item of an answer."""

    item: str
    title: str
    year: Optional[int]
    score: float
    #: Reviews that speak for it, nearest first: {"review": row, "similarity", "text"}.
    evidence: Sequence[dict] = ()


def _request(
    turns: Union[str, Sequence[dict]], seen: Sequence[dict], exclude: Sequence[str], allow: Optional[Sequence[str]],
    explain: Optional[int] = None,
) -> bytes:
    if isinstance(turns, str):
        turns = [{"role": "user", "text": turns}]
    for name, ids in (("seen", seen), ("exclude", exclude), ("allow", allow)):
        if isinstance(ids, (str, bytes)):
            raise TypeError(f"{name} is a list, not one text: {name}=[{ids!r}]")
    request: dict[str, Any] = {"turns": list(turns), "seen": list(seen), "exclude": list(exclude)}
    if allow is not None:
        request["allow"] = list(allow)
    if explain is not None:
        request["explain"] = _number("explain", explain)
    return json.dumps(request).encode()


def _rows(rows: Any) -> tuple[Any, int, Optional[int]]:
    """Rows as C reads them, of an array of integers or of booleans; how many; and, of booleans, for how many items they are."""
    mask = None
    if _np is not None:
        array = _np.asarray(rows)
        if array.dtype == bool:
            if array.ndim != 1:
                raise ValueError(f"booleans are one for each item, not {array.shape}")
            mask, array = array.size, _np.flatnonzero(array)
        if array.size and (array.dtype.kind not in "iu" or (array.dtype.kind == "i" and array.min() < 0)):
            raise ValueError("rows are integers from 0, or booleans, one for each item")
        array = _np.ascontiguousarray(array, dtype=_np.uint64)
        return array, array.size, mask
    rows = list(rows)
    if rows and all(isinstance(row, bool) for row in rows):
        mask, rows = len(rows), [i for i, row in enumerate(rows) if row]
    if any(isinstance(row, bool) or operator.index(row) < 0 for row in rows):
        raise ValueError("rows are integers from 0, or booleans, one for each item")
    return (c.c_uint64 * len(rows))(*rows), len(rows), mask


class Query(_Handle):
    """A request, built once and asked often; kept between the turns of a conversation it grows by a turn at a time.

    `turns`: a text, or [{"role", "text"}, …]; `seen`: [{"item": id} | {"title", "year"}, …]; `exclude` and `allow`: ids
    (`allow=[]` allows nothing); `explain`: reviews for each item. `exclude_rows` and `allow_rows` take rows of the catalogue
    (the order of `Recommender.ids`) as an array of integers, or of booleans, one for each item; a recommender of another number
    of items refuses such a query with ValueError."""

    _free = "query_free"
    __slots__ = ("_mask",)

    def __init__(
        self, turns: Union[str, Sequence[dict]] = (), *, seen: Sequence[dict] = (), exclude: Sequence[str] = (),
        allow: Optional[Sequence[str]] = None, explain: Optional[int] = None,
    ) -> None:
        self._mask: Optional[int] = None
        request, raw = _request(turns, seen, exclude, allow, explain), c.c_void_p()
        _check(lib.query_parse(request, len(request), c.byref(raw)))
        super().__init__(raw)

    def turn(self, role: str, text: str) -> "Query":
        """Adds a turn of "user" or "assistant"."""
        if role not in ("user", "assistant"):
            raise ValueError(f'{role!r}: "user" or "assistant"')
        words = text.encode()
        _check(lib.query_turn(self.raw, 0 if role == "user" else 1, words, len(words)))
        return self

    def exclude_rows(self, rows: Any) -> "Query":
        self._add_rows(lib.query_exclude_rows, rows)
        return self

    def allow_rows(self, rows: Any) -> "Query":
        """An empty list alone allows nothing."""
        self._add_rows(lib.query_allow_rows, rows)
        return self

    def _add_rows(self, add: Any, rows: Any) -> None:
        array, count, mask = _rows(rows)
        if mask is not None and self._mask not in (None, mask):
            raise ValueError(f"{mask} booleans, where those before were {self._mask}: one for each item")
        _check(add(self.raw, array.ctypes.data if _np is not None else array, count))
        if mask is not None:
            self._mask = mask

    def _for(self, items: int) -> "Query":
        if self._mask not in (None, items):
            raise ValueError(f"the query has {self._mask} booleans for rows, the recommender {items} items")
        return self

    def clear(self) -> "Query":
        _check(lib.query_clear(self.raw))
        self._mask = None
        return self


class Recommendations(list):
    """An answer: a list of `Recommendation`, best first, and what is to be said of it."""

    def __init__(self, items: Iterable[Recommendation] = ()) -> None:
        super().__init__(items)
        self.partial = False
        """The time was up before the search was: these are the items found by then."""
        self.truncated = False
        """The conversation was longer than what the recommender reads."""
        self.warnings: list[str] = []
        """Names that are not in the catalogue, what was cut, what is missing; one sentence each."""


class _Reply(_Handle):
    """One answer; arrays over its memory."""

    _free = "reply_free"
    __slots__ = ()

    @property
    def rows(self) -> Array:
        life, count = self.raw, c.c_size_t()
        address = lib.reply_rows(life, c.byref(count))
        return _array(life, address, (count.value,), c.c_uint64)

    @property
    def scores(self) -> Array:
        life, count = self.raw, c.c_size_t()
        address = lib.reply_scores(life, c.byref(count))
        return _array(life, address, (count.value,), c.c_double)

    @property
    def items(self) -> Recommendations:
        life = self.raw
        items = Recommendations(Recommendation(**row) for row in json.loads(lib.reply_json(life)))
        items.partial = bool(lib.reply_partial(life))
        items.truncated = bool(lib.reply_truncated(life))
        while (warning := lib.reply_warning(life, len(items.warnings))) is not None:
            items.warnings.append(warning.decode())
        return items


Asked = Union[str, Sequence[dict], Query]


def _query(asked: Asked, **rest: Any) -> Query:
    if isinstance(asked, Query):
        if any(rest.values()) or rest.get("allow") is not None:
            raise ValueError("what a Query asks stands in it: seen, exclude, allow and explain go there")
        return asked
    return Query(asked, **rest)


class Recommender(_Handle):
    """Stage 6, recommend: ranks the catalogue for a conversation; threads may share it."""

    _free = "recommender_free"
    __slots__ = ()

    def __init__(
        self, dataset: Dataset, embeddings: Optional[Embeddings] = None, model: Optional[Model] = None,
        dialogues: Optional[Dialogues] = None, config: Optional[Config] = None, run: Optional[Run] = None,
    ) -> None:
        raw = c.c_void_p()
        error = lib.recommender_new(
            dataset.raw, _raw(embeddings), _raw(model), _raw(dialogues), _raw(config), _raw(run), c.byref(raw)
        )
        _done(run, error)
        super().__init__(raw)

    @classmethod
    def _of(cls, raw: c.c_void_p) -> "Recommender":
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @classmethod
    def open(
        cls, work_dir: Path, config: Optional[Config] = None, strategy: str = "", run: Optional[Run] = None
    ) -> "Recommender":
        """A finished work directory."""
        raw = c.c_void_p()
        _done(run, lib.recommender_open(_path(work_dir), _text(strategy), _raw(config), _raw(run), c.byref(raw)))
        return cls._of(raw)

    @classmethod
    def lm(
        cls, dataset: Dataset, gguf: Path, adapter: Optional[Path] = None, config: Optional[Config] = None,
        run: Optional[Run] = None,
    ) -> "Recommender":
        """A language model that names items of the catalogue alone."""
        raw = c.c_void_p()
        error = lib.recommender_open_lm(
            dataset.raw, _path(gguf), _path(adapter), _raw(config), _raw(run), c.byref(raw)
        )
        _done(run, error)
        return cls._of(raw)

    def __len__(self) -> int:
        return lib.recommender_count(self.raw)

    @property
    def ids(self) -> list[str]:
        life = self.raw
        return [lib.recommender_id(life, i).decode() for i in range(lib.recommender_count(life))]

    @property
    def name(self) -> str:
        return lib.recommender_name(self.raw).decode()

    def find(self, item: str) -> int:
        """The row of an item by its id: its place in `ids`."""
        text, out = item.encode(), c.c_uint64()
        _check(lib.recommender_find(self.raw, text, len(text), c.byref(out)))
        return out.value

    def recommend(
        self, turns: Asked, top_k: int = 0, *, seen: Sequence[dict] = (), exclude: Sequence[str] = (),
        allow: Optional[Sequence[str]] = None, explain: Optional[int] = None, run: Optional[Run] = None,
    ) -> Recommendations:
        """The best items for `turns` (a text, [{"role", "text"}, …], or a Query); `allow=[]` allows nothing. `explain`:
        reviews for each item (else recommend.explain says)."""
        query = _query(turns, seen=seen, exclude=exclude, allow=allow, explain=explain)
        return self._ask(query, top_k, run).items

    def rank(self, turns: Asked, top_k: int = 0, *, run: Optional[Run] = None) -> tuple[Array, Array]:
        """The best items as rows of the catalogue (the order of `ids`) and their scores: arrays, and no text at all."""
        reply = self._ask(_query(turns), top_k, run)
        return reply.rows, reply.scores

    def say(
        self, turns: Asked, top_k: int = 0, *, run: Optional[Run] = None
    ) -> tuple[str, list[Recommendation]]:
        """The best items, and before them a sentence about them in the language model's own words, which names items of
        the answer and nothing else of the catalogue. The run's `on_token` hears it while it is written."""
        life, query, out = self.raw, _query(turns), c.c_char_p()
        reply = self._ask(query, top_k, run)
        lent = reply.raw
        _done(run, lib.recommender_say(life, query.raw, lent, _raw(run), c.byref(out)))
        return (out.value or b"").decode(), reply.items

    def recommend_many(
        self, queries: Sequence[Asked], top_k: int = 0, *, run: Optional[Run] = None
    ) -> list[list[Recommendation]]:
        """Several requests in one call, which costs less than as many calls."""
        top_k, items = _number("top_k", top_k), len(self)
        asked = [_query(query)._for(items) for query in queries]
        lives = [query.raw for query in asked]
        replies = (c.c_void_p * len(asked))()
        _done(run, lib.recommend_many(self.raw, _pointers(lives), len(asked), top_k, _raw(run), replies))
        return [reply.items for reply in [_Reply(c.c_void_p(raw)) for raw in replies]]

    def _ask(self, query: Query, top_k: int, run: Optional[Run]) -> _Reply:
        raw, top_k = c.c_void_p(), _number("top_k", top_k)
        if query._mask is not None:
            query._for(len(self))
        _done(run, lib.recommend_query(self.raw, query.raw, top_k, _raw(run), c.byref(raw)))
        return _Reply(raw)

    def score(
        self, turns: Asked, *, seen: Sequence[dict] = (), exclude: Sequence[str] = (),
        allow: Optional[Sequence[str]] = None, run: Optional[Run] = None,
    ) -> Array:
        """Scores of the whole catalogue in the order of `ids`; -inf for what is masked."""
        query = _query(turns, seen=seen, exclude=exclude, allow=allow)
        return self._scores([query], run, False)

    def score_many(self, queries: Sequence[Asked], *, run: Optional[Run] = None) -> Array:
        """Scores of several requests, [queries, items]."""
        return self._scores([_query(query) for query in queries], run, True)

    def _scores(self, queries: Sequence[Query], run: Optional[Run], many: bool) -> Array:
        life, lives = self.raw, [query.raw for query in queries]
        items = lib.recommender_count(life)
        retried = False
        while True:
            for query in queries:
                query._for(items)
            count = len(queries) * items
            if _np is not None:
                scores: Any = _np.empty(count, dtype=_np.float32)
                address = scores.ctypes.data
            else:
                address = scores = (c.c_float * count)()
            error = lib.score_many(life, _pointers(lives), len(queries), _raw(run), address, count)
            before, items = items, lib.recommender_count(life) if error else items
            # Items may join between the count and the call: then once more.
            if not error or retried or items == before or lib.error_code(error) != INVALID:
                break
            lib.error_free(error)
            retried = True
        _done(run, error)
        shape = (len(queries), items) if many else (items,)
        if _np is not None:
            return scores.reshape(shape)
        view = memoryview(scores).cast("B").cast("f")
        return view.cast("B").cast("f", shape) if many and count else view

    def add(self, items: Union[str, bytes, Iterable[dict]], run: Optional[Run] = None) -> None:
        """Adds items while it serves; other calls may run beside it."""
        if not isinstance(items, (str, bytes)):
            items = "\n".join(map(json.dumps, items))
        text = _bytes(items)
        _done(run, lib.recommender_add(self.raw, text, len(text), _raw(run)))

    @property
    def memory_bytes(self) -> int:
        """About how much memory it holds."""
        return lib.recommender_bytes(self.raw)

    @property
    def generation(self) -> int:
        """The number of the adapters that serve, of a language model."""
        out = c.c_uint64()
        _check(lib.recommender_generation(self.raw, c.byref(out)))
        return out.value

    def swap_adapter(self, adapter: Optional[Path], scale: float = 1.0, expected: Optional[int] = None) -> int:
        """Puts another adapter in place while requests are answered; gives the new generation."""
        out = c.c_uint64()
        serving = self.generation if expected is None else expected
        _check(lib.recommender_swap_adapter(self.raw, serving, _path(adapter), scale, c.byref(out)))
        return out.value


class Report(_Handle):
    """What came of an evaluation, or of the whole loop. In a notebook it shows itself."""

    _free = "report_free"
    __slots__ = ()

    @classmethod
    def _of(cls, raw: c.c_void_p) -> "Report":
        self = cls.__new__(cls)
        _Handle.__init__(self, raw)
        return self

    @classmethod
    def evaluate(
        cls, recommenders: Sequence[Recommender], conversations: Union[str, bytes, Iterable[dict]] = "",
        config: Optional[Config] = None, run: Optional[Run] = None,
    ) -> "Report":
        """Scores recommenders of one catalogue on the same conversations ("": the files of the settings)."""
        if not isinstance(conversations, (str, bytes)):
            conversations = "\n".join(map(json.dumps, conversations))
        text, raw = _bytes(conversations), c.c_void_p()
        lives = [r.raw for r in recommenders]
        _done(run, lib.evaluate(_pointers(lives), len(lives), text, len(text), _raw(config), _raw(run), c.byref(raw)))
        return cls._of(raw)

    @property
    def data(self) -> dict:
        return json.loads(lib.report_json(self.raw))

    @property
    def html(self) -> str:
        life, out = self.raw, c.c_char_p()
        _check(lib.report_html(life, c.byref(out)))
        return (out.value or b"").decode()

    def metric(self, name: str, system: int = 0) -> tuple[float, float]:
        """Mean and standard error of "recall@10" and its like, items already mentioned removed."""
        mean, se = c.c_double(), c.c_double()
        _check(lib.report_metric(self.raw, system, _text(name), c.byref(mean), c.byref(se)))
        return mean.value, se.value

    def save(self, folder: Path) -> None:
        _check(lib.report_save(self.raw, _path(folder)))

    def _repr_html_(self) -> str:
        # A page of its own: its styles must not reach the notebook's.
        page = self.html.replace("&", "&amp;").replace('"', "&quot;")
        return f'<iframe srcdoc="{page}" width="100%" height="700" frameborder="0" sandbox></iframe>'


def pipeline(config: Config, work_dir: Path, restart: bool = False, run: Optional[Run] = None) -> Report:
    """All stages in rounds into `work_dir`; a second call goes on after the last finished one."""
    raw = c.c_void_p()
    _done(run, lib.pipeline(config.raw, _path(work_dir), int(restart), _raw(run), c.byref(raw)))
    return Report._of(raw)
