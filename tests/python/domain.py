"""A small simulated domain, and what the stages make of it, for the tests of the Python binding."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Type

import causerie

SETTINGS = """
[run]
threads = 2
[simulate]
items = 60
users = 200
reviews = 600
conversations = 40
[embed]
dim = 16
user_dim = 8
[select]
budget = 20
[synthesize]
queries = 1
in_flight = 2
[tune]
method = "head"
head_epochs = 2
[pipeline]
strategies = "random"
budget = 20
rounds = 1
naive = false
[evaluate]
bootstrap = 100
examples = 0
"""


class Domain(NamedTuple):
    folder: Path
    config: causerie.Config
    dataset: causerie.Dataset
    embeddings: causerie.Embeddings
    selection: causerie.Selection
    dialogues: causerie.Dialogues
    model: causerie.Model


def domain(folder: Path) -> Domain:
    """The loop up to the tuned head."""
    config = causerie.Config(SETTINGS)
    causerie.simulate(config, folder)
    for key, file in (
        ("dataset.items", "items.jsonl"), ("dataset.reviews", "reviews.jsonl"), ("dataset.interactions", "interactions.csv"),
        ("evaluate.conversations", "conversations.jsonl"),
    ):
        config[key] = str(folder / file)
    dataset = causerie.Dataset.read(config)
    embeddings = causerie.Embeddings(dataset, config)
    selection = causerie.Selection(embeddings, config, dataset)
    dialogues = causerie.Dialogues(dataset, selection, config)
    model = causerie.Model(dialogues, dataset, embeddings, config)
    return Domain(folder, config, dataset, embeddings, selection, dialogues, model)


def recommender(d: Domain) -> causerie.Recommender:
    return causerie.Recommender(d.dataset, d.embeddings, d.model, config=d.config)


def raises(kind: Type[BaseException], call: Callable[[], Any], *words: str, code: Optional[int] = None) -> BaseException:
    """What `call` raises: exactly of this kind, with these words."""
    try:
        given = call()
    except BaseException as e:
        assert isinstance(e, kind), traceback.format_exc()
        assert all(word in str(e) for word in words), (words, str(e))
        assert code is None or getattr(e, "code", None) == code, (code, e)
        return e
    raise AssertionError(f"nothing was raised, but {given!r:.200} given")


def run_all(tests: "dict[str, Any]", *given: Any) -> None:
    """Runs the functions of a module whose names do not begin with an underscore, and which it defines."""
    module = tests["__name__"]
    for name, test in list(tests.items()):
        if callable(test) and getattr(test, "__module__", "") == module and not name.startswith("_") and name != "main":
            test(*given)
            print("ok", name, flush=True)
