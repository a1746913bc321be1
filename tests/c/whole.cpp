// What the command does beside the loop, over C++: embedding in shards, a batch endpoint's files, a model from nothing, an
// adapter merged into its base, a sentence in the model's own words. argv: a folder, a GGUF.
#include "left.h"
#include <causerie.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#define CHECK(what)                                                      \
  do {                                                                   \
    if (!(what)) {                                                       \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
      std::exit(1);                                                      \
    }                                                                    \
  } while (0)

namespace {

template <class Call>
std::int32_t code(const Call &call) {
  try {
    call();
    return 0;
  } catch (const causerie::error &e) {
    return e.code();
  }
}

std::string bytes(const std::string &file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// An answer to every request of `requests`, as a batch endpoint writes them.
std::size_t answer(const std::string &requests, const std::string &answers, const std::string &text) {
  std::ifstream in(requests);
  std::ofstream out(answers);
  std::size_t n = 0;
  for (std::string line; std::getline(in, line); n++) {
    const std::string key = "\"custom_id\":\"";
    const auto at = line.find(key) + key.size();
    out << "{\"custom_id\": \"" << line.substr(at, line.find('"', at) - at)
        << "\", \"response\": {\"status_code\": 200, \"body\": {\"choices\": [{\"finish_reason\": \"stop\", \"message\": "
           "{\"role\": \"assistant\", \"content\": \"" << text << n << "\"}}], \"usage\": {\"prompt_tokens\": 1, "
           "\"completion_tokens\": 1}}}, \"error\": null}\n";
  }
  return n;
}

}  // namespace

int main(int argc, char **argv) {
  CHECK(argc > 2);
  const std::string folder = argv[1], base = argv[2];
  causerie::config config;
  config.read("[run]\nthreads = 1\n[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 5\n[embed]\ndim = 16\n"
              "[select]\nbudget = 4\n[synthesize]\nqueries = 1\n[tune]\nmethod = \"lora\"\nepochs = 1\nmax_tokens = 128\n"
              "learning_rate = 0.005\nobjective = \"text\"\n[recommend]\ncontext_tokens = 256\n");
  causerie::simulate(config, folder);
  causerie::dataset data(config);
  data.add_file(causerie::table::items, folder + "/items.jsonl");
  data.add_file(causerie::table::reviews, folder + "/reviews.jsonl");

  // Three shards lie end to end as the rows of one run do, bit for bit.
  const causerie::embeddings whole(data, config);
  const std::string shards = folder + "/shards";
  CHECK(code([&] { causerie::embeddings::shard(data, config, shards, 3, 3); }) == CAUSERIE_INVALID);
  CHECK(causerie::embeddings::shard(data, config, shards, 2, 3) == 2);
  CHECK(causerie::embeddings::shard(data, config, shards, 0, 3) == 1);
  CHECK(causerie::embeddings::join(shards, 3) == 1);
  CHECK(code([&] { causerie::embeddings::open(shards + "/embeddings.json"); }) == CAUSERIE_NOT_FOUND);
  CHECK(causerie::embeddings::shard(data, config, shards, 1, 3) == 0);
  CHECK(causerie::embeddings::join(shards, 3) == 0);
  const auto joined = causerie::embeddings::open(shards + "/embeddings.json");
  CHECK(joined.rows() == whole.rows() && joined.dim() == whole.dim());
  whole.pack("f32", folder + "/whole.safetensors");
  joined.pack("f32", folder + "/joined.safetensors");
  CHECK(bytes(folder + "/whole.safetensors") == bytes(folder + "/joined.safetensors"));

  // A batch: queries out and in, lists out and in, then the dialogues without a word to anybody.
  const causerie::selection seeds(&data, whole, config);
  const std::string journal = folder + "/journal.jsonl", out = folder + "/requests.jsonl", in = folder + "/answers.jsonl";
  const auto exported = [&] { return causerie::dialogues::export_requests(data, seeds, config, journal, out); };
  CHECK(code(exported) == CAUSERIE_INVALID);
  config.set("synthesize.teacher", "http").set("synthesize.model", "some-model");
  CHECK(exported() == 4 && answer(out, in, "Something with a twist? No ") == 4);
  CHECK(causerie::dialogues::import_answers(journal, in) == 0);
  CHECK(exported() == 4 && answer(out, in, "1. " + data.title(0) + "\\n2. " + data.title(1) + "\\n3. Part ") == 4);
  CHECK(causerie::dialogues::import_answers(journal, in) == 0 && exported() == 0);
  CHECK(code([&] { causerie::dialogues::import_answers(folder + "/other.jsonl", in); }) != 0);
  const causerie::dialogues pairs(data, seeds, config, journal);
  CHECK(pairs.size() == 4 && pairs[0].find("twist") != std::string::npos);

  // A model from nothing, then one that learned from the reviews; and the tokens of both are heard of in the report.
  const auto fresh = causerie::model::fresh(data, 400000, folder + "/fresh.gguf", config);
  CHECK(fresh.file() == folder + "/fresh.gguf" && fresh.report().find("\"parameters\"") != std::string::npos);
  CHECK(code([&] { causerie::model::fresh(data, 3, folder + "/none.gguf", config); }) == CAUSERIE_INVALID);
  config.set("tune.max_tokens", "16");
  const auto read = causerie::model::fresh(data, 400000, folder + "/fresh2.gguf", config, folder + "/read");
  CHECK(read.file() == folder + "/read/model.gguf" && read.report().find("trainer_loss") != std::string::npos);
  CHECK(bytes(folder + "/fresh.gguf") == bytes(folder + "/fresh2.gguf"));

  // Its adapter, merged.
  config.set("tune.max_tokens", "128");
  const causerie::model tuned(pairs, read.file(), folder + "/tuned", config);
  const auto merged = causerie::model::merge(read.file(), tuned.file(), "q8_0", folder + "/merged.gguf");
  CHECK(merged.file() == folder + "/merged.gguf" && merged.report().find("\"effect\"") != std::string::npos);
  CHECK(code([&] { causerie::model::merge(base, tuned.file(), "f32", folder + "/no.gguf"); }) == CAUSERIE_INVALID);
  CHECK(code([&] { causerie::model::merge(read.file(), tuned.file(), "f12", folder + "/no.gguf"); }) == CAUSERIE_INVALID);
  CHECK(bytes(folder + "/no.gguf").empty());

  // A sentence of its own, the same when it is heard.
  const auto lm = causerie::recommender::open_lm(data, base, config);
  const causerie::query query("something funny");
  const auto answered = lm.recommend(query, 3);
  std::string heard;
  causerie::run listening(1);
  listening.on_token([&](std::string_view piece) {
    heard += piece;
    return true;
  });
  const auto said = lm.say(query, answered, &listening);
  CHECK(!said.empty() && said == heard && said == lm.say(query, answered));
  for (std::size_t item = 0; item < lm.size(); item++) {
    bool returned = false;
    for (const auto row : answered.rows()) returned = returned || row == item;
    CHECK(returned || said.find(data.title(item)) == std::string::npos);
  }
  // Of another catalogue; and of a recommender that has no words.
  causerie::dataset few(config);
  few.add(causerie::table::items, "{\"item\": \"x\", \"title\": \"Elsewhere\"}");
  const auto other = causerie::recommender::open_lm(few, base, config);
  CHECK(code([&] { other.say(query, answered); }) == CAUSERIE_INVALID);
  config.set("recommend.system", "popularity");
  const causerie::recommender popular(data, nullptr, nullptr, nullptr, config);
  CHECK(code([&] { popular.say(query, popular.recommend(query, 3)); }) == CAUSERIE_UNSUPPORTED);
  return 0;
}
