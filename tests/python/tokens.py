"""The text of a language model arrives while it is written; what the callback raises comes out. argv: a folder, a GGUF."""

import sys

import causerie

folder, model = sys.argv[1:]
config = causerie.Config("[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 20")
config["recommend.mode"], config["recommend.context_tokens"] = "generate", 256
causerie.simulate(config, folder)
dataset = causerie.Dataset(config)
dataset.add_file(causerie.ITEMS, folder + "/items.jsonl")
recommender = causerie.Recommender.lm(dataset, model, config=config)
heard: list = []
recommender.recommend("once upon a time", 2, run=causerie.Run(1, on_token=heard.append))
assert len(heard) > 3 and heard.index("") == len(heard) - 1, heard


def stop(text: str) -> None:
    raise KeyError(text)


run = causerie.Run(1, on_token=stop)
try:
    recommender.recommend("once upon a time", 2, run=run)
except KeyError as e:
    assert e.args == (heard[0],), e
else:
    raise AssertionError("nothing was raised")
