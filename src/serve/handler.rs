//! From a request to its answer: which route, who may, and what it does.

use super::access::Access;
use super::answer::{AnswerBody, answer as answer_all};
use super::auth::{check_site, host_of};
use super::body::{read_json, take_rest};
use super::metrics::Now;
use super::problem::{Outcome, Problem};
use super::reply::{ReplyBody, json, refusal, response};
use super::route::Route;
use super::shared::{Shared, model_name};
use super::slots::ConnectionSlot;
use super::wire::{self, Recommend};
use super::{catalogue, chat, reload};
use crate::recommend::service::Generation;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response};
use serde_json::{Value, json as value};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The page that `/` serves.
const PAGE: &str = include_str!("page.html");

/// Bytes of a path and its query at most; the longest of ours has a tenth of it.
const LONGEST_PATH: usize = 8192;

/// The name of a method for the log: one of these, whatever the caller wrote.
fn method_name(method: &Method) -> &'static str {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH]
        .iter()
        .zip(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
        .find(|(known, _)| *known == method)
        .map_or("other", |(_, name)| name)
}

/// Answers one request.
pub(super) async fn handle(
    shared: Arc<Shared>,
    peer: IpAddr,
    slot: Arc<ConnectionSlot>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let id = request.headers().get("x-request-id").and_then(|v| v.to_str().ok());
    let route = Route::of(request.uri().path());
    let access = Access::new(shared.clone(), slot, method_name(request.method()), route, peer, id);
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let (head, mut body) = request.into_parts();
    let head = Request::from_parts(head, ());
    let mut response = match check(&shared, route, &head) {
        Ok(()) => answer(shared.clone(), peer, access, &head, &mut body).await,
        Err(problem) => refusal(access, problem),
    };
    // A length beside the chunks is passed over, and cannot be seen from here: a proxy in front that went by it would take the
    // end of this body for the next request, or the other way about. There is no next one. Nor is there when this process
    // ends soon: callers go elsewhere. Nor behind a body that was not read to its end.
    let ends = chunked || response.headers().contains_key(CONNECTION) || shared.draining.load(Ordering::Relaxed);
    if ends || !take_rest(&head, &mut body).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Everything that can be said before the body is read.
fn check(shared: &Shared, route: Route, request: &Request<()>) -> Outcome<()> {
    let host = host_of(request)?;
    check_site(host, request.headers(), shared.open_loopback)?;
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if encodings.next().is_some_and(|first| !is_chunked(first) || encodings.next().is_some()) {
        let message = "Transfer-Encoding may be `chunked` and nothing else: send the body as it is";
        return Err(Problem::new(400, "transfer_encoding", message));
    }
    if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > LONGEST_PATH) {
        let message = format!("the path is longer than {LONGEST_PATH} bytes: what is asked goes into the body");
        return Err(Problem::new(414, "uri_too_long", message));
    }
    if route == Route::Unknown {
        let message = "no such route: POST /v1/recommend, /v1/chat/completions, /v1/catalogue, /v1/reload; GET /v1/models, \
                       /v1/catalogue, /health, /metrics, /";
        return Err(Problem::new(404, "no_such_route", message));
    }
    let methods = route.methods();
    if !methods.split(", ").any(|m| m == request.method().as_str()) {
        let message = format!("{} takes {methods}", route.label());
        return Err(Problem::new(405, "method_not_allowed", message).allow(methods));
    }
    match &shared.token {
        Some(token) if !route.is_open() => token.check(request.headers()),
        Some(_) | None => Ok(()),
    }
}

async fn answer(
    shared: Arc<Shared>,
    peer: IpAddr,
    mut access: Access,
    request: &Request<()>,
    body: &mut Incoming,
) -> Response<ReplyBody> {
    match access.route {
        Route::Page => page(access),
        Route::Health => {
            let status = if shared.is_ready() || request.uri().path() == "/health/live" { 200 } else { 503 };
            let current = shared.current().ok();
            let body = value!({
                "status": if status == 200 { "ok" } else { "not ready" }, "live": true, "ready": shared.is_ready(),
                "generation": current.map(|g| g.number),
            });
            json(access, status, &body)
        }
        Route::Metrics => {
            let current = shared.current().ok();
            let model = current.as_ref().map(|g| model_name(&g.service)).unwrap_or_default();
            let counts = |g: &Arc<Generation>| (g.number, g.service.items().len(), g.withdrawn.len());
            let serving = current.as_ref().map(counts).map(|(n, items, out)| (model.as_str(), n, items, out));
            let now = Now {
                ready: shared.is_ready(),
                computing: shared.admission.computing(),
                waiting: shared.admission.waiting(),
                serving,
            };
            let text = shared.metrics.text(&now);
            response(200, "text/plain; version=0.0.4; charset=utf-8", ReplyBody::whole(access, text))
        }
        Route::Models => match models(&shared, request.uri().path()) {
            Ok(body) => json(access, 200, &body),
            Err(problem) => refusal(access, problem),
        },
        Route::Catalogue if request.method() != Method::POST => match catalogue::show(&shared) {
            Ok(body) => json(access, 200, &body),
            Err(problem) => refusal(access, problem),
        },
        Route::Reload => {
            access.arrived();
            match reload::reload(&shared).await {
                Ok(body) => json(access, 200, &body),
                Err(problem) => refusal(access, problem),
            }
        }
        Route::Recommend | Route::Chat | Route::Catalogue => {
            let body = match read_json(request, body, &shared.config).await {
                Ok(body) => body,
                Err(problem) => return refusal(access, problem),
            };
            access.arrived();
            access.bytes_in = body.len() as u64;
            match access.route {
                Route::Chat => chat::answer(shared, peer, access, body).await,
                Route::Catalogue => match catalogue::change(&shared, &body) {
                    Ok(body) => json(access, 200, &body),
                    Err(problem) => refusal(access, problem),
                },
                Route::Recommend
                | Route::Models
                | Route::Reload
                | Route::Health
                | Route::Metrics
                | Route::Page
                | Route::Unknown => recommend(shared, peer, access, body).await,
            }
        }
        Route::Unknown => refusal(access, Problem::new(404, "no_such_route", "no such route")),
    }
}

async fn recommend(shared: Arc<Shared>, peer: IpAddr, mut access: Access, body: Vec<u8>) -> Response<ReplyBody> {
    let config = shared.config.clone();
    let work = shared.compute(peer, move |generation, soon, run| {
        let (asks, many) = match wire::recommend(&body, &config)? {
            Recommend::One(ask) => (vec![*ask], false),
            Recommend::Many(asks) => (asks, true),
        };
        let answers = answer_all(generation, &asks, config.max_answer, soon, run)?;
        let model = model_name(&generation.service);
        Ok((asks, answers, many, generation.number, model))
    });
    let (asks, mut answers, many, generation, model) = match work.await {
        Ok(done) => done,
        Err(problem) => return refusal(access, problem),
    };
    access.answered(&asks, &answers, generation);
    let head = value!({"id": access.id, "model": model, "generation": generation});
    let body = match (many, answers.pop()) {
        (false, Some(answer)) => RecommendBody { head, answer: Some(answer), data: None },
        (_, last) => {
            answers.extend(last);
            RecommendBody { head, answer: None, data: Some(answers) }
        }
    };
    json(access, 200, &body)
}

/// An answer, or a list of them, behind what they share.
#[derive(serde::Serialize)]
struct RecommendBody {
    #[serde(flatten)]
    head: Value,
    #[serde(flatten)]
    answer: Option<AnswerBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<AnswerBody>>,
}

fn models(shared: &Shared, path: &str) -> Outcome<Value> {
    let current = shared.current()?;
    let name = model_name(&current.service);
    let model = value!({
        "id": name, "object": "model", "created": shared.started_s, "owned_by": "causerie",
    });
    match path.strip_prefix("/v1/models/") {
        None => Ok(value!({"object": "list", "data": [model]})),
        Some(asked) if asked == name => Ok(model),
        Some(_) => Err(Problem::no_such_model(&name)),
    }
}

/// The chat page; a nonce lets its own script run, and no other.
fn page(access: Access) -> Response<ReplyBody> {
    let nonce = blake3::hash(format!("{} {:?}", access.id, std::time::Instant::now()).as_bytes()).to_hex();
    let text = PAGE.replace("NONCE", &nonce);
    let mut response = response(200, "text/html; charset=utf-8", ReplyBody::whole(access, text));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert("content-security-policy", policy);
    }
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    response
}
