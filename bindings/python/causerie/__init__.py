"""causerie: from reviews to a conversational recommender of your own.

load → embed → select → synthesize → tune → recommend → evaluate, over the C library. Works without numpy; with it,
embeddings, selections and scores are numpy arrays over the library's memory, without a copy. docs/python.md has the rules
for threads, Ctrl-C and errors.
"""

from ._config import Config
from ._dataset import INTERACTIONS, ITEMS, REVIEWS, Dataset
from ._dialogues import (
    ASK_DIALOGUE, ASK_JUDGE, ASK_QUERY, ASK_RECOMMEND, FAIL_BROKEN, FAIL_REFUSED, FAIL_THROTTLED, Answer, Dialogues, Request,
    TeacherError,
)
from ._embeddings import Embeddings
from ._general import Setting, handles, log, settings, simulate, version
from ._handle import (
    BUG, BUSY, CANCELLED, CLOSED, FORMAT, INVALID, IO, MEMORY, NOT_FOUND, TEACHER, UNSUPPORTED, ClosedError, Error,
)
from ._library import VERSION as __version__
from ._model import Model
from ._query import Query
from ._recommender import Recommendation, Recommendations, Recommender, Reply
from ._report import Report, pipeline
from ._run import Progress, Run
from ._selection import Selection

__all__ = [
    "ASK_DIALOGUE", "ASK_JUDGE", "ASK_QUERY", "ASK_RECOMMEND", "BUG", "BUSY", "CANCELLED", "CLOSED", "FAIL_BROKEN", "FAIL_REFUSED",
    "FAIL_THROTTLED",
    "FORMAT", "INTERACTIONS", "INVALID", "IO", "ITEMS", "MEMORY", "NOT_FOUND", "REVIEWS", "TEACHER", "UNSUPPORTED",
    "Answer", "ClosedError", "Config", "Dataset", "Dialogues", "Embeddings", "Error", "Model", "Progress", "Query",
    "Recommendation", "Recommendations", "Recommender", "Reply", "Report", "Request", "Run", "Selection", "Setting",
    "TeacherError", "__version__", "handles", "log", "pipeline", "settings", "simulate", "version",
]

for _name in __all__:  # what people see in errors and pickles is `causerie.Error`
    if getattr(globals()[_name], "__module__", "").startswith("causerie._"):
        globals()[_name].__module__ = "causerie"
