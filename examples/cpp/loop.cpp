// The whole loop in C++17, with a teacher of our own.
//   c++ -std=c++17 loop.cpp $(pkg-config --cflags --libs causerie) -o loop && ./loop /tmp/somewhere
#include <causerie.hpp>
#include <fstream>
#include <iostream>
#include <sstream>

static std::string read_file(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": cannot be read");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

static int loop(const std::string &folder) {
  causerie::check_version();
  std::cout << causerie::version() << '\n';
  causerie::config config(R"(
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
  )");
  std::size_t reports = 0;
  const causerie::run run(2, [&](const causerie_progress &) { return ++reports > 0; });

  // 1 load: a simulated domain here
  causerie::simulate(config, folder, &run);
  causerie::dataset dataset(config);
  std::size_t dropped = dataset.add_file(causerie::table::items, folder + "/items.jsonl", &run);
  dropped += dataset.add_file(causerie::table::reviews, folder + "/reviews.jsonl", &run);
  dropped += dataset.add(causerie::table::interactions, read_file(folder + "/interactions.csv"));
  std::cout << dataset.count(causerie::table::reviews) << " reviews, " << dropped << " rows were bad\n";

  // 2 embed, 3 select
  const causerie::embeddings embeddings(dataset, config, "", &run);
  const causerie::selection selection(&dataset, embeddings, config, &run);
  std::cout << embeddings.rows() << " x " << embeddings.dim() << ", " << selection.rows().size() << " seeds\n";

  // 4 synthesize: the built-in teacher, then a lambda; a service would ask its LLM with request.prompt
  causerie::dialogues dialogues(dataset, selection, config, folder + "/journal.jsonl", &run);
  const std::size_t items = dataset.count(causerie::table::items);
  const causerie::teacher teacher = [&](const causerie_request &request) -> causerie::answer {
    if (request.attempt == 0 && request.seed % 5 == 0) throw causerie::teacher_failure{CAUSERIE_FAIL_BROKEN, "a hiccup", 1};
    std::ostringstream text;
    if (request.kind == CAUSERIE_ASK_QUERY) {
      text << "1. I would like something moving for evening number " << request.seed % 1000 << ", not too long.";
    } else {
      for (std::size_t i = 0; i < 20; ++i) text << i + 1 << ". " << dataset.title((request.seed + i * 7) % items) << '\n';
    }
    return {text.str(), request.prompt_len / 4, 100};
  };
  config.set("synthesize.backoff_ms", "1");
  const causerie::dialogues ours(dataset, selection, "example", teacher, config, "", &run);
  dialogues.add(ours);
  std::cout << dialogues.size() << " dialogues, " << ours.size() << " of them ours\n";

  // 5 tune, 6 recommend
  const causerie::model model(dialogues, dataset, embeddings, config, &run);
  causerie::recommender tuned(dataset, &embeddings, &model, nullptr, config, &run);
  causerie::query query("I would like something moving and funny");
  const auto answer = tuned.recommend(query, 5, &run);
  for (std::size_t i = 0; i < answer.size(); ++i) std::cout << "  " << answer.title(i) << "  " << answer.scores()[i] << '\n';
  // The conversation goes on: what was shown is not shown again.
  query.turn(CAUSERIE_ASSISTANT, answer.text()).turn(CAUSERIE_USER, "I know these, what else?").exclude_rows(answer.rows());
  const auto next = tuned.recommend(query, 5, &run);
  for (const auto row : next.rows()) {
    for (const auto shown : answer.rows()) {
      if (row == shown) return 1;
    }
  }

  // 7 evaluate
  config.set("recommend.system", "popularity");
  const causerie::recommender popularity(dataset, nullptr, nullptr, nullptr, config);
  const auto report =
      causerie::report::evaluate({&tuned, &popularity}, read_file(folder + "/conversations.jsonl"), config, &run);
  std::cout << "Recall@10 " << report.metric(0, "recall@10").first << ", popularity " << report.metric(1, "recall@10").first
            << '\n';

  // A new item is ranked at once.
  tuned.add(R"({"item": "new-1", "title": "Zanzibar Crossing", "year": 2026, "plot": "A moving, funny ferry trip"})");
  if (tuned.score(query).size() != items + 1 || tuned.find("new-1") != items) return 1;

  // Errors are exceptions, and so is what a callback throws.
  try {
    config.set("select.bugdet", "5");
    return 1;
  } catch (const causerie::invalid_error &e) {
    std::cout << e.what() << '\n';
  }
  const causerie::run failing(1, [](const causerie_progress &) -> bool { throw std::logic_error("from a callback"); });
  try {
    const causerie::embeddings none(dataset, config, "", &failing);
    return 1;
  } catch (const std::logic_error &e) {
    std::cout << "caught what came " << e.what() << '\n';
  }
  const causerie::teacher broken = [](const causerie_request &) -> causerie::answer { throw std::logic_error("from a teacher"); };
  try {
    const causerie::dialogues none(dataset, selection, "broken", broken, config);
    return 1;
  } catch (const std::logic_error &e) {
    std::cout << "caught what came " << e.what() << '\n';
  }
  return reports > 0 ? 0 : 1;
}

int main(int argc, char **argv) {
  try {
    return loop(argc > 1 ? argv[1] : ".");
  } catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}
