"""The C library's functions, declared."""

from __future__ import annotations

import ctypes as c
from typing import Any, Optional

from ._library import ABI, VERSION, find

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


_P, _S, _N, _U = c.c_void_p, c.c_char_p, c.c_size_t, c.c_uint64
_OUT = c.POINTER(c.c_void_p)
_TEXT_OUT = c.POINTER(c.c_char_p)
_N_OUT, _U_OUT, _F_OUT = c.POINTER(c.c_size_t), c.POINTER(c.c_uint64), c.POINTER(c.c_double)

# Functions that return an error object: name and arguments.
_FALLIBLE: dict[str, list[Any]] = {
    "check_version": [_S, c.c_uint32],
    "config_new": [_OUT], "config_set": [_P, _S, _S], "config_read": [_P, _S, _N],
    "config_get": [_P, _S, _TEXT_OUT], "config_toml": [_P, _TEXT_OUT],
    "run_new": [c.c_uint32, _OUT], "run_on_progress": [_P, PROGRESS_FN, _P],
    "run_on_token": [_P, TOKEN_FN, _P],
    "run_poll": [_P, c.POINTER(Progress), _N],
    "simulate": [_P, _S, _P],
    "dataset_new": [_P, _OUT], "dataset_import": [_P, _P, _OUT, _N_OUT],
    "dataset_add": [_P, c.c_int32, _S, _N, _N_OUT], "dataset_add_file": [_P, c.c_int32, _S, _P, _N_OUT],
    "dataset_add_arrow": [_P, c.c_int32, _P, _P, _N_OUT],
    "dataset_add_arrow_stream": [_P, c.c_int32, _P, _P, _N_OUT], "dataset_report": [_P, _TEXT_OUT],
    "dataset_save": [_P, _S], "dataset_load": [_S, _P, _OUT],
    "embed": [_P, _P, _S, _P, _OUT], "embeddings_from_rows": [_P, _N, _N, _OUT],
    "embeddings_from_arrow": [_P, _P, _OUT], "embeddings_from_arrow_stream": [_P, _OUT],
    "embed_shard": [_P, _P, _S, _N, _N, _P, _N_OUT], "embed_join": [_S, _N, _N_OUT],
    "embeddings_open": [_S, _OUT], "embeddings_save": [_P, _S], "embeddings_pack": [_P, _S, _S, _P],
    "select_keeping": [_P, _P, _P, _S, _P, _P, _OUT], "select_part": [_P, _P, _U, _U, _P, _P, _S],
    "select_centers": [_P, _P, _P, _P, _S], "select_merge": [c.POINTER(c.c_char_p), _N, _S],
    "select_finalise": [_P, _P, _S, _P, _P, _OUT],
    "selection_save": [_P, _S], "selection_load": [_S, _OUT],
    "answer_set": [_P, _S, _N, _U, _U], "answer_fail": [_P, c.c_int32, _U, _S, _N],
    "synthesize": [_P, _P, _P, _U, _S, _P, _OUT],
    "synthesize_with": [_P, _P, _S, TEACHER_FN, _P, _P, _U, _S, _P, _OUT],
    "synthesize_export": [_P, _P, _P, _S, _S, _P, _U_OUT, _U_OUT],
    "synthesize_import": [_S, _S, _P, _U_OUT, _U_OUT],
    "dialogues_add": [_P, _P], "dialogues_save": [_P, _S], "dialogues_load": [_S, _OUT, _N_OUT],
    "dialogues_parse": [_S, _N, _OUT, _N_OUT],
    "tune": [_P, _P, _P, _P, _P, _OUT], "tune_lm": [_P, _P, _S, _S, _P, _P, _OUT],
    "model_new": [_P, _U, _P, _S, _S, _P, _OUT], "model_merge": [_S, _S, _S, _S, _P, _OUT],
    "model_save": [_P, _S], "model_load": [_S, _OUT],
    "recommender_open": [_S, _S, _P, _P, _OUT], "recommender_new": [_P, _P, _P, _P, _P, _P, _OUT],
    "recommender_open_lm": [_P, _S, _S, _P, _P, _OUT],
    "recommender_generation": [_P, _U_OUT],
    "recommender_swap_adapter": [_P, _U, _S, c.c_float, _U_OUT],
    "recommender_roll_back": [_P, _U, _U_OUT],
    "recommender_find": [_P, _S, _N, _U_OUT],
    "query_new": [_OUT], "query_parse": [_S, _N, _OUT], "query_turn": [_P, c.c_int32, _S, _N], "query_clear": [_P],
    "query_seen": [_P, _S, _N], "query_seen_title": [_P, _S, _N, c.c_uint32],
    "query_exclude": [_P, _S, _N], "query_allow": [_P, _S, _N], "query_explain": [_P, c.c_uint32],
    "query_exclude_rows": [_P, _P, _N], "query_allow_rows": [_P, _P, _N],
    "recommender_say": [_P, _P, _P, _P, _TEXT_OUT],
    "recommend_query": [_P, _P, c.c_uint32, _P, _OUT], "recommend_many": [_P, _OUT, _N, c.c_uint32, _P, _OUT],
    "score_query": [_P, _P, _P, _P, _N], "score_many": [_P, _OUT, _N, _P, _P, _N],
    "recommender_add": [_P, _S, _N, _P, _N_OUT],
    "evaluate": [_OUT, _N, _S, _N, _P, _P, _OUT], "pipeline": [_P, _S, c.c_int32, _P, _OUT],
    "report_html": [_P, _TEXT_OUT], "report_save": [_P, _S],
    "report_metric": [_P, _N, _S, _F_OUT, _F_OUT],
}

# The others: name, result, arguments.
_PLAIN: dict[str, tuple[Any, list[Any]]] = {
    "abi": (c.c_uint32, []), "handles": (_N, []), "version": (_S, []), "log": (None, [LOG_FN, _P, c.c_int32]),
    "error_code": (c.c_int32, [_P]), "error_message": (_S, [_P]),
    "config_count": (_N, []), "config_setting": (c.POINTER(Setting), [_N]),
    "run_cancel": (None, [_P]), "run_reset": (None, [_P]),
    "dataset_count": (_N, [_P, c.c_int32]), "dataset_title": (_S, [_P, _N]),
    "embeddings_data": (_P, [_P, _N_OUT, _N_OUT]),
    "selection_rows": (_P, [_P, _N_OUT]), "selection_gains": (_P, [_P, _N_OUT]),
    "selection_report": (_S, [_P]),
    "dialogues_count": (_N, [_P]), "dialogues_get": (_S, [_P, _N]), "dialogues_report": (_S, [_P]),
    "model_report": (_S, [_P]), "model_file": (_S, [_P]),
    "recommender_count": (_N, [_P]), "recommender_bytes": (_U, [_P]), "recommender_id": (_S, [_P, _N]),
    "recommender_name": (_S, [_P]),
    "reply_partial": (c.c_int32, [_P]), "reply_truncated": (c.c_int32, [_P]), "reply_warning": (_S, [_P, _N]),
    "reply_count": (_N, [_P]), "reply_json": (_S, [_P]), "reply_text": (_S, [_P]),
    "reply_rows": (_P, [_P, _N_OUT]), "reply_scores": (_P, [_P, _N_OUT]), "report_json": (_S, [_P]),
}
for _noun in ("error", "config", "run", "dataset", "embeddings", "selection", "dialogues", "model", "recommender",
              "query", "reply", "report"):
    _PLAIN[f"{_noun}_free"] = (None, [_P])


class Library:
    """The functions by their names without `causerie_`."""

    def __init__(self) -> None:
        place, library = find()
        self.file = place.file
        declared = [(name, arguments, _P) for name, arguments in _FALLIBLE.items()]
        declared += [(name, arguments, result) for name, (result, arguments) in _PLAIN.items()]
        for name, arguments, result in declared:
            try:
                function = getattr(library, f"causerie_{name}")
            except AttributeError:
                raise ImportError(
                    f"{place.file} has ABI {ABI} and yet no causerie_{name}: it is older than this package, causerie {VERSION};"
                    " install the two of one version",
                    name="causerie",
                ) from None
            function.argtypes, function.restype = arguments, result
            setattr(self, name, function)
        error: Optional[int] = self.check_version(VERSION.encode(), ABI)
        if error:
            message = self.error_message(error).decode()
            self.error_free(error)
            raise ImportError(f"{place.file}: {message}", name="causerie")

    def __getattr__(self, name: str) -> Any:  # for type checkers: every function is callable
        raise AttributeError(name)


lib = Library()
