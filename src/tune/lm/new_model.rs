//! A model from nothing: a vocabulary learned from texts, random Llama weights, a chat template, one GGUF. It is then
//! trained on the texts, and tuned on dialogues, with the loop of `train`.

use super::bpe::{Bpe, printable};
use super::chat::Example;
use super::report::LmReport;
use super::train::tune_examples;
use crate::config::{LossOn, Objective, StopOn, TuneConfig, TuneMethod};
use crate::error::{Error, Result};
use crate::llama;
use crate::run::Run;
use crate::transformer::{Family, Metadata, Model, ModelConfig, Precision, RopeLayout};
use std::path::Path;

/// The special tokens of Llama 3's chat format, which llama.cpp knows by the template below.
const SPECIAL: [&str; 6] =
    ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>"];
const TEMPLATE: &str = "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + \
                        message['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}\
                        {{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
/// Longest sequence of a new model.
const CONTEXT: usize = 1024;
/// Bytes of text that the vocabulary is learned from, at most.
const VOCABULARY_BYTES: usize = 16 << 20;

/// The shape of a Llama of about `params` numbers, with the tokens its vocabulary should have.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] below 400 thousand or above 200 million: such a model is not made on a desk.
pub fn shape_of(params: u64) -> Result<ModelConfig> {
    if !(400_000..=200_000_000).contains(&params) {
        return Err(Error::invalid(format!("a new model of {params} parameters; 400k to 200M make sense on a CPU")));
    }
    let (dim, vocabulary) = match params {
        0..1_500_000 => (128, 1024),
        1_500_000..4_000_000 => (192, 2048),
        4_000_000..16_000_000 => (256, 4096),
        16_000_000..40_000_000 => (512, 8192),
        _ => (768, 16384),
    };
    let heads = dim / 64;
    let mut config = ModelConfig {
        family: Family::Llama,
        vocabulary,
        dim,
        layers: 1,
        heads,
        kv_heads: if heads % 2 == 0 { heads / 2 } else { heads },
        head_dim: 64,
        ffn: 3 * dim,
        context: CONTEXT,
        norm_eps: 1e-5,
        norm_offset: 0.0,
        rope_theta: 10_000.0,
        rope_factors: None,
        rope_layout: RopeLayout::Pairs,
        tied: true,
        embedding_scale: 1.0,
        attention_scale: 0.125,
        attention_cap: None,
        logit_cap: None,
        window: None,
    };
    let one = config.parameters();
    config.layers = 2;
    let layer = config.parameters() - one;
    let rest = (params as usize).saturating_sub(one - layer);
    config.layers = ((rest + layer / 2) / layer).max(2);
    Ok(config)
}

/// Writes a new model of about `params` numbers to `path` (f32), its vocabulary learned from `texts`.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for sizes that make no sense or texts too short for a vocabulary;
/// [`crate::ErrorKind::Bug`] when llama.cpp reads the file otherwise than it was meant; [`crate::ErrorKind::Io`].
pub fn new_model(params: u64, texts: &[&str], seed: u64, path: &Path, run: &Run) -> Result<ModelConfig> {
    let mut config = shape_of(params)?;
    let mut left = VOCABULARY_BYTES;
    let some = texts.iter().take_while(|t| {
        let goes_on = left > 0;
        left = left.saturating_sub(t.len());
        goes_on
    });
    run.check()?;
    let bpe = Bpe::train(some.copied(), config.vocabulary - SPECIAL.len());
    run.check()?;
    if bpe.merges.is_empty() {
        return Err(Error::invalid("the texts are too few or too short to learn a vocabulary from"));
    }
    config.vocabulary = bpe.tokens.len() + SPECIAL.len();
    let metadata = metadata(&config, &bpe);
    let model = run.install(|| Model::random(config.clone(), seed))?;
    run.install(|| model.write_gguf(path, &metadata, Precision::F32))?;
    // The file must read as it was meant: the same words in the same tokens.
    let read = llama::Model::load(path)?;
    for text in texts.iter().filter(|t| t.len() < 10_000).take(50) {
        let ours = bpe.encode(text);
        let theirs = read.tokenise(text, false, false)?;
        if !ours.iter().map(|t| *t as llama::Token).eq(theirs.iter().copied()) {
            return Err(Error::bug(format!(
                "llama.cpp reads {text:?} in other tokens than the vocabulary was made for"
            )));
        }
    }
    Ok(config)
}

fn metadata(config: &ModelConfig, bpe: &Bpe) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.llama(config);
    metadata.text("general.name", "causerie new-model");
    metadata.text("tokenizer.ggml.model", "gpt2");
    metadata.text("tokenizer.ggml.pre", "llama-bpe");
    let plain: Vec<String> = bpe.tokens.iter().map(|t| printable(t)).collect();
    let names: Vec<&str> = plain.iter().map(String::as_str).chain(SPECIAL).collect();
    metadata.texts("tokenizer.ggml.tokens", names.iter().copied());
    // llama.cpp's kinds of token: 1 normal, 3 control.
    let kinds: Vec<i32> = std::iter::repeat_n(1, plain.len()).chain(SPECIAL.map(|_| 3)).collect();
    metadata.integers("tokenizer.ggml.token_type", &kinds);
    let merges: Vec<String> =
        bpe.merges.iter().map(|(a, b)| format!("{} {}", plain[*a as usize], plain[*b as usize])).collect();
    metadata.texts("tokenizer.ggml.merges", merges.iter().map(String::as_str));
    let id = |i: usize| (plain.len() + i) as u32;
    metadata.integer("tokenizer.ggml.bos_token_id", id(0));
    metadata.integer("tokenizer.ggml.eos_token_id", id(4));
    metadata.integer("tokenizer.ggml.padding_token_id", id(5));
    metadata.bool("tokenizer.ggml.add_bos_token", true);
    metadata.text("tokenizer.chat_template", TEMPLATE);
    metadata
}

/// Trains all weights of the model at `base` on plain texts (reviews), every token of them, into `folder/model.gguf`.
/// Texts are cut to `config.max_tokens`; those of fewer than two tokens are left out.
///
/// # Errors
/// Those of [`super::tune_lm`].
pub fn pretrain(base: &Path, texts: &[&str], config: &TuneConfig, folder: &Path, run: &Run) -> Result<LmReport> {
    let (method, loss_on, objective) = (TuneMethod::Full, LossOn::All, Objective::Text);
    let config = TuneConfig { method, loss_on, objective, stop_on: StopOn::Loss, ..config.clone() };
    let model = llama::Model::load_vocabulary(base)?;
    let mut examples = Vec::new();
    for text in texts {
        let mut tokens: Vec<u32> =
            model.tokenise(text, true, false)?.into_iter().filter_map(|t| u32::try_from(t).ok()).collect();
        tokens.extend(model.end().and_then(|t| u32::try_from(t).ok()));
        tokens.truncate(config.max_tokens);
        if tokens.len() >= 2 {
            examples.push(Example { tokens, trained_from: 1 });
        }
    }
    tune_examples(base, &examples, &config, folder, run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;
    use crate::tune::lm::tests::{before, dialogue, loss};
    use crate::tune::lm::{Chat, tune_lm};

    fn texts() -> Vec<String> {
        let mut random = Random::new(8, b"texts");
        let words =
            ["slow", "funny", "tense", "warm", "film", "drama", "it's", "river,", "Moon!", "1984", "naïve", "the"];
        (0..400)
            .map(|_| (0..20).map(|_| words[random.below(words.len())]).collect::<Vec<_>>().join(" ") + ".\n\nEnd.")
            .collect()
    }

    #[test]
    fn shapes_come_near_the_number_asked_for() {
        for params in [600_000u64, 1_000_000, 5_000_000, 10_000_000, 30_000_000, 100_000_000] {
            let got = shape_of(params).unwrap().parameters() as f64 / params as f64;
            assert!((0.6..1.7).contains(&got), "{params}: {got}");
        }
        assert!(shape_of(1000).is_err());
    }

    /// From nothing: a vocabulary, a model that llama.cpp loads and tokenises identically, pre-training that lowers the
    /// loss far below a uniform guess, tuning on dialogues, a chat that knows where a turn ends.
    #[test]
    fn a_new_model_is_read_by_llama_cpp_and_learns() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.gguf");
        let run = Run::new(2).unwrap();
        let texts = texts();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let config = new_model(400_000, &texts, 0, &base, &run).unwrap();
        let tune = TuneConfig {
            epochs: 2,
            batch: 32,
            learning_rate: 0.003,
            max_tokens: 128,
            export: "f32".into(),
            ..TuneConfig::default()
        };
        let report = pretrain(&base, &texts, &tune, &folder.path().join("pre"), &run).unwrap();
        let uniform = (config.vocabulary as f64).ln();
        assert!((before(&report) - uniform).abs() < 0.5, "random weights guess: {}", before(&report));
        assert!(loss(&report) < 0.75 * uniform, "{} of {uniform}", loss(&report));
        let chat = Chat::open(&report.exported.file).unwrap();
        let vocabulary = llama::Model::load_vocabulary(&base).unwrap();
        assert_eq!(vocabulary.piece(chat.end() as llama::Token, true), b"<|eot_id|>");
        let dialogues = vec![dialogue("a film?", "River Moon", &[]); 64];
        let tune = TuneConfig { method: "full".into(), max_tokens: 256, epochs: 6, ..tune };
        let tuned = tune_lm(&report.exported.file, &dialogues, None, &tune, &folder.path().join("sft"), &run).unwrap();
        assert!(loss(&tuned) < before(&tuned) / 2.0, "{:?} from {}", loss(&tuned), before(&tuned));
    }
}
