"""A program as a user with a type checker writes it: `mypy --strict` finds nothing in it, and it runs. argv: a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import causerie
import numpy as np
from causerie import Answer, Config, Dataset, Dialogues, Embeddings, Model, Query, Recommender, Report, Request, Run, Selection


def teacher(request: Request) -> Answer:
    return Answer(f"Something moving for evening number {request.seed % 1000}, not too long", prompt_tokens=len(request.prompt) // 4)


def watch(progress: causerie.Progress) -> Optional[bool]:
    return None if progress.done <= progress.total or progress.total == 0 else False


def load(folder: Path, config: Config) -> Dataset:
    dataset = Dataset(config)
    dropped: int = dataset.add_file(causerie.ITEMS, folder / "items.jsonl")
    dropped += dataset.add(causerie.REVIEWS, (folder / "reviews.jsonl").read_bytes())
    dropped += dataset.add(causerie.INTERACTIONS, [{"user": "a", "item": dataset.report["summary"] and "1", "rating": 5.0}])
    assert dropped == dataset.dropped
    return dataset


def main(folder: Path) -> None:
    config = Config("[simulate]\nitems = 60\nusers = 100\nreviews = 300\nconversations = 10", embed_dim=16, select_budget=5)
    config["evaluate.bootstrap"] = 100
    config["dataset.unknown_items"] = "keep"
    causerie.simulate(config, folder)
    run = Run(threads=2, on_progress=watch, on_token=sys.stderr.write)
    with load(folder, config) as dataset, Embeddings(dataset, config, run=run) as embeddings:
        selection = Selection(embeddings, config, dataset, run=run)
        rows: np.ndarray[tuple[int, ...], np.dtype[np.uint64]] = selection.rows
        assert float(embeddings.values.sum()) != 0 and rows.dtype == np.uint64
        dialogues = Dialogues(dataset, selection, config, run=run)
        first: object = dialogues[0]["messages"]
        assert first is not None and len(Dialogues.parse([dialogues[0]])) == 1
        model = Model(dialogues, dataset, embeddings, config)
        recommender = Recommender(dataset, embeddings, model, config=config)
    query = Query("something moving", seen=[{"title": "Another", "year": 1999}]).exclude(["1"])
    found = recommender.recommend(query, 5, run=run)
    names: list[str] = [item.title for item in found]
    warnings: list[str] = found.warnings
    best, scores = recommender.rank("something moving", 5)
    mask = np.zeros(len(recommender), dtype=bool)
    mask[best] = True
    others = recommender.recommend("something moving", 5, exclude=mask, allow=None)
    assert {item.item for item in others}.isdisjoint(recommender.ids[int(row)] for row in best)
    assert float(scores[0]) >= float(scores[-1]) and names and isinstance(warnings, list)
    assert recommender.score_many([query, "another"]).shape == (2, len(recommender))
    with recommender.ask("something moving", 3) as reply:
        print(reply.text)
    try:
        config["select.bugdet"] = 5
    except causerie.Error as e:
        code: int = e.code
        assert code == causerie.INVALID
    report = Report.evaluate([recommender], (folder / "conversations.jsonl").read_text(), config)
    mean, error = report.metric("recall@10")
    settings: dict[str, str] = {setting.key: setting.initial for setting in causerie.settings()}
    print(f"{mean:.3f} ± {error:.3f}, {len(settings)} settings, {causerie.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
