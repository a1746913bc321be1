"""What the command does beside the loop, over Python: shards, a batch endpoint's files, a model from nothing, an adapter
merged into its base, a sentence in the model's own words. argv: a folder, a GGUF."""

import json
import sys

import causerie

folder, base = sys.argv[1:]
config = causerie.Config(
    "[run]\nthreads = 1\n[simulate]\nitems = 60\nusers = 100\nreviews = 300\nconversations = 5\n[embed]\ndim = 16\n"
    "[select]\nbudget = 3\n[synthesize]\nqueries = 1\nteacher = 'http'\nmodel = 'some-model'\n[tune]\nmethod = 'lora'\n"
    "epochs = 1\nlearning_rate = 0.005\nmax_tokens = 128\nobjective = 'text'\n[recommend]\ncontext_tokens = 256"
)
causerie.simulate(config, folder)
dataset = causerie.Dataset(config)
dataset.add_file(causerie.ITEMS, folder + "/items.jsonl")
dataset.add_file(causerie.REVIEWS, folder + "/reviews.jsonl")

assert causerie.Embeddings.shard(1, 2, dataset, folder + "/shards", config) == 1
assert causerie.Embeddings.join(folder + "/shards", 2) == 1
assert causerie.Embeddings.shard(0, 2, dataset, folder + "/shards", config) == 0
rows = causerie.Embeddings.open(folder + "/shards/embeddings.json")
assert rows.shape == (300, 16), rows.shape

seeds = causerie.Selection(rows, config, dataset)
journal, requests, answers = folder + "/journal.jsonl", folder + "/requests.jsonl", folder + "/answers.jsonl"
for answered, text in ((0, "Something with a twist? No "), (3, f"1. {dataset.title(0)}\n2. {dataset.title(1)}\n3. Part ")):
    assert causerie.Dialogues.export_requests(dataset, seeds, config, journal, requests) == (3, answered)
    with open(requests) as asked, open(answers, "w") as out:
        for number, line in enumerate(asked):
            body = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text + str(number)}}]}
            answer = {"status_code": 200, "body": body}
            print(json.dumps({"custom_id": json.loads(line)["custom_id"], "response": answer, "error": None}), file=out)
    assert causerie.Dialogues.import_answers(journal, answers) == (3, 0)
pairs = causerie.Dialogues(dataset, seeds, config, journal)
assert len(pairs) == 3

fresh = causerie.Model.new(dataset, 400_000, folder + "/fresh.gguf", config)
assert fresh.file == folder + "/fresh.gguf" and fresh.report["parameters"] > 300_000, fresh.report
tuned = causerie.Model.lm(pairs, folder + "/fresh.gguf", folder + "/tuned", config)
assert tuned.file
merged = causerie.Model.merge(folder + "/fresh.gguf", tuned.file, folder + "/merged.gguf", "f32")
assert merged.report["effect"] > merged.report["difference"], merged.report

recommender = causerie.Recommender.lm(dataset, base, config=config)
heard: list = []
sentence, items = recommender.say("something funny", 3, run=causerie.Run(1, on_token=heard.append))
assert sentence and sentence == "".join(heard) and heard[-1] == "" and len(items) == 3, (sentence, heard)
