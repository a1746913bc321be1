"""The C library: found, loaded, its functions declared."""

from __future__ import annotations

import ctypes as c
import ctypes.util
import os
from pathlib import Path

ABI = 1
_SO = "libcauserie.so.0.1"

PROGRESS_FN = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_void_p)
TOKEN_FN = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_size_t, c.c_void_p)
TEACHER_FN = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_void_p, c.c_void_p)
LOG_FN = c.CFUNCTYPE(None, c.c_int32, c.c_void_p, c.c_size_t, c.c_void_p)


class Progress(c.Structure):
    _fields_ = [
        ("size", c.c_uint32), ("started", c.c_int32), ("stage", c.c_char_p), ("unit", c.c_char_p),
        ("done", c.c_uint64), ("total", c.c_uint64), ("seconds", c.c_double), ("seconds_left", c.c_double),
        ("note", c.c_char_p),
    ]


class Request(c.Structure):
    _fields_ = [
        ("size", c.c_uint32), ("kind", c.c_int32), ("prompt", c.c_void_p), ("prompt_len", c.c_size_t),
        ("id", c.c_char_p), ("temperature", c.c_double), ("max_tokens", c.c_uint64), ("seed", c.c_uint64),
        ("attempt", c.c_uint64),
    ]


class Setting(c.Structure):
    _fields_ = [(name, c.c_char_p) for name in ("key", "kind", "initial", "bounds", "doc")]


def _load() -> c.CDLL:
    beside = Path(__file__).parent / _SO
    named = os.environ.get("CAUSERIE_LIBRARY")
    if named:
        return c.CDLL(named)
    if beside.exists():
        return c.CDLL(str(beside))
    try:
        return c.CDLL(_SO)
    except OSError:
        found = ctypes.util.find_library("causerie")
        if found is None:
            raise OSError(
                f"{_SO} was not found: install it (make install), or name it in CAUSERIE_LIBRARY"
            ) from None
        return c.CDLL(found)


_P, _S, _N = c.c_void_p, c.c_char_p, c.c_size_t
_OUT = c.POINTER(c.c_void_p)
_TEXT_OUT = c.POINTER(c.c_char_p)

# Functions that return an error object: name and arguments.
_FALLIBLE: dict[str, list] = {
    "check_version": [_S, c.c_uint32],
    "config_new": [_OUT], "config_set": [_P, _S, _S], "config_read": [_P, _S, _N],
    "config_get": [_P, _S, _TEXT_OUT], "config_toml": [_P, _TEXT_OUT],
    "run_new": [c.c_uint32, _OUT], "run_on_progress": [_P, PROGRESS_FN, _P],
    "run_on_token": [_P, TOKEN_FN, _P],
    "run_poll": [_P, c.POINTER(Progress), _N],
    "simulate": [_P, _S, _P],
    "dataset_new": [_P, _OUT], "dataset_import": [_P, _P, _OUT], "dataset_add": [_P, c.c_int32, _S, _N],
    "dataset_add_file": [_P, c.c_int32, _S, _P], "dataset_add_arrow": [_P, c.c_int32, _P, _P],
    "dataset_add_arrow_stream": [_P, c.c_int32, _P, _P], "dataset_report": [_P, _TEXT_OUT],
    "dataset_save": [_P, _S], "dataset_load": [_S, _P, _OUT],
    "embed": [_P, _P, _S, _P, _OUT], "embeddings_from_rows": [_P, _N, _N, _OUT],
    "embeddings_from_arrow": [_P, _P, _OUT], "embeddings_from_arrow_stream": [_P, _OUT],
    "embed_shard": [_P, _P, _S, _N, _N, _P, c.POINTER(_N)], "embed_join": [_S, _N, c.POINTER(_N)],
    "embeddings_open": [_S, _OUT], "embeddings_save": [_P, _S], "embeddings_pack": [_P, _S, _S, _P],
    "select_keeping": [_P, _P, _P, _S, _P, _P, _OUT], "select_part": [_P, _P, c.c_uint64, c.c_uint64, _P, _P, _S],
    "select_centers": [_P, _P, _P, _P, _S], "select_merge": [c.POINTER(c.c_char_p), _N, _S], "select_finalise": [_P, _P, _S, _P, _P, _OUT],
    "selection_save": [_P, _S], "selection_load": [_S, _OUT],
    "answer_set": [_P, _S, _N, c.c_uint64, c.c_uint64], "answer_fail": [_P, c.c_int32, c.c_uint64, _S, _N],
    "synthesize": [_P, _P, _P, c.c_uint64, _S, _P, _OUT],
    "synthesize_with": [_P, _P, _S, TEACHER_FN, _P, _P, c.c_uint64, _S, _P, _OUT],
    "synthesize_export": [_P, _P, _P, _S, _S, _P, c.POINTER(c.c_uint64), c.POINTER(c.c_uint64)],
    "synthesize_import": [_S, _S, _P, c.POINTER(c.c_uint64), c.POINTER(c.c_uint64)],
    "dialogues_add": [_P, _P], "dialogues_save": [_P, _S], "dialogues_load": [_S, _OUT],
    "dialogues_parse": [_S, _N, _OUT],
    "tune": [_P, _P, _P, _P, _P, _OUT], "tune_lm": [_P, _P, _S, _S, _P, _P, _OUT],
    "model_new": [_P, c.c_uint64, _P, _S, _S, _P, _OUT], "model_merge": [_S, _S, _S, _S, _P, _OUT],
    "model_save": [_P, _S], "model_load": [_S, _OUT],
    "recommender_open": [_S, _S, _P, _P, _OUT], "recommender_new": [_P, _P, _P, _P, _P, _P, _OUT],
    "recommender_open_lm": [_P, _S, _S, _P, _P, _OUT],
    "recommender_generation": [_P, c.POINTER(c.c_uint64)],
    "recommender_swap_adapter": [_P, c.c_uint64, _S, c.c_float, c.POINTER(c.c_uint64)],
    "recommender_roll_back": [_P, c.c_uint64, c.POINTER(c.c_uint64)],
    "recommender_find": [_P, _S, _N, c.POINTER(c.c_uint64)],
    "query_parse": [_S, _N, _OUT], "query_turn": [_P, c.c_int32, _S, _N], "query_clear": [_P],
    "query_exclude_rows": [_P, _P, _N], "query_allow_rows": [_P, _P, _N],
    "recommender_say": [_P, _P, _P, _P, _TEXT_OUT],
    "recommend_query": [_P, _P, c.c_uint32, _P, _OUT], "recommend_many": [_P, _OUT, _N, c.c_uint32, _P, _OUT],
    "score_query": [_P, _P, _P, _P, _N], "score_many": [_P, _OUT, _N, _P, _P, _N], "recommender_add": [_P, _S, _N, _P],
    "evaluate": [_OUT, _N, _S, _N, _P, _P, _OUT], "pipeline": [_P, _S, c.c_int32, _P, _OUT],
    "report_html": [_P, _TEXT_OUT], "report_save": [_P, _S],
    "report_metric": [_P, _N, _S, c.POINTER(c.c_double), c.POINTER(c.c_double)],
}

# The others: name, result, arguments.
_PLAIN: dict[str, tuple] = {
    "abi": (c.c_uint32, []), "version": (_S, []), "log": (None, [LOG_FN, _P, c.c_int32]),
    "error_code": (c.c_int32, [_P]), "error_message": (_S, [_P]),
    "config_count": (_N, []), "config_setting": (c.POINTER(Setting), [_N]),
    "run_cancel": (None, [_P]), "run_reset": (None, [_P]),
    "dataset_count": (_N, [_P, c.c_int32]), "dataset_title": (_S, [_P, _N]),
    "embeddings_data": (_P, [_P, c.POINTER(_N), c.POINTER(_N)]),
    "selection_rows": (_P, [_P, c.POINTER(_N)]), "selection_gains": (_P, [_P, c.POINTER(_N)]),
    "selection_report": (_S, [_P]),
    "dialogues_count": (_N, [_P]), "dialogues_get": (_S, [_P, _N]), "dialogues_report": (_S, [_P]),
    "model_report": (_S, [_P]), "model_file": (_S, [_P]),
    "recommender_count": (_N, [_P]), "recommender_bytes": (c.c_uint64, [_P]), "recommender_id": (_S, [_P, _N]), "recommender_name": (_S, [_P]),
    "reply_partial": (c.c_int32, [_P]), "reply_truncated": (c.c_int32, [_P]), "reply_warning": (_S, [_P, _N]),
    "reply_count": (_N, [_P]), "reply_json": (_S, [_P]), "reply_text": (_S, [_P]),
    "reply_rows": (_P, [_P, c.POINTER(_N)]), "reply_scores": (_P, [_P, c.POINTER(_N)]), "report_json": (_S, [_P]),
}
for _noun in ("error", "config", "run", "dataset", "embeddings", "selection", "dialogues", "model", "recommender",
              "query", "reply", "report"):
    _PLAIN[f"{_noun}_free"] = (None, [_P])


class Library:
    """The functions by their names without `causerie_`."""

    def __init__(self) -> None:
        library = _load()
        for name, arguments in _FALLIBLE.items():
            function = getattr(library, f"causerie_{name}")
            function.argtypes, function.restype = arguments, _P
            setattr(self, name, function)
        for name, (result, arguments) in _PLAIN.items():
            function = getattr(library, f"causerie_{name}")
            function.argtypes, function.restype = arguments, result
            setattr(self, name, function)
        if self.abi() != ABI:  # type: ignore[attr-defined]
            raise OSError(f"libcauserie has ABI {self.abi()}, this package is for {ABI}")  # type: ignore[attr-defined]

    def __getattr__(self, name: str):  # for type checkers: every function is callable
        raise AttributeError(name)


lib = Library()
