"""The whole loop in Python, with a teacher of our own: python3 loop.py /tmp/somewhere"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import causerie

SETTINGS = """
[simulate]
items = 120
users = 300
reviews = 1500
conversations = 60
[embed]
dim = 32
user_dim = 16
[select]
budget = 60
[synthesize]
queries = 1
in_flight = 2
[tune]
head_epochs = 3
[evaluate]
bootstrap = 100
examples = 0
"""


def main(folder: Path) -> None:
    print(causerie.version())
    reports = []
    run = causerie.Run(threads=2, on_progress=reports.append)
    config = causerie.Config(SETTINGS)

    # 1 load: a simulated domain here
    causerie.simulate(config, folder, run)
    dataset = causerie.Dataset(config)
    dataset.add_file(causerie.ITEMS, folder / "items.jsonl", run)
    dataset.add(causerie.REVIEWS, (folder / "reviews.jsonl").read_text())
    dataset.add_file(causerie.INTERACTIONS, folder / "interactions.csv", run)
    print(dataset)

    # 2 embed, 3 select
    embeddings = causerie.Embeddings(dataset, config, run=run)
    selection = causerie.Selection(embeddings, config, dataset, run=run)
    print(embeddings.values.shape, len(selection.rows), "seeds, the first is review", selection.rows[0])

    # 4 synthesize: the built-in teacher, then ours; a service would ask its LLM with request.prompt
    dialogues = causerie.Dialogues(dataset, selection, config, folder / "journal.jsonl", run=run)

    def teacher(request: causerie.Request) -> causerie.Answer:
        if request.kind == causerie.ASK_QUERY:
            return causerie.Answer(f"1. I would like something moving for evening number {request.seed % 1000}, not too long.")
        titles = [dataset.title((request.seed + i * 7) % dataset.items) for i in range(20)]
        return causerie.Answer("\n".join(f"{i + 1}. {title}" for i, title in enumerate(titles)))

    ours = causerie.Dialogues(dataset, selection, config, teacher=teacher, teacher_name="example", run=run)
    dialogues.add(ours)
    print(len(dialogues), "dialogues,", len(ours), "of them ours;", dialogues[0]["messages"][0]["content"][:60])

    # 5 tune, 6 recommend
    model = causerie.Model(dialogues, dataset, embeddings, config, run)
    tuned = causerie.Recommender(dataset, embeddings, model, config=config, run=run)
    for r in tuned.recommend("I would like something moving and funny", 5):
        print(f"  {r.title} ({r.year})  {r.score:.3f}")
    # The conversation goes on: what was shown is not shown again. Rows and scores are arrays.
    query = causerie.Query("I would like something moving and funny")
    rows, scores = tuned.rank(query, 5)
    query.turn("assistant", "How about these?").turn("user", "I know them").exclude_rows(rows)
    more, _ = tuned.rank(query, 5)
    assert len(more) == 5 and not set(map(int, more)) & set(map(int, rows)) and scores[0] >= scores[4]
    both = tuned.recommend_many([query, "something funny"], 5)
    assert [r.item for r in both[0]] == [r.item for r in tuned.recommend(query, 5)] and len(both[1]) == 5
    table = tuned.score_many([query, "something funny"])
    assert len(table) == 2 and abs(table[0, tuned.find(tuned.ids[3])] - tuned.score(query)[3]) < 1e-5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tuned.recommend("something funny", 5), range(16)))
    assert all(answer == answers[0] for answer in answers)
    assert tuned.recommend("something funny", allow=[]) == []

    # 7 evaluate
    config["recommend.system"] = "popularity"
    popularity = causerie.Recommender(dataset, config=config)
    report = causerie.Report.evaluate([tuned, popularity], (folder / "conversations.jsonl").read_text(), config, run)
    print("Recall@10 %.3f +- %.3f" % report.metric("recall@10"), "popularity %.3f" % report.metric("recall@10", 1)[0])
    assert "<svg" in report.html or "<table" in report.html
    assert report._repr_html_().startswith("<iframe")

    tuned.add([{"item": "new-1", "title": "Zanzibar Crossing", "year": 2026, "plot": "A moving, funny ferry trip"}])
    assert len(tuned.score("something funny")) == dataset.items + 1

    # Views outlive their names: the memory belongs to the handle that the view keeps.
    view = embeddings.values
    del embeddings
    assert view[0, 0] == view[0, 0]
    # Errors have codes; what a callback raises comes out of the call.
    try:
        config["select.bugdet"] = 5
        raise AssertionError("an unknown setting was taken")
    except causerie.Error as e:
        assert e.code == causerie.INVALID and "select.budget" in str(e)

    def broken(_: object) -> None:
        raise KeyError("from a callback")

    try:
        causerie.Embeddings(dataset, config, run=causerie.Run(on_progress=broken))
        raise AssertionError("the callback's error was lost")
    except KeyError:
        pass
    print(len(reports), "reports of progress")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
