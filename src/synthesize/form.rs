//! The form that an endpoint is asked to hold an answer to: a JSON schema, a grammar, a choice.

use super::judge::{BEST, CRITERIA};
use super::teacher::{Kind, Request};
use crate::config::Structured;
use serde_json::{Value, json};

/// Characters of a query, for a grammar.
const LINE_CHARS: (usize, usize) = (8, 600);

/// What an answer must be.
enum Shape {
    /// So many texts.
    Texts(usize),
    /// So many numbers from 1 to the second.
    Numbers(usize, usize),
    /// A score from 1 to 5 for each criterion of a judge.
    Scores,
    /// As the teacher likes.
    Free,
}

fn shape_of(request: &Request) -> Shape {
    match request.kind {
        Kind::Query | Kind::Dialogue => Shape::Texts(request.facts.count),
        Kind::Recommend if request.facts.candidates.is_empty() => Shape::Free,
        Kind::Recommend => Shape::Numbers(request.facts.count, request.facts.candidates.len()),
        Kind::Judge => Shape::Scores,
    }
}

/// What to try when an endpoint refuses `form`; none: nothing is left.
pub(super) fn next(form: Structured) -> Option<Structured> {
    match form {
        Structured::Auto => Some(Structured::JsonSchema),
        Structured::JsonSchema => Some(Structured::JsonObject),
        Structured::JsonObject => Some(Structured::Grammar),
        Structured::Grammar | Structured::GuidedChoice => Some(Structured::Off),
        Structured::Off => None,
    }
}

/// Adds to the body of a request what asks for `form`, and tells the model of it where it has to know.
pub(super) fn ask_for(form: Structured, request: &Request, body: &mut Value) {
    let shape = shape_of(request);
    match (form, &shape) {
        (Structured::Auto | Structured::Off, _) | (_, Shape::Free) => {}
        (Structured::JsonSchema, _) => {
            let schema = json!({"name": "answer", "strict": true, "schema": schema(&shape)});
            body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
            tell(body, in_json(&shape));
        }
        (Structured::JsonObject, _) => {
            body["response_format"] = json!({"type": "json_object"});
            tell(body, in_json(&shape));
        }
        (Structured::Grammar, _) => body["grammar"] = grammar(&shape).into(),
        (Structured::GuidedChoice, Shape::Numbers(_, of)) => {
            body["guided_choice"] = (1..=*of).map(|n| n.to_string()).collect::<Vec<_>>().into();
            tell(body, "Reply with the number of the best one alone.");
        }
        (Structured::GuidedChoice, Shape::Scores) => body["guided_choice"] = all_scores().into(),
        (Structured::GuidedChoice, Shape::Texts(_)) => {}
    }
}

fn in_json(shape: &Shape) -> &'static str {
    match shape {
        Shape::Texts(_) => r#"Write the answer as a JSON object: {"requests": ["…", "…"]}"#,
        Shape::Numbers(..) => r#"Write the answer as a JSON object: {"numbers": [first, second, …]}"#,
        Shape::Scores => r#"Write the answer as a JSON object: {"grounded": N, "natural": N, "fits": N}"#,
        Shape::Free => "",
    }
}

/// Adds a sentence to the last message.
fn tell(body: &mut Value, sentence: &str) {
    let last = body["messages"].as_array_mut().and_then(|messages| messages.last_mut());
    if let Some(content) = last.map(|message| &mut message["content"])
        && let Some(text) = content.as_str()
    {
        *content = format!("{text}\n\n{sentence}").into();
    }
}

fn schema(shape: &Shape) -> Value {
    let (name, items, count) = match shape {
        Shape::Texts(count) => ("requests", json!({"type": "string"}), *count),
        Shape::Numbers(count, of) => ("numbers", json!({"type": "integer", "minimum": 1, "maximum": of}), *count),
        Shape::Scores => return scores_schema(),
        Shape::Free => return Value::Bool(true),
    };
    json!({
        "type": "object",
        "properties": {name: {"type": "array", "items": items, "minItems": count, "maxItems": count}},
        "required": [name],
        "additionalProperties": false,
    })
}

fn scores_schema() -> Value {
    let score = json!({"type": "integer", "minimum": 1, "maximum": BEST});
    let properties: serde_json::Map<String, Value> =
        CRITERIA.iter().map(|name| (name.to_string(), score.clone())).collect();
    json!({"type": "object", "properties": properties, "required": CRITERIA, "additionalProperties": false})
}

/// Every judgement that there is, as its prompt asks for it.
fn all_scores() -> Vec<String> {
    let mut all = vec![String::new()];
    for name in CRITERIA {
        let longer = |before: &String| {
            let comma = if before.is_empty() { "" } else { ", " };
            (1..=BEST).map(|score| format!("{before}{comma}{name}: {score}")).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// In llama.cpp's GBNF.
fn grammar(shape: &Shape) -> String {
    match shape {
        Shape::Texts(count) => {
            let lines: Vec<String> =
                (1..=*count).map(|n| format!("\"{}{n}. \" line", if n > 1 { "\\n" } else { "" })).collect();
            let (least, most) = LINE_CHARS;
            format!("root ::= {}\nline ::= [^\\n]{{{least},{most}}}\n", lines.join(" "))
        }
        Shape::Numbers(count, of) => {
            let numbers: Vec<String> = (1..=*of).map(|n| format!("\"{n}\"")).collect();
            let rest = match count.saturating_sub(1) {
                0 => String::new(),
                more => format!(" (\", \" number){{{more}}}"),
            };
            format!("root ::= number{rest}\nnumber ::= {}\n", numbers.join(" | "))
        }
        Shape::Scores => {
            let scores: Vec<String> = CRITERIA
                .iter()
                .enumerate()
                .map(|(n, name)| format!("\"{}{name}: \" score", if n > 0 { ", " } else { "" }))
                .collect();
            format!("root ::= {}\nscore ::= [1-{BEST}]\n", scores.join(" "))
        }
        Shape::Free => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::teacher::Facts;
    use super::*;

    fn request(kind: Kind, count: usize, of: usize) -> Request {
        let facts = Facts { count, candidates: (0..of as u32).collect(), ..Default::default() };
        Request::new("t", kind, "p".into(), "i", 0, 0.8, 10, 0, facts)
    }
    fn body(form: Structured, request: &Request) -> Value {
        let mut body = json!({"messages": request.messages});
        ask_for(form, request, &mut body);
        body
    }

    #[test]
    fn every_form_asks_for_as_many_numbers_as_are_wanted() {
        let choose = request(Kind::Recommend, 3, 12);
        let asked = body(Structured::JsonSchema, &choose);
        let schema = &asked["response_format"]["json_schema"]["schema"]["properties"]["numbers"];
        assert_eq!(schema["items"], json!({"type": "integer", "minimum": 1, "maximum": 12}));
        assert_eq!((&schema["minItems"], &schema["maxItems"]), (&json!(3), &json!(3)));
        let asked = body(Structured::JsonObject, &choose);
        assert_eq!(asked["response_format"], json!({"type": "json_object"}));
        // OpenAI refuses the form where the prompt does not name it.
        assert!(
            asked["messages"][0]["content"].as_str().unwrap().starts_with("p\n\nWrite the answer as a JSON object")
        );
        let asked = body(Structured::Grammar, &choose);
        let grammar = asked["grammar"].as_str().unwrap();
        assert!(grammar.starts_with("root ::= number (\", \" number){2}\nnumber ::= \"1\" | \"2\""), "{grammar}");
        assert!(
            body(Structured::Grammar, &request(Kind::Recommend, 1, 2))["grammar"]
                .as_str()
                .unwrap()
                .starts_with("root ::= number\n")
        );
        assert_eq!(body(Structured::GuidedChoice, &choose)["guided_choice"].as_array().unwrap().len(), 12);
        let plain = json!({"messages": choose.messages});
        assert_eq!(body(Structured::Off, &choose), plain);
        for form in [Structured::JsonSchema, Structured::JsonObject, Structured::Grammar, Structured::GuidedChoice] {
            assert_eq!(body(form, &request(Kind::Recommend, 3, 0)), plain, "from memory: as it likes");
        }
    }

    #[test]
    fn a_judge_is_asked_for_three_scores() {
        let judge = request(Kind::Judge, 3, 0);
        let schema = body(Structured::JsonSchema, &judge)["response_format"]["json_schema"]["schema"].clone();
        assert_eq!(schema["properties"]["fits"], json!({"type": "integer", "minimum": 1, "maximum": 5}));
        assert_eq!(schema["required"], json!(["grounded", "natural", "fits"]));
        let asked = body(Structured::JsonObject, &judge);
        assert!(asked["messages"][0]["content"].as_str().unwrap().contains("\"natural\": N"));
        let grammar = body(Structured::Grammar, &judge)["grammar"].clone();
        let expected = "root ::= \"grounded: \" score \", natural: \" score \", fits: \" score\nscore ::= [1-5]\n";
        assert_eq!(grammar, expected);
        let choices = body(Structured::GuidedChoice, &judge)["guided_choice"].clone();
        assert_eq!(
            (choices.as_array().unwrap().len(), &choices[124]),
            (125, &json!("grounded: 5, natural: 5, fits: 5"))
        );
    }

    #[test]
    fn queries_are_asked_for_as_texts() {
        let query = request(Kind::Query, 2, 0);
        let schema = body(Structured::JsonSchema, &query)["response_format"]["json_schema"]["schema"].clone();
        assert_eq!(schema["properties"]["requests"]["maxItems"], 2);
        let grammar = body(Structured::Grammar, &query)["grammar"].clone();
        assert_eq!(grammar, "root ::= \"1. \" line \"\\n2. \" line\nline ::= [^\\n]{8,600}\n");
        assert_eq!(body(Structured::GuidedChoice, &query), json!({"messages": query.messages}));
    }
}
