//! `POST /v1/chat/completions`: OpenAI's shape, whole or streamed, with the items in a field of their own, `causerie`.

use super::access::Access;
use super::answer::{AnswerBody, answer as answer_all};
use super::problem::{Outcome, Problem};
use super::reply::{Piece, ReplyBody, json, refusal, response};
use super::shared::{ComputeTurn, Shared, model_name};
use super::voice::ReplySubject;
use super::wire::{self, ChatRequest};
use crate::dataset::Conversation;
use crate::error::{Error, Result};
use crate::recommend::TokenCount;
use crate::recommend::service::Generation;
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
    answer: &'a AnswerBody,
}

/// What all parts of one reply share.
struct Head {
    id: String,
    created: u64,
    model: String,
    /// Every event has a place for the usage, which the last one fills.
    include_usage: bool,
}

impl Head {
    fn event(&self, delta: Value, finish: Option<&str>) -> Value {
        self.chunk(value!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
    }
    fn chunk(&self, choices: Value, usage: Value) -> Value {
        let mut event = value!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            event["usage"] = usage;
        }
        event
    }
}

/// OpenAI's usage: tokens that a language model read and wrote. A system without one computes no tokens, and says 0.
fn usage(tokens: TokenCount) -> Value {
    let TokenCount { read, written } = tokens;
    value!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written})
}

fn subject<'a>(answer: &'a AnswerBody, conversation: &'a Conversation) -> ReplySubject<'a> {
    ReplySubject { conversation, rows: &answer.rows, names: &answer.names }
}

/// Reads the request and finds the items.
fn find(
    body: &[u8],
    shared: &Shared,
    generation: &Generation,
    soon: Instant,
    run: &Run,
) -> Outcome<(ChatRequest, AnswerBody)> {
    let mut chat = wire::chat(body, &shared.config)?;
    let model = model_name(&generation.service);
    if chat.model.as_ref().is_some_and(|m| *m != model && m != "causerie") {
        return Err(Problem::no_such_model(&model));
    }
    chat.asked.top_k = chat.asked.top_k.or(Some(ITEMS));
    let asked = std::slice::from_ref(&chat.asked);
    let answer = answer_all(generation, asked, shared.config.max_answer, soon, run)?.pop();
    answer.map(|a| (chat, a)).ok_or_else(|| Problem::internal("no answer to one request".into()))
}

/// What the blocking part tells the connection before the first word: a stream begins, or the reply is whole.
enum ReplyStart {
    Stream(Box<ChatRequest>, AnswerBody, u64),
    Whole(Box<ChatRequest>, AnswerBody, u64, String, String, TokenCount),
}

/// Answers a chat request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: IpAddr,
    mut access: Access,
    body: Vec<u8>,
) -> Response<ReplyBody> {
    let ComputeTurn { permit, run, generation, cancel, deadline, soon } = match shared.start(peer).await {
        Ok(started) => started,
        Err(problem) => return refusal(access, problem),
    };
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let id = format!("chatcmpl-{}", access.id);
    let (tell, begun) = oneshot::channel();
    // A list never waits for its reader: items, words, end and usage fit in.
    let (sender, pieces) = mpsc::channel(AHEAD.max(shared.config.max_top_k + 8));
    let working = shared.clone();
    let work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let (chat, answer) = match find(&body, &working, &generation, soon, &run) {
            Ok(found) => found,
            Err(problem) => return drop(tell.send(Err(problem))),
        };
        let (service, number, voice) = (&generation.service, generation.number, working.voice);
        let model = model_name(service);
        if !chat.stream {
            let mut text = String::new();
            let mut say = |piece: &str| {
                text.push_str(piece);
                run.check()
            };
            let spoken = voice.speak(service, subject(&answer, &chat.asked.conversation), &mut say, &run);
            let whole = spoken.map(|spoken| {
                let tokens = answer.tokens + spoken;
                ReplyStart::Whole(Box::new(chat), answer, number, model, text, tokens)
            });
            return drop(tell.send(whole.map_err(|e| Problem::of(&e))));
        }
        let head = Head { id, created, model, include_usage: chat.include_usage };
        let conversation = chat.asked.conversation.clone();
        let begun = ReplyStart::Stream(Box::new(chat), answer.clone(), number);
        if tell.send(Ok(begun)).is_err() {
            return;
        }
        let send = |event: String| sender.blocking_send(Piece::Event(event)).map_err(|_| Error::cancelled());
        let streamed = || -> Result<()> {
            // The items go first: a page can show them while the words come.
            let first = head.event(value!({"role": "assistant", "content": ""}), None);
            send(with_items(first, &Extension { generation: number, answer: &answer })?)?;
            let mut say = |piece: &str| send(head.event(value!({"content": piece}), None).to_string());
            let spoken = voice.speak(service, subject(&answer, &conversation), &mut say, &run)?;
            send(head.event(value!({}), Some("stop")).to_string())?;
            if head.include_usage {
                send(head.chunk(value!([]), usage(answer.tokens + spoken)).to_string())?;
            }
            Ok(())
        };
        let last = match streamed() {
            Ok(()) => Piece::Done,
            Err(e) => Piece::Failed(Problem::of(&e)),
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
        Ok(ReplyStart::Stream(chat, answer, number)) => {
            access.answered(&[chat.asked], &[answer], number);
            response(200, "text/event-stream", ReplyBody::stream(access, pieces, cancel, deadline))
        }
        Ok(ReplyStart::Whole(chat, answer, number, model, text, tokens)) => {
            let extension = Extension { generation: number, answer: &answer };
            let body = Completion {
                id: format!("chatcmpl-{}", access.id),
                object: "chat.completion",
                created,
                model,
                choices: value!([{
                    "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
                }]),
                usage: usage(tokens),
                causerie: extension,
            };
            access.answered(&[chat.asked], std::slice::from_ref(&answer), number);
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
    usage: Value,
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
