//! The whole loop in Rust, with a teacher of our own: `cargo run --release --example loop -- /tmp/somewhere`

use causerie::dataset::{import, load_conversations, simulate_to};
use causerie::embed::{Embedder, TextEmbedder, embed_reviews, read_embeddings};
use causerie::evaluate::{Metric, evaluate};
use causerie::recommend::{HeadRecommender, Parts, Popularity, Query, QueryWindow, Recommender, Service};
use causerie::select::select;
use causerie::synthesize::{self, Answer, Failure, Kind, Teacher};
use causerie::titles::Titles;
use causerie::tune::{ItemVectors, tune_head};
use causerie::{Config, Result, Run};
use std::path::Path;
use std::sync::Arc;

/// Answers from the catalogue; a service would ask its LLM.
struct Ours(Vec<String>);

impl Teacher for Ours {
    fn name(&self) -> String {
        "example".into()
    }
    fn in_flight(&self) -> usize {
        2
    }
    fn answer(&self, request: &synthesize::Request, _: usize, _: &Run) -> std::result::Result<Answer, Failure> {
        let text = match request.kind {
            Kind::Query => {
                format!("1. I would like something moving for evening number {}, not too long.", request.seed % 1000)
            }
            Kind::Recommend => {
                let title = |i: usize| &self.0[(request.seed as usize + i * 7) % self.0.len()];
                (0..20).map(|i| format!("{}. {}\n", i + 1, title(i))).collect()
            }
            // Asked for where synthesize.turns is above 1: the planned lines, in words of your own.
            Kind::Dialogue => request.facts.draft.join("\n"),
            // Nobody is asked to judge unless synthesize.judge says so.
            Kind::Judge => "5, 5, 5".to_string(),
        };
        Ok(Answer { text, prompt_tokens: 0, completion_tokens: 0 })
    }
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let folder = Path::new(&folder);
    let mut config = Config::default();
    for (key, value) in [
        ("simulate.items", "120"),
        ("simulate.users", "300"),
        ("simulate.reviews", "1500"),
        ("simulate.conversations", "60"),
        ("embed.dim", "32"),
        ("select.budget", "60"),
        ("synthesize.queries", "1"),
        ("tune.head_epochs", "3"),
        ("evaluate.bootstrap", "100"),
    ] {
        config.set(key, value)?;
    }
    let run = Run::new(2)?;

    // 1 load: a simulated domain here
    let files = simulate_to(folder, &config.simulate, &run)?;
    for (key, file) in [
        ("dataset.items", &files.items),
        ("dataset.reviews", &files.reviews),
        ("dataset.interactions", &files.interactions),
    ] {
        config.set(key, &file.display().to_string())?;
    }
    let (dataset, _) = import(&config.dataset, &run)?;

    // 2 embed, 3 select
    let embedder: Arc<dyn Embedder> = Arc::new(TextEmbedder::fit_dataset(&dataset, &config.embed, &run)?);
    let rows = folder.join("embeddings.safetensors");
    embed_reviews(&dataset, &*embedder, &rows, &run)?;
    let reviews = read_embeddings(&rows, dataset.reviews(), &run)?;
    let selection = select(&reviews, None, &config.select, &run)?;

    // 4 synthesize: the built-in teacher, then ours
    let journal = folder.join("journal.jsonl");
    let mut dialogues = synthesize::synthesize(&dataset, &selection, &config.synthesize, 1, &run, &journal)?.rows;
    let ours = Ours((0..dataset.items.len()).map(|i| dataset.items.name(i)).collect());
    let more = synthesize::synthesize_with(&dataset, &selection, &ours, &config.synthesize, 1, &run, &journal)?;
    dialogues.extend(more.rows);

    // 5 tune
    let items = ItemVectors::from_items(&dataset.items, &*embedder, &run)?.count(&dataset)?;
    let items = items.blend_reviews(&dataset, &reviews, config.tune.review_weight)?;
    let mentions = Arc::new(Titles::of(&dataset));
    let find = |text: &str| mentions.rows(text);
    let (head, report) = tune_head(&dialogues, items, &*embedder, &find, &config.tune, &run)?;
    println!("{} dialogues; {report}", dialogues.len());

    // 6 recommend
    let context = QueryWindow::from_config(&config.recommend);
    let head = HeadRecommender::new("head", head, &dataset.items, embedder.clone(), Some(mentions.clone()), context)?;
    let conversations = load_conversations(&files.conversations, 0)?;
    let query = Query { top_k: Some(5), ..Query::new(conversations[0].clone()) };
    let head: Arc<dyn Recommender> = Arc::new(head);
    let dataset = Arc::new(dataset);
    let service = Service::new(Parts {
        system: "head".into(),
        dataset: dataset.clone(),
        titles: mentions.clone(),
        recommender: head.clone(),
        evidence: Some((Arc::new(reviews), embedder)),
        settings: config.recommend.clone(),
    })?;
    for ranked in &service.answer(&query, &run)?.items {
        println!("  {}  {:.3}", dataset.items.name(ranked.item as usize), ranked.score);
    }

    // 7 evaluate
    let popularity = Popularity::from_dataset(&dataset)?;
    let systems: [(&str, &dyn Recommender); 2] = [("head", &*head), ("popularity", &popularity)];
    let result = evaluate("simulated", &systems, &conversations, &dataset.items, &mentions, &config.evaluate, &run)?;
    for system in &result.systems {
        println!("{}: Recall@10 {:.3}", system.label, system.seen_removed.get(Metric::Recall, 2).mean);
    }
    Ok(())
}
