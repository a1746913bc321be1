//! What an answer says to its reader: without thinking, control tokens and invisible characters. Every parser of answers
//! begins here, so that a film which a model weighed and rejected never reaches a list.

use super::invisible::{visible, without_invisible};

/// Bytes of an answer that are looked at.
const MOST_BYTES: usize = 4 << 20;
/// Bytes of a tag with its attributes.
const MOST_TAG: usize = 200;

/// What is left of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The text for the reader; not blank.
    Text(String),
    /// The model thought and then said nothing: its tokens ran out, or the server sent the thinking alone.
    OnlyThinking,
    /// There was nothing.
    Blank,
}

impl Reply {
    /// The text; empty where there is none.
    pub fn into_text(self) -> String {
        match self {
            Reply::Text(text) => text,
            Reply::OnlyThinking | Reply::Blank => String::new(),
        }
    }
}

/// The part of `answer` that is meant for its reader.
///
/// Off come: thinking (`<think>…</think>` and its relatives in any case and with attributes, `[THINK]`, the analysis channel
/// of harmony answers), control tokens of chat templates, invisible characters. A closing tag without an opening one ends
/// thinking that began before the answer; an opening one without a closing one begins thinking that never ended. Of what
/// is left, an `<answer>` or what stands under `Final answer:` is the answer.
pub fn clean_answer(answer: &str) -> Reply {
    let text = without_invisible(&answer[..answer.floor_char_boundary(MOST_BYTES)]);
    let (text, channels) = match final_channel(&text) {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (text, thinking) = without_thinking(&text);
    let text = without_control_tokens(&text);
    let text = answer_section(&text);
    // The indentation of the first line is kept: it tells what the next lines stand under.
    let mut text = under_final_heading(text).trim_end();
    while let Some((_, rest)) = text.split_once('\n').filter(|(line, _)| line.trim().is_empty()) {
        text = rest;
    }
    match text {
        "" if thinking || channels => Reply::OnlyThinking,
        "" => Reply::Blank,
        text => Reply::Text(text.to_string()),
    }
}

// ------------------------------------------------------------------------------------------------------------- thinking

/// Names of the tags that enclose thinking.
const THINKING: [&str; 17] = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reflection",
    "scratchpad",
    "analysis",
    "inner_monologue",
    "inner_thoughts",
    "internal_monologue",
    "chain_of_thought",
    "cot",
    "thinking_process",
    "thought_process",
    "internal_reasoning",
    "deliberation",
];

/// Control tokens that open and close thinking.
const THINKING_TOKENS: [(&str, bool); 10] = [
    ("begin_of_thought", true),
    ("end_of_thought", false),
    ("start_thinking", true),
    ("end_thinking", false),
    ("begin_of_thinking", true),
    ("end_of_thinking", false),
    ("think", true),
    ("/think", false),
    ("thinking", true),
    ("/thinking", false),
];

/// A tag at the beginning of a text.
struct Tag<'a> {
    name: &'a str,
    opens: bool,
    /// `<name/>`.
    empty: bool,
    length: usize,
}

/// `<name attributes>`, `</name>`, `[NAME]`, `◁name▷`, `&lt;name&gt;` at the beginning of `text`.
fn tag(text: &str) -> Option<Tag<'_>> {
    let pairs = [("<", ">"), ("[", "]"), ("◁", "▷"), ("&lt;", "&gt;")];
    let (open, close) = pairs.iter().find(|(open, _)| text.starts_with(open))?;
    let rest = &text[open.len()..];
    let rest = &rest[..rest.floor_char_boundary(MOST_TAG)];
    let end = rest.find(close)?;
    let inside = &rest[..end];
    if inside.contains(['<', '[']) || *open == "[" && inside.contains('\n') {
        return None;
    }
    let empty = inside.ends_with('/');
    let inside = inside.trim().trim_end_matches('/');
    let (inside, opens) = match inside.strip_prefix('/') {
        Some(inside) => (inside.trim(), false),
        None => (inside, true),
    };
    // `seed:think` is think in a name space.
    let name = inside.split([' ', '\t', '\n', '=']).next().unwrap_or("");
    let name = name.rsplit(':').next().unwrap_or(name);
    // Brackets also hold plain words: in them only a bare name is a tag.
    (*open != "[" || inside == name).then_some(Tag { name, opens, empty, length: open.len() + end + close.len() })
}

/// A control token `<|name|>` at the beginning of `text`, with its length; also with DeepSeek's wide bars.
fn control(text: &str) -> Option<(&str, usize)> {
    for (open, close) in [("<|", "|>"), ("<｜", "｜>")] {
        if let Some(rest) = text.strip_prefix(open) {
            let rest = &rest[..rest.floor_char_boundary(64)];
            let end = rest.find(close)?;
            let name = &rest[..end];
            let named = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '▁' | '-' | '/' | ' ' | '.'));
            return (named && !name.is_empty()).then_some((name, open.len() + end + close.len()));
        }
    }
    None
}

/// Whether thinking begins (true) or ends at the beginning of `text`, and the length of the mark; none: neither.
fn thinking_mark(text: &str) -> Option<(Option<bool>, usize)> {
    if let Some((name, length)) = control(text) {
        let lower = name.to_lowercase().replace('▁', "_");
        let found = THINKING_TOKENS.iter().find(|(token, _)| *token == lower);
        return found.map(|(_, opens)| (Some(*opens), length));
    }
    let tag = tag(text)?;
    let lower = tag.name.to_lowercase().replace('-', "_");
    let known = THINKING.contains(&lower.as_str())
        || ["think", "thought", "reasoning", "monologue", "scratch", "rationale"].iter().any(|w| lower.contains(w))
        || matches!(lower.as_str(), "plan" | "planning" | "draft" | "brainstorm" | "internal" | "notes");
    known.then_some((if tag.empty { None } else { Some(tag.opens) }, tag.length))
}

/// The text outside of thinking, and whether there was any.
fn without_thinking(text: &str) -> (String, bool) {
    let mut marks: Vec<(usize, usize, Option<bool>)> = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(['<', '[', '◁', '&']) {
        at += found;
        match thinking_mark(&text[at..]) {
            Some((opens, length)) => {
                marks.push((at, at + length, opens));
                at += length;
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    if marks.is_empty() {
        return (text.to_string(), false);
    }
    let mut depth = 0i64;
    let balanced = marks.iter().all(|(_, _, opens)| {
        depth += opens.map_or(0, |opens| if opens { 1 } else { -1 });
        depth >= 0
    }) && depth == 0;
    let mut out = String::new();
    let (mut depth, mut from) = (0i64, 0);
    for (start, end, opens) in marks {
        if depth == 0 {
            out.push_str(&text[from..start]);
            // What was apart stays apart: no tag arises from two halves.
            out.push('\n');
        }
        match (opens, balanced) {
            (None, _) => {}
            (Some(true), true) => depth += 1,
            (Some(false), true) => depth -= 1,
            // A tag that was opened twice (by the chat template and by the model) is closed once.
            (Some(true), false) => depth = 1,
            (Some(false), false) => {
                // Nothing is open: it was thinking from the beginning.
                if depth == 0 {
                    out.clear();
                }
                depth = 0;
            }
        }
        from = end;
    }
    if depth == 0 {
        out.push_str(&text[from..]);
    }
    (out, true)
}

// -------------------------------------------------------------------------------------------------------------- channels

/// The final channel of an answer in harmony markup (gpt-oss); none: the answer is not in that markup.
fn final_channel(text: &str) -> Option<String> {
    let marked = text.contains("<|channel|>") || text.contains("<|start|>") && text.contains("<|message|>");
    if !marked {
        return unmarked_channels(text);
    }
    // Each message: header, body.
    let mut finals = String::new();
    let mut outside = String::new();
    let mut header: Option<String> = None;
    let (mut at, mut from) = (0, 0);
    let mut in_body = false;
    let mut take = |piece: &str, header: &Option<String>, in_body: bool| match header {
        // A message without `<|message|>`: its channel's name comes first.
        Some(head) if !in_body => {
            let whole = format!("{head}{piece}");
            let rest = whole.trim_start();
            let rest = rest.strip_prefix("assistant").unwrap_or(rest).trim_start();
            if let Some(body) = rest.strip_prefix("final") {
                finals.push_str(body);
                finals.push('\n');
            }
        }
        Some(head) => {
            let mut words = head.split_whitespace();
            let channel = words.find(|w| matches!(*w, "analysis" | "commentary" | "final"));
            let role = head.split_whitespace().next().unwrap_or("");
            if channel.unwrap_or(if matches!(role, "" | "assistant") { "final" } else { "other" }) == "final" {
                finals.push_str(piece);
                finals.push('\n');
            }
        }
        None => {
            outside.push_str(piece.trim().strip_prefix("assistant").unwrap_or(piece.trim()));
            outside.push('\n');
        }
    };
    while let Some(found) = text[at..].find("<|") {
        at += found;
        let Some((name, length)) = control(&text[at..]) else {
            at += 2;
            continue;
        };
        let piece = &text[from..at];
        match name {
            "start" => {
                take(piece, &header, in_body);
                (header, in_body) = (Some(String::new()), false);
            }
            "channel" => {
                // Behind `<|start|>assistant` it belongs to the same header.
                if header.is_some() && !in_body {
                    header = Some(longer(header.take(), piece));
                } else {
                    take(piece, &header, in_body);
                    header = Some(String::new());
                }
                in_body = false;
            }
            "message" => {
                if in_body {
                    take(piece, &header, in_body);
                    header = Some(String::new());
                } else {
                    header = Some(longer(header.take(), piece));
                }
                in_body = true;
            }
            "end" | "return" | "call" => {
                take(piece, &header, in_body);
                (header, in_body) = (None, false);
            }
            // The form of the body: the last word of a header.
            "constrain" if !in_body => header = Some(longer(header.take(), piece)),
            _ => {
                at += length;
                continue;
            }
        }
        at += length;
        from = at;
    }
    take(&text[from..], &header, in_body);
    Some(if finals.trim().is_empty() { outside } else { finals })
}

/// A message's header with one more part; headers are short.
fn longer(header: Option<String>, part: &str) -> String {
    let mut header = header.unwrap_or_default();
    if header.len() < MOST_TAG {
        header.push_str(&part[..part.floor_char_boundary(MOST_TAG)]);
        header.push(' ');
    }
    header
}

/// Harmony markup whose control tokens a server took out: `analysisThe user wants …assistantfinal1. Heat`.
fn unmarked_channels(text: &str) -> Option<String> {
    let start = text.trim_start();
    let start = start.strip_prefix("assistant").unwrap_or(start);
    if !start.starts_with("analysis") {
        return None;
    }
    let at = text.rfind("assistantfinal")?;
    Some(text[at + "assistantfinal".len()..].to_string())
}

// -------------------------------------------------------------------------------------------------------- control tokens

/// Tokens that end a turn: what follows is another turn, which the model made up.
const ENDS: [&str; 10] = [
    "im_end",
    "eot_id",
    "eom_id",
    "endoftext",
    "end_of_turn",
    "end_of_text",
    "end_of_sentence",
    "end",
    "return",
    "end_of_turn_token",
];
/// Words that stand between a token that opens a turn and the turn.
const ROLES: [&str; 4] = ["assistant", "model", "user", "system"];

/// Takes the control tokens of chat templates out; at one that ends the turn the text ends.
fn without_control_tokens(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let opened = text.contains("<s>");
    while let Some(at) = rest.find(['<', '[']) {
        let before = rest[..at].chars().next_back();
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let plain = |token: &&&str| rest.get(..token.len()).is_some_and(|t| t.eq_ignore_ascii_case(token));
        let (name, length) = match control(rest) {
            Some((name, length)) => (name.to_lowercase().replace('▁', "_"), length),
            None => {
                let tokens = [
                    "</s>",
                    "<s>",
                    "<bos>",
                    "<eos>",
                    "<pad>",
                    "<unk>",
                    "<start_of_turn>",
                    "<end_of_turn>",
                    "[INST]",
                    "[/INST]",
                ];
                let Some(token) = tokens.iter().find(plain) else {
                    // No token: the mark itself is text.
                    out.push_str(&rest[..1]);
                    rest = &rest[1..];
                    continue;
                };
                (token.trim_matches(['<', '>', '[', ']']).to_lowercase(), token.len())
            }
        };
        rest = &rest[length..];
        if matches!(name.as_str(), "im_start" | "start_header_id" | "start_of_turn" | "start" | "start_of_turn_token") {
            let trimmed = rest.trim_start();
            let role = ROLES.iter().find(|role| trimmed.starts_with(**role));
            rest = role.map_or(rest, |role| &trimmed[role.len()..]);
        }
        let ends = ENDS.contains(&name.as_str())
            || matches!(name.as_str(), "/s" | "eos") && !(name == "/s" && opened && before.is_none());
        if ends && !out.trim().is_empty() {
            return out;
        }
    }
    out.push_str(rest);
    out
}

// ---------------------------------------------------------------------------------------------- where the answer stands

/// The inside of the last `<answer>`, where the text has one; else the text.
fn answer_section(text: &str) -> &str {
    const NAMES: [&str; 5] = ["answer", "final_answer", "final", "response", "output"];
    let is_answer = |tag: &Tag| NAMES.contains(&tag.name.to_lowercase().replace('-', "_").as_str());
    let tags = text.match_indices('<').filter_map(|(at, _)| Some((at, tag(&text[at..])?)));
    let mut section: Option<&str> = None;
    let mut open: Option<usize> = None;
    for (at, tag) in tags.filter(|(_, tag)| is_answer(tag)) {
        if tag.opens {
            open = Some(at + tag.length);
        } else if let Some(from) = open.take() {
            section = Some(&text[from..at]).filter(|s| visible(s)).or(section);
        }
    }
    let unclosed = open.map(|from| &text[from..]).filter(|s| visible(s));
    unclosed.or(section).unwrap_or(text)
}

/// What stands under the last heading `Final answer:` of the text, where it has one; else the text.
fn under_final_heading(text: &str) -> &str {
    let mut found = text;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let bare = line.trim().trim_matches(['#', '*', '_', '>', ' ', '-', '=']).to_lowercase();
        let behind = &text[at..];
        // A good list is not given up for a closing remark.
        let better = visible(behind) && (lists(behind) || !lists(&text[..at]));
        if is_final_heading(bare.trim_end_matches([':', '：', '*', ' ', '.'])) && better {
            found = &text[at..];
        }
    }
    found
}

/// Whether some line of a text looks like one of a list.
fn lists(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with(['-', '*', '•', '|', '[', '{']) || line.starts_with(|c: char| c.is_numeric())
    })
}

fn is_final_heading(line: &str) -> bool {
    let mut words = line
        .split_whitespace()
        .skip_while(|w| matches!(*w, "here" | "here's" | "revised" | "is" | "are" | "my" | "the" | "so" | "and"));
    if words.next() != Some("final") {
        return false;
    }
    const WHAT: [&str; 16] = [
        "answer",
        "answers",
        "list",
        "recommendation",
        "recommendations",
        "ranking",
        "rankings",
        "selection",
        "picks",
        "output",
        "response",
        "result",
        "results",
        "queries",
        "top",
        "ranked",
    ];
    let rest: Vec<&str> = words.collect();
    let what = |w: &&str| WHAT.contains(w) || matches!(*w, "is" | "are" | "movie" | "film" | "of" | "movies" | "films");
    rest.first().is_some_and(|w| WHAT.contains(w))
        && rest.len() <= 4
        && rest.iter().all(|w| what(w) || w.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &str = "1. Heat (1995)\n2. Ronin (1998)";

    fn cleaned(answer: &str) -> String {
        clean_answer(answer).into_text().trim().to_string()
    }

    #[test]
    fn thinking_in_any_markup_never_reaches_the_reader() {
        let draft = "Draft:\n1. Alien (1979) - no\n2. Up (2009) - too sweet\n";
        for answer in [
            format!("<think>\n{draft}</think>\n{LIST}"),
            format!("<thinking>{draft}</thinking>{LIST}"),
            format!("<THINK>{draft}</THINK>\n\n{LIST}"),
            format!("<Think effort=\"high\" id='1'>{draft}</Think>{LIST}"),
            format!("< think >{draft}</ think>{LIST}"),
            format!("<reasoning>{draft}</reasoning>{LIST}"),
            format!("<seed:think>{draft}</seed:think>{LIST}"),
            format!("[THINK]{draft}[/THINK]{LIST}"),
            format!("[think]{draft}[/think]{LIST}"),
            format!("◁think▷{draft}◁/think▷{LIST}"),
            format!("<|begin_of_thought|>{draft}<|end_of_thought|>\n<|begin_of_solution|>{LIST}<|end_of_solution|>"),
            format!("<|START_THINKING|>{draft}<|END_THINKING|><|START_RESPONSE|>{LIST}<|END_RESPONSE|>"),
            format!("&lt;think&gt;{draft}&lt;/think&gt;{LIST}"),
            format!("{draft}</think>\n{LIST}"),
            format!("<think>a</think>{draft}</think>{LIST}"),
            format!("{draft}[/THINK]\n{LIST}"),
            format!("{LIST}\n<think>{draft}"),
            format!("{LIST}\n<think>{draft}</think>"),
            format!("<think>a<think>b</think>{draft}</think>{LIST}"),
            format!("{LIST}<think>a<think>b</think>{draft}</think>"),
            format!("<think>\n<think>\n{draft}</think>\n{LIST}"),
            format!("<think>\nI may write <think> here. {draft}</think>\n{LIST}"),
            format!("<think>{draft}</think><think>{draft}</think>{LIST}<think>{draft}</think>"),
            format!("<thinking>x<reasoning>{draft}</reasoning>{draft}</thinking>{LIST}"),
            format!("<th\u{200b}ink>{draft}</th\u{200b}ink>{LIST}"),
            format!("\u{feff}<think>{draft}</think>\u{feff}{LIST}"),
            format!("<think/>{LIST}"),
            format!("<analysis>{draft}</analysis><answer>{LIST}</answer>"),
            format!("{draft}\n<answer>\n{LIST}\n</answer>"),
            format!("<think>{draft}</think><final_answer>{LIST}"),
            format!("{draft}\n**Final Answer:**\n\n{LIST}"),
            format!("{draft}\n### Final list\n{LIST}"),
            format!("{draft}\nHere are my final recommendations:\n{LIST}"),
        ] {
            assert_eq!(cleaned(&answer), LIST, "{answer}");
        }
    }

    #[test]
    fn harmony_answers_are_their_final_channel() {
        for answer in [
            "<|channel|>analysis<|message|>1. hmm\n2. Alien<|end|><|start|>assistant<|channel|>final<|message|>@",
            "<|start|>assistant<|channel|>analysis<|message|>Up<|end|><|start|>assistant<|channel|>final<|message|>@<|return|>",
            "<|channel|>final<|message|>@<|return|>",
            "<|channel|>final <|constrain|>json<|message|>@",
            "<|channel|>analysis<|message|>Up<|end|><|start|>assistant<|channel|>commentary to=functions.x<|message|>Up<|call|><|start|>assistant<|channel|>final<|message|>@<|end|>",
            "<|start|>assistant<|message|>@<|end|>",
            "<|channel|>analysis<|message|>Up<|end|>assistant<|channel|>final<|message|>@",
            "<|channel|>analysis<|message|>Up<|channel|>final<|message|>@",
            "<|channel|>analysis<|message|>Up<|end|>\n@",
            "<|channel|>analysis<|message|>Up<|end|><|start|>assistant<|channel|>final\n@",
            "analysisThe user wants Up. Not Alien.assistantfinal@",
            "<|channel|>final<|message|><think>Up</think>@",
        ] {
            let answer = answer.replace('@', LIST);
            assert_eq!(cleaned(&answer), LIST, "{answer}");
        }
    }

    #[test]
    fn an_answer_that_is_only_thinking_says_so() {
        for answer in [
            "<think>1. Alien\n2. Up",
            "<think>1. Alien</think>",
            "<think>1. Alien</think>\n \u{200b}",
            "1. Alien\n</think>",
            "[THINK]1. Alien",
            "<|channel|>analysis<|message|>1. Alien",
            "<|channel|>analysis<|message|>1. Alien<|end|>",
            "<|channel|>commentary<|message|>1. Alien<|end|>",
            "<|channel|>analysis<|message|>1. Alien<|end|><|start|>assistant<|channel|>final<|message|>",
        ] {
            assert_eq!(clean_answer(answer), Reply::OnlyThinking, "{answer}");
        }
        for answer in ["", " \n\t", "\u{feff}", "<|im_end|>", "</s>"] {
            assert_eq!(clean_answer(answer), Reply::Blank, "{answer:?}");
        }
    }

    #[test]
    fn control_tokens_come_off_and_what_follows_the_turn_is_not_the_answer() {
        for answer in [
            "@<|im_end|>",
            "<|im_start|>assistant\n@<|im_end|>\n<|im_start|>user\n1. Alien<|im_end|>",
            "@<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n@<|eot_id|>",
            "@</s>",
            "<s>@</s>",
            "<s> [INST] [/INST] @</s>[INST] 1. Alien [/INST]",
            "@<｜end▁of▁sentence｜>",
            "<start_of_turn>model\n@<end_of_turn>",
            "@<|endoftext|>1. Alien",
            "\u{feff}\u{200e}@\u{200f}",
            "\u{202a}@\u{202c}",
        ] {
            let answer = answer.replace('@', LIST);
            assert_eq!(cleaned(&answer), LIST, "{answer}");
        }
    }

    #[test]
    fn what_only_looks_like_markup_stays() {
        for text in [
            "1. I <3 NY (2010)\n2. [REC] (2007)",
            "1. Think (1999)\n2. The Final Cut (2004)",
            "[1] Heat\n[2] Ronin",
            "1. A < B > C\n2. <Untitled>",
            "I want a film like Heat [1995]\n\nFinal Destination (2000)",
            "Final answer:",
        ] {
            assert_eq!(cleaned(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_soup_of_marks_makes_it_panic_and_cleaning_twice_changes_nothing(
            parts in proptest::collection::vec(prop_oneof![
                Just("<think>"), Just("</think>"), Just("[THINK]"), Just("[/THINK]"), Just("<|channel|>"), Just("<|message|>"),
                Just("final"), Just("analysis"), Just("<|end|>"), Just("<|start|>"), Just("assistant"), Just("<"), Just("|>"),
                Just("é"), Just("\n"), Just("</s>"), Just("<answer>"), Just("</answer>"), Just("◁think▷"), Just("\u{200d}"),
                Just("1. Heat"), Just("<｜"), Just("&lt;think&gt;"), Just("<|return|>"), Just("Final answer:\n")
            ], 0..30)
        ) {
            let answer = parts.concat();
            let once = clean_answer(&answer).into_text();
            prop_assert!(!once.contains("<think>") && !once.contains("</think>"), "{}", once);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            clean_answer(&text);
        }
    }
}
