//! `POST /v1/chat/completions`: OpenAI's shape, whole or streamed, with the items in a field of their own, `causerie`.

use super::access::Access;
use super::problem::{Outcome, Problem};
use super::reply::{Piece, Reply, json, refusal, response};
use super::route::{no_such_model, note};
use super::served::{Answer, Generation};
use super::server::{Shared, Started};
use super::voice::Usage;
use super::wire::{self, Chat};
use crate::error::{Error, Result};
use crate::run::Run;
use hyper::Response;
use serde::Serialize;
use serde_json::{Value, json as value};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

/// Items in a reply where the request does not say: a reader's handful, not a ranking.
const ITEMS: usize = 5;
/// Pieces made ahead of the client.
const AHEAD: usize = 32;

/// The part of an answer that OpenAI's shape has no place for.
#[derive(Serialize)]
struct Extension<'a> {
    generation: u64,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// What all parts of one reply share.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn event(&self, delta: Value, finish: Option<&str>) -> Value {
        value!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    }
}

/// Tokens of the search and of the reply together; none where neither counts any.
fn together(search: Option<Usage>, reply: Option<Usage>) -> Option<Usage> {
    let add = |a: Usage, b: Usage| Usage {
        prompt_tokens: a.prompt_tokens + b.prompt_tokens,
        completion_tokens: a.completion_tokens + b.completion_tokens,
    };
    match (search, reply) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (one, other) => one.or(other),
    }
}

fn counts(usage: Usage) -> Value {
    let Usage { prompt_tokens, completion_tokens } = usage;
    value!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}

/// Reads the request and finds the items.
fn find(body: &[u8], shared: &Shared, generation: &Generation, soon: Instant, run: &Run) -> Outcome<(Chat, Answer)> {
    let mut chat = wire::chat(body, &shared.config)?;
    let served = &generation.served;
    if chat.model.as_ref().is_some_and(|m| m != served.model() && m != "causerie") {
        return Err(no_such_model(served.model()));
    }
    chat.ask.top_k = chat.ask.top_k.or(Some(ITEMS));
    let answer = served
        .answer(std::slice::from_ref(&chat.ask), &generation.withdrawn, shared.config.max_answer, soon, run)?
        .pop();
    answer.map(|a| (chat, a)).ok_or_else(|| Problem::internal("no answer to one request".into()))
}

/// What the blocking part tells the connection before the first word: a stream begins, or the reply is whole.
enum Begun {
    Stream(Box<Chat>, Answer, u64),
    Whole(Box<Chat>, Answer, u64, String, String, Option<Usage>),
}

/// Answers a chat request.
pub(super) async fn answer(shared: Arc<Shared>, peer: IpAddr, mut access: Access, body: Vec<u8>) -> Response<Reply> {
    let Started { permit, run, generation, cancel, deadline, soon } = match shared.start(peer).await {
        Ok(started) => started,
        Err(problem) => return refusal(access, problem),
    };
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let id = format!("chatcmpl-{}", access.id);
    let (tell, begun) = oneshot::channel();
    let (sender, pieces) = mpsc::channel(AHEAD);
    let working = shared.clone();
    let work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let (chat, answer) = match find(&body, &working, &generation, soon, &run) {
            Ok(found) => found,
            Err(problem) => return drop(tell.send(Err(problem))),
        };
        let (served, number) = (&generation.served, generation.number);
        let model = served.model().to_string();
        if !chat.stream {
            let mut text = String::new();
            let mut say = |piece: &str| {
                text.push_str(piece);
                run.check()
            };
            let said = served.voice().speak(answer.talk(&chat.ask.conversation), &mut say, &run);
            let whole = said.map(|usage| Begun::Whole(Box::new(chat), answer, number, model, text, usage));
            return drop(tell.send(whole.map_err(|e| Problem::of(&e))));
        }
        let head = Head { id, created, model };
        let include_usage = chat.include_usage;
        let conversation = chat.ask.conversation.clone();
        let begun = Begun::Stream(Box::new(chat), answer.clone(), number);
        if tell.send(Ok(begun)).is_err() {
            return;
        }
        let send = |event: String| sender.blocking_send(Piece::Event(event)).map_err(|_| Error::cancelled());
        let streamed = || -> Result<()> {
            // The items go first: a page can show them while the words come.
            let first = head.event(value!({"role": "assistant", "content": ""}), None);
            send(with_items(first, &Extension { generation: number, answer: &answer })?)?;
            let mut say = |piece: &str| send(head.event(value!({"content": piece}), None).to_string());
            let said = served.voice().speak(answer.talk(&conversation), &mut say, &run)?;
            let usage = together(answer.usage, said);
            send(head.event(value!({}), Some("stop")).to_string())?;
            if let (true, Some(usage)) = (include_usage, usage) {
                let mut last = head.event(value!({}), None);
                last["choices"] = value!([]);
                last["usage"] = counts(usage);
                send(last.to_string())?;
            }
            Ok(())
        };
        let last = match streamed() {
            Ok(()) => Piece::Done,
            Err(e) => Piece::Event(Problem::of(&e).body().to_string()),
        };
        // Nobody may be there to hear it.
        let _ = sender.blocking_send(last);
    });
    let begun = match timeout_at(deadline, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(_)) => Err(Problem::internal(format!("the voice ended without a word: {:?}", work.await.err()))),
        Err(_) => Err(Problem::timed_out()),
    };
    match begun {
        Err(problem) => refusal(access, problem),
        Ok(Begun::Stream(chat, answer, number)) => {
            note(&mut access, &[chat.ask], &[answer], number, shared.config.log_text);
            response(200, "text/event-stream", Reply::stream(access, pieces, cancel, deadline))
        }
        Ok(Begun::Whole(chat, answer, number, model, text, usage)) => {
            let extension = Extension { generation: number, answer: &answer };
            let body = Completion {
                id: format!("chatcmpl-{}", access.id),
                object: "chat.completion",
                created,
                model,
                choices: value!([{
                    "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
                }]),
                usage: together(answer.usage, usage).map(counts),
                causerie: extension,
            };
            note(&mut access, &[chat.ask], std::slice::from_ref(&answer), number, shared.config.log_text);
            json(access, 200, &body)
        }
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    causerie: Extension<'a>,
}

/// An event with the items in it, scores as they are (a `Value` would turn 0.1 into 0.10000000149).
fn with_items(event: Value, extension: &Extension) -> Result<String> {
    #[derive(Serialize)]
    struct With<'a> {
        #[serde(flatten)]
        event: serde_json::Map<String, Value>,
        causerie: &'a Extension<'a>,
    }
    let Value::Object(event) = event else { return Err(Error::bug("serve: an event that is no object")) };
    serde_json::to_string(&With { event, causerie: extension }).map_err(|e| Error::bug(format!("serve: {e}")))
}
