//! Settings: one table, behind the Rust structs, the TOML file, the command's flags and the C API.
//!
//! Each row of the `settings!` block below is a key, its type, default, bounds and doc. The structs ([`Config`] and one per
//! stage) and [`table`] come from that block and from nowhere else. A type that is an enum has its names in `choices.rs`.

mod choices;
mod value;

pub(crate) use choices::listed;
pub use choices::{
    Arithmetic, Batching, Choice, CompareWhole, Compression, Domain, EmbedMethod, Features, Judge, Lists, LoraTarget,
    LossOn, Masking, Mode, Moments, Objective, OptionalField, PoolingChoice, Quantisation, RankedBy, RankingSystem,
    ReplyVoice, Schedule, SourceFormat, Speakers, StopOn, StoreType, Strategy, Structured, TeacherKind, TokenField,
    TuneMethod, UnknownItems, UserMethod, WeightType,
};

use crate::error::{Error, Result};
use std::fmt::Write as _;
use value::{Bounds, Value};

/// One row of the table of settings.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `select.budget`.
    pub key: &'static str,
    /// The type as a user names it: `integer`, `number`, `text`, `boolean`, `list`.
    pub kind: &'static str,
    /// The default, as it would stand in the TOML file.
    pub initial: String,
    /// The bounds or the choices, in words; empty: none.
    pub bounds: String,
    /// What it does.
    pub doc: &'static str,
}

macro_rules! settings {
    ($( $(#[doc = $section_doc:literal])+ $section:ident: $name:ident {
        $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $bounds:expr; )*
    } )*) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name { $( $(#[doc = $doc])+ pub $key: $type, )* }
            impl Default for $name {
                fn default() -> Self { $name { $( $key: $default, )* } }
            }
        )*
        /// Every setting of every stage. `Config::default()` holds the documented defaults.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Config { $( $(#[doc = $section_doc])+ pub $section: $name, )* }

        impl Config {
            /// Sets `key` (`tune.rank`) from text: `16`, `fisher`, `a,b`; or as in TOML: `"a text"`, `["a", "b"]`.
            ///
            /// # Errors
            /// [`crate::ErrorKind::Invalid`] for an unknown key (naming the nearest known one) or a value out of bounds.
            pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
                match key {
                    $($( concat!(stringify!($section), ".", stringify!($key)) => {
                        self.$section.$key = value::parse(key, value, &$bounds)?;
                        Ok(())
                    } )*)*
                    _ => Err(unknown_key(key)),
                }
            }
            /// Sets `key` from a value of a TOML file.
            fn set_toml(&mut self, key: &str, value: &toml::Value) -> Result<()> {
                match key {
                    $($( concat!(stringify!($section), ".", stringify!($key)) => {
                        self.$section.$key = value::parse_toml(key, value, &$bounds)?;
                        Ok(())
                    } )*)*
                    _ => Err(unknown_key(key)),
                }
            }
            /// The value of `key`, as it would stand in the TOML file.
            ///
            /// # Errors
            /// [`crate::ErrorKind::Invalid`] for an unknown key.
            pub fn get(&self, key: &str) -> Result<String> {
                match key {
                    $($( concat!(stringify!($section), ".", stringify!($key)) => Ok(self.$section.$key.to_toml().to_string()), )*)*
                    _ => Err(unknown_key(key)),
                }
            }
        }

        /// The table of settings, in pipeline order.
        pub fn table() -> Vec<Setting> {
            let config = Config::default();
            vec![ $($( Setting {
                key: concat!(stringify!($section), ".", stringify!($key)),
                kind: <$type as Value>::KIND,
                initial: config.$section.$key.to_toml().to_string(),
                bounds: value::words::<$type>(&$bounds),
                doc: concat!($($doc),+).trim_ascii(),
            }, )*)* ]
        }
    };
}

const ANY: Bounds = Bounds::None;
const fn int(low: u64, high: u64) -> Bounds {
    Bounds::Integer(low, high)
}
const fn num(low: f64, high: f64) -> Bounds {
    Bounds::Number(low, high)
}
const MAX: u64 = u64::MAX;
const INF: f64 = f64::INFINITY;

settings! {
    /// The run as a whole.
    run: RunConfig {
        /// Threads; 0 takes what the cgroup's CPU quota gives.
        threads: usize = 0, int(0, 1024);
    }
    /// Loading.
    dataset: DatasetConfig {
        /// Items file (JSON lines, or `movies.csv` of MovieLens; .gz and .zst too). Empty: items are made of the ids in use.
        items: String = String::new(), ANY;
        /// Reviews file (JSON lines).
        reviews: String = String::new(), ANY;
        /// Interactions file (CSV with a line of column names, or JSON lines).
        interactions: String = String::new(), ANY;
        /// `tags.csv` of MovieLens: the most frequent tags of a film become its keywords.
        tags: String = String::new(), ANY;
        /// The files' format.
        format: SourceFormat = SourceFormat::Causerie, ANY;
        /// Further fields of an item that become named attributes: `brand`, `details.Brand` (an object's entry), or with a name of
        /// your own `colour=variants.color`. Columns, where items are CSV. Amazon's `details` and our own `attributes` are taken
        /// anyhow.
        attributes: Vec<String> = Vec::new(), ANY;
        /// Bad lines that are reported and passed over before an import stops and keeps what was there before.
        max_bad_lines: u64 = 1000, ANY;
        /// Reviews with fewer characters of text are left out.
        min_review_chars: usize = 1, int(0, MAX);
        /// Reviews of items without metadata: drop them, or make an item of the bare id.
        unknown_items: UnknownItems = UnknownItems::Drop, ANY;
    }
    /// The simulated domain.
    simulate: SimulateConfig {
        /// Items in the catalogue.
        items: usize = 400, int(20, 10_000_000);
        /// Users who write reviews.
        users: usize = 2000, int(1, 100_000_000);
        /// Reviews; a user writes at most a third of `simulate.items`.
        reviews: usize = 10_000, int(1, 1_000_000_000);
        /// Held-out conversations, of people who write no reviews.
        conversations: usize = 400, int(1, 100_000_000);
        /// How the reviews file is packed.
        compress: Compression = Compression::None, ANY;
        /// Seed of everything: the same seed gives the same bytes.
        seed: u64 = 0, ANY;
    }
    /// Embedding (paper §3.2).
    embed: EmbedConfig {
        /// How texts become rows: built-in features, a GGUF through llama.cpp, or a given file.
        method: EmbedMethod = EmbedMethod::Text, ANY;
        /// The GGUF of `lm`.
        model: String = String::new(), ANY;
        /// The safetensors file of `file`: one f32 tensor `embeddings` [reviews, dim].
        file: String = String::new(), ANY;
        /// Texts are cut to this many tokens.
        max_tokens: usize = 256, int(1, 1 << 20);
        /// Tokens per llama.cpp batch (many texts share one; an encoder takes them one by one).
        batch_tokens: usize = 512, int(16, 1 << 20);
        /// Pooling of `lm`: the model's own where it has one, mean over the text's tokens, or the last token.
        pooling: PoolingChoice = PoolingChoice::Auto, ANY;
        /// How rows are stored: f32, f16, or i8 with one scale per row. Later stages see the stored values.
        store: StoreType = StoreType::F32, ANY;
        /// Dimensions of `text`.
        dim: usize = 128, int(2, 4096);
        /// Hash buckets of `text` (rounded up to a power of two).
        buckets: usize = 1 << 18, int(256, 1 << 28);
        /// Dimensions of the metadata features.
        metadata_dim: usize = 64, int(2, 4096);
        /// Dimensions of the collaborative features.
        user_dim: usize = 64, int(2, 4096);
        /// Collaborative features: implicit ALS or a truncated SVD of the user-item matrix.
        user_method: UserMethod = UserMethod::Als, ANY;
        /// How much more an interaction counts than its absence in ALS: c = 1 + alpha r, r at most 1.
        als_alpha: f64 = 20.0, num(1e-6, 1e6);
        /// Regularisation of ALS.
        als_lambda: f64 = 5.0, num(1e-6, 1e6);
        /// Rounds of ALS.
        als_iterations: usize = 10, int(1, 1000);
        /// Seed of the random projections.
        seed: u64 = 0, ANY;
    }
    /// Selection (paper §3.2, §4.5, §4.6).
    select: SelectConfig {
        /// The strategy.
        strategy: Strategy = Strategy::Fisher, ANY;
        /// Seeds to select.
        budget: usize = 1000, int(1, MAX);
        /// K, clusters of the JS strategies (§3.2.1).
        clusters: usize = 32, int(1, 1 << 20);
        /// lambda, weight of the divergence from the picks so far (§3.2.1).
        lambda: f64 = 1.0, num(0.0, INF);
        /// T, temperature of the soft assignment (§3.2.1). The paper gives none. On 89,442 real reviews T = 1 makes every p_i flat
        /// (H within 0.1 % of ln K); 0.05 spreads H over most of its range. The report shows the spread.
        temperature: f64 = 0.05, num(1e-6, INF);
        /// w, weight of the feature block in the aware strategies: z = [sqrt(1-w) x ; sqrt(w) f].
        weight: f64 = 0.5, num(0.0, 1.0);
        /// Rounds of K-means at most; it ends earlier once a round gains less than 0.01 %.
        kmeans_iterations: usize = 50, int(1, 100_000);
        /// K-means: rows that a round looks at, drawn anew for each round (mini-batches); 0: all rows.
        kmeans_batch: usize = 0, ANY;
        /// Centres of the clusters in place of K-means, for the JS strategies: a safetensors file [clusters, dim], as `causerie
        /// select --fit-centers` writes it. Machines that share a selection need not fit the clusters again; empty: K-means.
        centers: String = String::new(), ANY;
        /// Working memory beside the rows, at most; a selection that needs more is refused before it begins. 0: no bound.
        max_memory_bytes: u64 = 0, ANY;
        /// Seconds between two checkpoints of a selection that was given a file for them; also written at Ctrl-C.
        checkpoint_s: u64 = 30, int(0, MAX);
        /// Rows that are picked first, in this order, within the budget; a number each, or `@FILE` with one row a line.
        force: Vec<String> = Vec::new(), ANY;
        /// Rows that are never picked, written like `select.force`.
        exclude: Vec<String> = Vec::new(), ANY;
        /// At most this many seeds of one item; 0: no cap.
        max_per_item: usize = 0, ANY;
        /// At most this many seeds of one user; 0: no cap.
        max_per_user: usize = 0, ANY;
        /// A selection finished from parts is made once more from all rows, to tell what the parts lost: where rows x values x
        /// budget are at most 10^10 (a second or two), always, or never.
        compare_whole: CompareWhole = CompareWhole::Auto, ANY;
        /// Seed of K-means and of the random strategy.
        seed: u64 = 0, ANY;
    }
    /// Synthesis (paper §3.3, Algorithm 2).
    synthesize: SynthesizeConfig {
        /// The teacher: an OpenAI-compatible endpoint, a GGUF through llama.cpp, or the built-in one.
        teacher: TeacherKind = TeacherKind::Offline, ANY;
        /// Prompt set: a built-in domain, one of the folders of prompts/ in the sources.
        domain: Domain = Domain::Movies, ANY;
        /// Folder with your own prompt files in place of the built-in ones; empty: built-in.
        prompts: String = String::new(), ANY;
        /// K, queries (dialogues) per seed.
        queries: usize = 2, int(1, 100);
        /// Turns of a dialogue: what the user says and is answered. 1: a query and its list (the paper). More: the dialogue is
        /// planned from what the review's author liked and did not like, then put into words.
        turns: usize = 1, int(1, 20);
        /// Style queries shown to the teacher per seed.
        style_queries: usize = 5, int(1, 100);
        /// Reviews of the seed's item shown to the teacher.
        reviews: usize = 3, int(1, 100);
        /// Characters of one review shown to the teacher; longer ones are cut.
        review_chars: usize = 1500, int(40, 1 << 20);
        /// Whether e-mail addresses, links, @names, and telephone, card and account numbers in reviews are masked before the
        /// teacher sees them: `auto` for `http` and teachers of your own, `on`, `off`.
        mask: Masking = Masking::Auto, ANY;
        /// Recommendations per query.
        items: usize = 20, int(1, 1000);
        /// Where the lists come from: the teacher's memory (`open`, the paper), its choice among retrieved items of the
        /// catalogue (`candidates`), or the retrieval alone (`collaborative`: the teacher writes the queries only). `auto`:
        /// `candidates` for `http` and `local`, `collaborative` for `offline`, `open` for a teacher of the caller's own.
        lists: Lists = Lists::Auto, ANY;
        /// `candidates`: items that are retrieved for a query and shown to the teacher; never fewer than `items`.
        candidates: usize = 60, int(1, 1000);
        /// How the teacher is held to the form of an answer. `http`: `auto` goes from `json_schema` over `json_object` and
        /// `grammar` to plain text as the endpoint refuses them; whatever comes back is read. `local`: by its own means,
        /// unless `off`.
        structured: Structured = Structured::Auto, ANY;
        /// Ask the teacher without seeds (the paper's baseline of plainly generated pairs).
        naive: bool = false, ANY;
        /// Sampling temperature of the teacher.
        temperature: f64 = 0.8, num(0.0, 10.0);
        /// Base URL of `http`: `http://10.0.0.5:8000/v1`.
        base_url: String = String::new(), ANY;
        /// Model name for `http`, GGUF path for `local`.
        model: String = String::new(), ANY;
        /// Name of the environment variable that holds the key; empty: no key is sent.
        api_key_env: String = String::new(), ANY;
        /// PEM file with the certificates to trust; empty: the well-known ones.
        ca_file: String = String::new(), ANY;
        /// Proxy URL; empty: HTTPS_PROXY and its sisters.
        proxy: String = String::new(), ANY;
        /// Time for one request.
        timeout_ms: u64 = 120_000, int(1, MAX);
        /// Tries after the first for 429, 5xx, time-outs and broken connections.
        retries: usize = 6, int(0, 100);
        /// Pause before the first retry where the teacher names none; doubled each time, a minute at most.
        backoff_ms: u64 = 500, int(1, 600_000);
        /// Requests in flight at once; a 429 lowers it for a while.
        in_flight: usize = 8, int(1, 1024);
        /// Tokens of prompt and answer that `local` has room for.
        context_tokens: usize = 4096, int(64, 1 << 20);
        /// Tokens of one answer at most.
        answer_tokens: usize = 600, int(1, 1 << 20);
        /// Hard cap on requests, over all runs on this journal; 0: none.
        max_requests: u64 = 0, ANY;
        /// Hard cap on tokens (prompts and answers), over all runs on this journal; 0: none.
        max_tokens: u64 = 0, ANY;
        /// Price of a million prompt tokens, for the shown cost.
        price_in: f64 = 0.0, num(0.0, INF);
        /// Price of a million answer tokens, for the shown cost.
        price_out: f64 = 0.0, num(0.0, INF);
        /// `open`: share of listed titles that must be in the catalogue, or the answer is dropped.
        min_grounded: f64 = 0.25, num(0.0, 1.0);
        /// Tokens of a query at most, by estimate (three characters of English a token, one of Chinese); a longer one ends with an
        /// earlier sentence or is left out. Half of `tune.max_tokens` leaves room for the answer; 0: any length.
        query_tokens: usize = 256, int(0, MAX);
        /// A dialogue is dropped whose user says nearly what an earlier one's says: the Jaccard similarity of their runs of five
        /// words is this or more. 0 or 1: none is.
        near_duplicates: f64 = 0.8, num(0.0, 1.0);
        /// A dialogue is dropped whose user says more words in a row than this that stand in a review which the teacher saw.
        /// The built-in teacher quotes a sentence on purpose and is not held to it. 0: any number.
        copied_words: usize = 12, int(0, 1000);
        /// The language that users are to speak, as an ISO 639 code (`en`, `deu`): a dialogue that is surely in another one is
        /// dropped. Empty: any.
        language: String = String::new(), ANY;
        /// Tokens of a whole dialogue at most, by the same estimate as `query_tokens`: a longer one is dropped. 0: any length;
        /// the report says how many lose their end to `tune.max_tokens` where a language model is tuned.
        dialogue_tokens: usize = 0, int(0, MAX);
        /// Whether each dialogue is judged once it is made: is it grounded in the reviews, is it natural, does its list fit, 1 to 5
        /// each? By the teacher that made it, or by an endpoint of its own, with the sampling, caps and prices of the teacher.
        judge: Judge = Judge::Off, ANY;
        /// `judge = endpoint`: its base URL.
        judge_base_url: String = String::new(), ANY;
        /// `judge = endpoint`: the model's name.
        judge_model: String = String::new(), ANY;
        /// `judge = endpoint`: name of the environment variable that holds its key; empty: no key is sent.
        judge_api_key_env: String = String::new(), ANY;
        /// A judged dialogue is dropped when its lowest score is below this; 0: none is.
        min_judged: usize = 3, int(0, 5);
        /// Recorded conversations (JSON lines) whose users' turns stand beside the synthetic ones in the report; empty: none.
        compare_with: String = String::new(), ANY;
        /// `http`: the field that limits an answer's tokens; `auto` sends `max_tokens` until a server refuses it.
        token_field: TokenField = TokenField::Auto, ANY;
        /// `http`: fields that are left out for servers that do not take them; what a server refuses by name is left out anyway.
        omit: Vec<OptionalField> = Vec::new(), ANY;
        /// Seed of the templates' and reviews' draws.
        seed: u64 = 0, ANY;
    }
    /// Tuning (paper §3.4).
    tune: TuneConfig {
        /// What is tuned: the ranking head, a LoRA adapter, or all weights of a language model.
        method: TuneMethod = TuneMethod::Head, ANY;
        /// Passes over the dialogues.
        epochs: usize = 3, int(1, 10_000);
        /// The language model that is tuned, a GGUF; empty: `causerie run` makes one of the reviews.
        model: String = String::new(), ANY;
        /// The model that is made: about so many parameters.
        new_parameters: u64 = 5_000_000, int(400_000, 200_000_000);
        /// The model that is made: passes over the reviews before it sees a dialogue.
        pretrain_epochs: usize = 1, int(1, 10_000);
        /// The model that is made: so many reviews at most, spread evenly over all of them; 0: every review. Its vocabulary
        /// is made of all.
        pretrain_reviews: usize = 0, ANY;
        /// The model that is made: learning rate at its highest on the reviews.
        pretrain_learning_rate: f64 = 0.002, num(1e-9, 10.0);
        /// The model that is made: a review is cut to this many tokens.
        pretrain_max_tokens: usize = 256, int(16, 1 << 20);
        /// Language model: learning rate at its highest; 0: 0.0002 for LoRA, 0.00001 (the paper's) for all weights.
        learning_rate: f64 = 0.0, num(0.0, 10.0);
        /// Language model: dialogues per optimiser step (over all its forward passes, token-weighted).
        batch: usize = 32, int(1, 1 << 20);
        /// Language model: tokens of one forward pass; more of them go faster and take more memory.
        micro_batch_tokens: usize = 1024, int(16, 1 << 20);
        /// Language model: a dialogue is cut at its end to this many tokens.
        max_tokens: usize = 512, int(16, 1 << 20);
        /// Language model: which tokens are trained.
        loss_on: LossOn = LossOn::Answer, ANY;
        /// Language model: what it learns: the answer's text, to rank the catalogue off the prompt's last state by a head
        /// trained along, or both. `items` and `both` need the catalogue and write head.safetensors.
        objective: Objective = Objective::Text, ANY;
        /// Language model: what a nat of the ranking head's loss counts beside one of the text's, with objective `both`.
        items_weight: f64 = 1.0, num(0.0, INF);
        /// Language model: learning rate at its highest of the ranking head trained along.
        items_learning_rate: f64 = 0.001, num(0.0, 10.0);
        /// Language model: an instruction that all dialogues of a forward pass begin with is computed once; exact.
        share_prefix: bool = true, ANY;
        /// Language model: share of the steps in which the learning rate grows.
        warmup: f64 = 0.05, num(0.0, 1.0);
        /// Language model: the learning rate's course after the warm-up.
        schedule: Schedule = Schedule::Linear, ANY;
        /// Language model: gradients longer than this are shortened to it; 0: never. With `fused`, each tensor's own.
        clip: f64 = 1.0, num(0.0, INF);
        /// LoRA: rank.
        rank: usize = 16, int(1, 4096);
        /// LoRA: the adapter's scale is alpha / rank.
        alpha: f64 = 32.0, num(0.0, INF);
        /// LoRA: share of an adapter's inputs set to zero in training.
        dropout: f64 = 0.0, num(0.0, 0.99);
        /// LoRA: the projections that get adapters.
        targets: Vec<LoraTarget> = LoraTarget::ALL.to_vec(), ANY;
        /// LoRA: only the last so many layers get adapters; 0: all.
        lora_layers: usize = 0, int(0, 1 << 20);
        /// All weights: how they are held in training; bf16 (rounded stochastically) halves their memory.
        weights: WeightType = WeightType::F32, ANY;
        /// Language model: in which numbers products with weights multiply; sums, attention, gradients and updates are f32 in
        /// either. bf16 is about twice as fast on a processor that multiplies bf16 itself (AVX512_BF16: AMD Zen 4, Intel
        /// Cooper Lake and later), slower on others, with the same bytes.
        arithmetic: Arithmetic = Arithmetic::F32, ANY;
        /// AdamW's moments: 8 bytes a weight, or 2.
        moments: Moments = Moments::F32, ANY;
        /// Each layer is updated within the backward pass, so that only its own gradients exist. Clipping is then per
        /// tensor, and a step must fit one forward pass.
        fused: bool = false, ANY;
        /// Layers are computed again in the backward pass: a third more time, far less memory.
        checkpointing: bool = false, ANY;
        /// Language model: steps between looks at the held-out dialogues, their loss and Recall; 0: after each epoch.
        eval_every: u64 = 0, ANY;
        /// Language model: looks without a better held-out loss (or Recall) before training stops; 0: never.
        patience: u64 = 0, ANY;
        /// Language model: what the best weights are chosen by, and what stops early.
        stop_on: StopOn = StopOn::Loss, ANY;
        /// Language model: k of the held-out Recall@k.
        recall_k: usize = 20, int(1, 1 << 20);
        /// Language model without a ranking head: held-out Recall@k of each dialogue's best listed item among so many others
        /// drawn by popularity, every title scored by the model; 0: not measured. A look costs a forward pass over the
        /// held-out prompts and so many titles for each.
        recall_candidates: usize = 0, int(0, 1 << 20);
        /// Language model: steps between checkpoints; 0: after each epoch. A cancelled training saves one too.
        save_every: u64 = 0, ANY;
        /// A fine-tuning that would take more is refused before it starts; 0: what the machine has available.
        max_memory_bytes: u64 = 0, ANY;
        /// All weights: the file's precision.
        export: Quantisation = Quantisation::F16, ANY;
        /// Weight decay (AdamW).
        weight_decay: f64 = 0.01, num(0.0, 10.0);
        /// Share of the dialogues held out to stop early and to choose settings.
        holdout: f64 = 0.1, num(0.0, 0.9);
        /// Ranking head: passes over the dialogues at most; the best one is kept.
        head_epochs: usize = 20, int(1, 10_000);
        /// Ranking head: learning rate at its highest.
        head_learning_rate: f64 = 0.0005, num(0.0, 10.0);
        /// Ranking head: epochs without a lower held-out loss before training stops.
        head_patience: usize = 3, int(1, 10_000);
        /// Ranking head: share of the dialogues, drawn anew each epoch, whose user is taken to have named some listed items.
        mention_rate: f64 = 0.5, num(0.0, 1.0);
        /// Ranking head: weight of an item's reviews in its vector; the rest is the item's own text.
        review_weight: f64 = 0.5, num(0.0, 1.0);
        /// Ranking head: length of the collaborative factors beside an item's text vector (of length 1); 0: text alone.
        user_weight: f64 = 0.5, num(0.0, 100.0);
        /// Seed of the order and of the initial weights.
        seed: u64 = 0, ANY;
    }
    /// Recommending.
    recommend: RecommendConfig {
        /// Who ranks: the ranking head, NBCRS over the dialogues, both fused, popularity, or the tuned language model.
        system: RankingSystem = RankingSystem::Head, ANY;
        /// Items in an answer.
        top_k: usize = 20, int(1, 100_000);
        /// The C API: reviews that an answer gives as reasons for each item; 0: their rows are not kept.
        explain: usize = 0, int(0, 100);
        /// Neighbours of NBCRS; 0 chooses on held-out posts by Recall@20.
        neighbours: usize = 0, int(0, 1 << 20);
        /// Whose turns make the query: the user's, or all.
        context: Speakers = Speakers::User, ANY;
        /// The latest so many turns make the query; 0: all.
        context_turns: usize = 0, int(0, MAX);
        /// The latest so many characters make the query; 0: all.
        context_chars: usize = 1000, int(0, MAX);
        /// Ranking head: items that the conversation names count beside its words.
        mentions: bool = true, ANY;
        /// Language model: the GGUF that recommends; empty: none.
        model: String = String::new(), ANY;
        /// Language model: a LoRA adapter (GGUF) beside it; empty: none.
        adapter: String = String::new(), ANY;
        /// Language model: how much the adapter counts; 1: as it was trained.
        adapter_scale: f64 = 1.0, num(-100.0, 100.0);
        /// Language model: beam search over the catalogue's titles, a list as text that is then looked up, or the ranking
        /// head on its last hidden state.
        mode: Mode = Mode::Constrained, ANY;
        /// Constrained: trie nodes kept per round; 0: a quarter more than items are wanted.
        beam: usize = 0, int(0, 127);
        /// Constrained: of at most so many allowed titles every one is scored.
        exact_items: usize = 64, int(0, MAX);
        /// Constrained: a title is ranked by the probability of its first tokens that tell it from every other title of the
        /// catalogue (what follows is forced, and not computed: several times faster), or of the whole title's.
        ranked_by: RankedBy = RankedBy::Telling, ANY;
        /// Constrained: items are ranked by log-probability / tokens^power; 0: by their probability.
        length_power: f64 = 0.0, num(0.0, 2.0);
        /// Language model: what stands before the first title in the answers it was trained on.
        answer_start: String = "1.".into(), ANY;
        /// Language model: tokens of a prompt at most; a longer conversation loses its oldest turns.
        context_tokens: usize = 1024, int(64, 1 << 20);
        /// Language model: requests computed at the same time, each in a context of its own. With `batching` alone each has
        /// its share of the threads, whoever else asks or does not.
        contexts: usize = 1, int(1, 64);
        /// Language model: such requests are computed alone, so that an answer does not depend on the others by a single
        /// bit, or share forward passes, which gives more answers a second.
        batching: Batching = Batching::Alone, ANY;
        /// Language model: bytes of computed prompts kept for the next turn; 0: none.
        cache_bytes: u64 = 256 << 20, ANY;
        /// Language model: an answer holds what was found by then; 0: no limit.
        timeout_ms: u64 = 0, ANY;
        /// Language model: keys and values in f32: slower, exact to six digits in place of three.
        exact_kv: bool = false, ANY;
    }
    /// Evaluation (paper §4.2.1).
    evaluate: EvaluateConfig {
        /// In-domain conversations, or posts with the titles they mention, for the NBCRS of RQ5 (JSON lines); empty: none.
        posts: Vec<String> = Vec::new(), ANY;
        /// Conversations file (JSON lines).
        conversations: Vec<String> = Vec::new(), ANY;
        /// Ways in which a tuned language model is judged (as `recommend.mode`), side by side; `constrained` and `generate`
        /// need one that learned titles, `head` one that learned to rank the catalogue (`tune.objective`).
        modes: Vec<Mode> = vec![Mode::Constrained, Mode::Head], ANY;
        /// Resamples of the paired bootstrap.
        bootstrap: usize = 2000, int(100, 1_000_000);
        /// Conversations shown side by side in the report.
        examples: usize = 6, int(0, 1000);
        /// Seed of the bootstrap.
        seed: u64 = 0, ANY;
    }
    /// The rounds (paper §3.1, Algorithm 1).
    pipeline: PipelineConfig {
        /// What the report calls the data; empty: the folder of the reviews file.
        title: String = String::new(), ANY;
        /// Strategies compared in one run.
        strategies: Vec<Strategy> = vec![Strategy::Fisher], ANY;
        /// Rounds.
        rounds: usize = 1, int(1, 1000);
        /// Seeds per round.
        budget: usize = 500, int(1, MAX);
        /// Also make and evaluate as many plainly generated pairs (the paper's "naive" baseline).
        naive: bool = false, ANY;
        /// Strategies whose dialogues tune the language model, where `tune.method` asks for one; empty: all. Without
        /// `pipeline.reembed` it is tuned once, on the dialogues of all rounds.
        students: Vec<Strategy> = Vec::new(), ANY;
        /// Rounds after the first select on the reviews as the language model tuned in the round before sees them (§3.2);
        /// strategies outside `pipeline.students` go on with the rows that they have.
        reembed: bool = false, ANY;
    }
    /// Serving over HTTP.
    serve: ServeConfig {
        /// Where it listens: an address or a host name of this machine.
        address: String = "127.0.0.1".into(), ANY;
        /// The port; 0: a free one.
        port: usize = 8080, int(0, 65_535);
        /// Environment variable that holds the bearer token; where it is not set (and this is the default), none is asked for.
        token_env: String = "CAUSERIE_TOKEN".into(), ANY;
        /// File that holds the bearer token, in place of the environment variable.
        token_file: String = String::new(), ANY;
        /// Listen without a token on an address that other machines can reach.
        allow_no_token: bool = false, ANY;
        /// Bytes in the body of a request.
        body_bytes: usize = 1 << 20, int(1024, 1 << 30);
        /// Open connections; above it, the one that has been idle longest, a second at least, makes room.
        max_connections: usize = 256, int(1, 1 << 16);
        /// Requests computed at once; 0: one per thread.
        max_concurrent: usize = 0, int(0, 4096);
        /// Requests that wait for their turn before more are refused (429).
        max_waiting: usize = 64, int(0, 1 << 20);
        /// Conversations in one batch.
        max_batch: usize = 64, int(1, 65_536);
        /// The greatest `top_k` of a request.
        max_top_k: usize = 1000, int(1, 100_000);
        /// Who says the reply of `POST /v1/chat/completions`: a fixed sentence with the list, or the language model in a
        /// sentence of its own that names returned items alone, then the list.
        voice: ReplyVoice = ReplyVoice::List, ANY;
        /// Items, and reviews behind them, in one answer: the sum over a batch of `top_k` times (1 + `explain`).
        max_answer: usize = 100_000, int(1, MAX);
        /// A request is answered within this time, waiting included, or refused (503).
        timeout_ms: u64 = 30_000, int(1, 86_400_000);
        /// A request's head, and then its body, arrives within this time each; an idle connection is closed after it.
        read_timeout_ms: u64 = 10_000, int(10, 3_600_000);
        /// A client that takes no byte of its answer for so long is dropped.
        write_timeout_ms: u64 = 10_000, int(10, 3_600_000);
        /// After SIGTERM, `/health/ready` says 503 for so long while new connections are still taken and answered, until
        /// whoever sends requests here has heard of it; 0: none are taken from the signal on.
        drain_ms: u64 = 2_000, int(0, 3_600_000);
        /// After that, requests under way have this long to finish.
        shutdown_ms: u64 = 10_000, int(0, 3_600_000);
        /// Write what users say into the log.
        log_text: bool = false, ANY;
    }
}

/// `unknown setting select.bugdet; the nearest known one is select.budget`.
fn unknown_key(key: &str) -> Error {
    let table = table();
    // The distance costs as much as the name is long.
    let key: &str = &value::quoted(key);
    let nearest = table.iter().min_by_key(|s| (strsim::damerau_levenshtein(key, s.key), s.key)).map_or("", |s| s.key);
    Error::invalid(format!(
        "unknown setting {key}; the nearest known one is {nearest} (`causerie config` prints them all)"
    ))
}

/// Where and why a text is no TOML: line, column, cause, and the line from there on as far as an error quotes.
fn no_toml(text: &str, e: &toml::de::Error) -> Error {
    let at = e.span().map_or(0, |span| span.start.min(text.len()));
    let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let (line, start) = text[..at].match_indices('\n').fold((1, 0), |(line, _), (at, _)| (line + 1, at + 1));
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    // The whole line where it is short, else what stands from the fault on.
    let shown = if text[start..end].chars().count() <= 80 { &text[start..end] } else { &text[at..end] };
    let column = text[start..at].chars().count() + 1;
    Error::invalid(format!(
        "settings: line {line}, column {column}: {}: {}",
        value::quoted(e.message()),
        value::quoted(shown.trim_end())
    ))
}

impl Config {
    /// Reads TOML over the current values: `[select]` then `budget = 500`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for what is not TOML, unknown keys and values out of bounds; nothing is changed then.
    pub fn read_toml(&mut self, text: &str) -> Result<()> {
        let parsed: toml::Table = text.parse().map_err(|e| no_toml(text, &e))?;
        let mut next = self.clone();
        for (section, values) in &parsed {
            let toml::Value::Table(values) = values else {
                return Err(unknown_key(section));
            };
            for (key, value) in values {
                next.set_toml(&format!("{section}.{key}"), value)?;
            }
        }
        *self = next;
        Ok(())
    }

    /// Every setting with its value as TOML; reads back to the same [`Config`].
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for setting in table() {
            let Some((this, key)) = setting.key.split_once('.') else { continue };
            if this != section {
                let _ = writeln!(out, "{}[{this}]", if out.is_empty() { "" } else { "\n" });
                section = this;
            }
            let _ = writeln!(out, "{key} = {}", self.get(setting.key).unwrap_or_default());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole of a line was quoted, however long it was: a megabyte of it in a log, or a key that stood in it.
    #[test]
    fn an_error_quoted_a_line_of_any_length() {
        let mut config = Config::default();
        let long = "x".repeat(1_000_000);
        for text in [
            format!("[select]\nbudget = \"{long}"),
            format!("[select]\nbudget = {long}"),
            format!("[select]\nbudget = \"{long}\""),
            format!("[select]\n{long} = 1"),
            format!("[{long}]\na = 1"),
            format!("{long} = 1"),
            format!("[select]\n\"ä\nbudget = {long}"),
        ] {
            let e = config.read_toml(&text).unwrap_err();
            assert!(e.message().chars().count() < 400, "{} characters", e.message().chars().count());
        }
        assert!(config.set(&long, "1").unwrap_err().message().len() < 400);
        assert!(config.set("select.budget", &long).unwrap_err().message().len() < 400);
        let e = config.read_toml("[select]\nbudget = = 3\n").unwrap_err();
        assert!(e.message().contains("line 2, column 10") && e.message().ends_with("budget = = 3"), "{e}");
    }

    /// Settings files that write one value as a list were refused once lists had types.
    #[test]
    fn a_list_of_one_is_that_one_where_a_single_value_is_meant() {
        let mut config = Config::default();
        config.read_toml("[dataset]\nitems = [\"a,b.jsonl\"]\n[select]\nbudget = [7]").unwrap();
        assert_eq!((config.dataset.items.as_str(), config.select.budget), ("a,b.jsonl", 7));
        assert!(config.read_toml("dataset.items = [\"a\", \"b\"]").is_err());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let e = Config::default().set("select.bugdet", "5").unwrap_err();
        assert!(e.message().contains("nearest known one is select.budget"), "{e}");
        let e = Config::default().read_toml("[tune]\nepoch = 5").unwrap_err();
        assert!(e.message().contains("tune.epochs"), "{e}");
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_and_changes_nothing() {
        let mut config = Config::default();
        for (key, value) in [
            ("select.weight", "1.5"),
            ("select.clusters", "0"),
            ("select.strategy", "best"),
            ("select.lambda", "NaN"),
            ("select.budget", "-1"),
            ("synthesize.naive", "maybe"),
        ] {
            assert!(config.set(key, value).is_err(), "{key} = {value}");
        }
        assert!(config.read_toml("[select]\nbudget = 7\nclusters = 0").is_err());
        assert_eq!(config, Config::default());
    }

    #[test]
    fn toml_round_trips() {
        let mut config = Config::default();
        config.set("select.budget", "77").unwrap();
        config.set("dataset.items", "a \"b\"\\c\n.jsonl").unwrap();
        config.set("pipeline.strategies", "js, user_fisher").unwrap();
        let mut back = Config::default();
        back.read_toml(&config.to_toml()).unwrap();
        assert_eq!(back, config);
    }

    #[test]
    fn a_toml_list_after_set_was_taken_as_one_name() {
        let mut config = Config::default();
        for (text, wanted) in [
            (r#"["a.jsonl","b, c.jsonl"]"#, &["a.jsonl", "b, c.jsonl"][..]),
            (r#" [ 'a.jsonl' , "b.jsonl", ] "#, &["a.jsonl", "b.jsonl"]),
            (r#""a,1.jsonl","b.jsonl""#, &["a,1.jsonl", "b.jsonl"]),
            ("a.jsonl, b.jsonl", &["a.jsonl", "b.jsonl"]),
            ("[a].jsonl", &["[a].jsonl"]),
            ("[]", &[]),
            ("", &[]),
        ] {
            config.set("evaluate.conversations", text).unwrap();
            assert_eq!(config.evaluate.conversations, wanted, "{text}");
        }
        config.set("pipeline.strategies", r#"["js", "user_fisher"]"#).unwrap();
        assert_eq!(config.pipeline.strategies, [Strategy::Js, Strategy::UserFisher]);
        // A shell took the quotes away.
        let e = config.set("evaluate.conversations", "[a.jsonl,b.jsonl]").unwrap_err();
        assert!(e.message().contains("each text in quotes"), "{e}");
        let e = config.set("pipeline.strategies", r#"["js", "best"]"#).unwrap_err();
        assert!(e.message().contains("must be one of random | js | fisher"), "{e}");
    }

    #[test]
    fn a_quoted_scalar_kept_its_quotes() {
        let mut config = Config::default();
        for (text, wanted) in [
            (r#""a b""#, "a b"),
            ("'1.'", "1."),
            (r#""\u00e9""#, "é"),
            (r#""half"#, r#""half"#),
            (r#""a" and "b""#, r#""a" and "b""#),
        ] {
            config.set("recommend.answer_start", text).unwrap();
            assert_eq!(config.recommend.answer_start, wanted, "{text}");
        }
        config.set("tune.rank", "\"8\"").unwrap();
        config.set("select.strategy", "'js'").unwrap();
        assert_eq!((config.tune.rank, config.select.strategy), (8, Strategy::Js));
        // What is printed is read back, and a settings file's text is taken as it is.
        config.read_toml("[recommend]\nanswer_start = '\"a\"'").unwrap();
        assert_eq!(config.recommend.answer_start, "\"a\"");
        let mut back = Config::default();
        back.set("recommend.answer_start", &config.get("recommend.answer_start").unwrap()).unwrap();
        assert_eq!(back.recommend.answer_start, "\"a\"");
    }

    #[test]
    fn every_setting_has_a_doc_and_a_default_within_its_bounds() {
        for setting in table() {
            assert!(setting.doc.len() > 5, "{}", setting.key);
            let mut config = Config::default();
            config.set(setting.key, &setting.initial).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(config, Config::default(), "{}", setting.key);
        }
    }
}
