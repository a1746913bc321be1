//! A model's answer held to the form of numbered lines: the numbers are given, the lines are the model's.
//!
//! A small model asked for two requests talks on, or gives none. Here it goes on from `1.` and the first words of a sample
//! request, may not end before it has said something of its own, and is stopped at the end of a line or, once it has said
//! enough, of a sentence.

use super::queries::{is_query, normal};
use crate::error::{Error, Result};
use crate::llama::{Batch, Context, Model, Token, sample};
use crate::math::Random;
use crate::run::Run;

/// Words, or characters of a script without spaces, that the model adds before a line may end.
const WORDS_LEAST: usize = 3;
const CHARS_LEAST: usize = 12;
/// Words of a sample request that a line begins with.
const OPENING: usize = 3;
/// Tokens of a line at most, and so many after which the end of a sentence ends it.
const TOKENS_MOST: usize = 96;
const TOKENS_ENOUGH: usize = 32;
/// Tries at a line that says something new.
const TRIES: usize = 4;

/// How requests begin: the first words of each of these that has more of them, on one line.
pub(super) fn openings(styles: &[String]) -> Vec<String> {
    let opening = |style: &String| {
        let words: Vec<&str> = style.split_whitespace().collect();
        let whole = style.contains('\n')
            || words.len() <= OPENING
            || words[..OPENING].iter().any(|w| w.ends_with(['.', '?', ':']));
        (!whole).then(|| words[..OPENING].join(" "))
    };
    styles.iter().filter_map(opening).collect()
}

/// How the lines of a draft begin: their first words.
pub(super) fn openings_of(draft: &[String]) -> Vec<String> {
    let opening = |line: &String| line.split_whitespace().take(OPENING - 1).collect::<Vec<_>>().join(" ");
    draft.iter().map(opening).collect()
}

/// The tokens that end a line: those with a line break, and the model's own end.
pub(super) fn enders(model: &Model) -> Vec<Token> {
    let ends = |token: &Token| model.is_end(*token) || model.piece(*token, true).contains(&b'\n');
    (0..Token::try_from(model.vocabulary()).unwrap_or(Token::MAX)).filter(ends).collect()
}

/// What was written.
pub(super) struct Lines {
    /// The numbered lines.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub tokens: usize,
}

/// How lines are written.
pub(super) struct Held<'a> {
    /// Of [`enders`].
    pub enders: &'a [Token],
    /// Of [`openings`]; may be empty.
    pub openings: &'a [String],
    /// The openings are one a line, in their order.
    pub in_order: bool,
    /// Lines wanted.
    pub count: usize,
    /// Sampling temperature, and the seed of its draws.
    pub temperature: f64,
    pub seed: u64,
}

impl Held<'_> {
    /// Writes behind `prompt`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a prompt that leaves no room; [`crate::ErrorKind::Cancelled`].
    pub(super) fn write(&self, context: &mut Context, prompt: &str, run: &Run) -> Result<Lines> {
        let model = context.model().clone();
        let trunk = model.tokenise(prompt, true, true)?;
        let needed = trunk.len() + self.count * (TOKENS_MOST + 8);
        if trunk.is_empty() || needed >= context.context_tokens() {
            return Err(Error::invalid(format!(
                "a prompt of {} tokens leaves no room for {} lines in a context of {}: raise synthesize.context_tokens, or \
                 lower synthesize.reviews or synthesize.review_chars",
                trunk.len(),
                self.count,
                context.context_tokens()
            )));
        }
        context.clear();
        let mut lines = Lines { text: String::new(), prompt_tokens: trunk.len(), tokens: 0 };
        let mut random = Random::new(self.seed, b"lines");
        let mut position = 0;
        let mut said: Vec<String> = Vec::new();
        let mut before = trunk;
        for number in 1..=self.count {
            let opening = match self.openings.len() {
                0 => "",
                _ if self.in_order => self.openings.get(number - 1).map_or("", String::as_str),
                count => self.openings[random.below(count)].as_str(),
            };
            let lead = format!("{}{number}. {opening}", if number == 1 { "" } else { "\n" });
            before.extend(model.tokenise(lead.trim_end(), false, false)?);
            let mut last = feed(context, &before, position, run)?;
            position += before.len();
            let mut line = Line::default();
            for attempt in 0..TRIES {
                if attempt > 0 {
                    // Back to the number.
                    context.forget_from(0, position - 1);
                    last = feed(context, &before[before.len() - 1..], position - 1, run)?;
                }
                line = self.line(context, last, position, opening, &mut random, run)?;
                lines.tokens += line.tokens.len();
                if is_query(&line.text) && !said.contains(&normal(&line.text)) {
                    break;
                }
            }
            position += line.computed;
            before = line.tokens.split_off(line.computed);
            said.push(normal(&line.text));
            let lead = if number == 1 { "" } else { "\n" };
            let shown = format!("{lead}{number}. {}", line.text);
            run.token(&shown)?;
            lines.text.push_str(&shown);
        }
        run.token("")?;
        Ok(lines)
    }

    /// One line behind what the context holds, which ends with `opening`; token `last` of its latest batch has the logits.
    fn line(
        &self,
        context: &mut Context,
        mut last: usize,
        position: usize,
        opening: &str,
        random: &mut Random,
        run: &Run,
    ) -> Result<Line> {
        let model = context.model().clone();
        let (mut bytes, mut line) = (opening.as_bytes().to_vec(), Line::default());
        let mut batch = Batch::default();
        loop {
            let mut logits = context.logits(last)?.to_vec();
            let text = String::from_utf8_lossy(&bytes).trim().to_string();
            let own = text.get(opening.len()..).unwrap_or("");
            if own.split_whitespace().count() < WORDS_LEAST && own.chars().count() < CHARS_LEAST {
                for ender in self.enders {
                    if let Some(z) = usize::try_from(*ender).ok().and_then(|t| logits.get_mut(t)) {
                        *z = f32::NEG_INFINITY;
                    }
                }
            }
            let token = sample(&logits, self.temperature, 0.95, random)?;
            if self.enders.binary_search(&token).is_ok() {
                return Ok(Line { text, ..line });
            }
            bytes.extend(model.piece(token, false));
            line.tokens.push(token);
            let text = String::from_utf8_lossy(&bytes).trim().to_string();
            let whole = text.ends_with(['.', '!', '?', '。', '！', '？']);
            if line.tokens.len() >= TOKENS_ENOUGH && whole {
                return Ok(Line { text, ..line });
            }
            if line.tokens.len() >= TOKENS_MOST {
                let end = text.rfind(['.', '!', '?', '。', '！', '？']).map(|at| text.ceil_char_boundary(at + 1));
                let cut = end.filter(|end| is_query(&text[..*end])).or_else(|| text.rfind(' ')).unwrap_or(text.len());
                return Ok(Line { text: text[..cut].trim().to_string(), ..line });
            }
            batch.clear();
            batch.push(token, position + line.computed, 0, true);
            context.run_batch(&batch, run)?;
            line.computed += 1;
            last = 0;
        }
    }
}

/// One line.
#[derive(Default)]
struct Line {
    text: String,
    tokens: Vec<Token>,
    /// So many of them are in the context; one at most is not.
    computed: usize,
}

/// Computes tokens from `position` on; which token of the latest batch has the logits of the last.
pub(super) fn feed(context: &mut Context, tokens: &[Token], position: usize, run: &Run) -> Result<usize> {
    let size = context.batch_tokens();
    let mut batch = Batch::default();
    for (n, chunk) in tokens.chunks(size).enumerate() {
        batch.clear();
        for (i, token) in chunk.iter().enumerate() {
            batch.push(*token, position + n * size + i, 0, n * size + i + 1 == tokens.len());
        }
        context.run_batch(&batch, run)?;
    }
    Ok(batch.len().saturating_sub(1))
}
