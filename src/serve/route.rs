//! From a request to its answer: which route, who may, and what it does.

use super::access::Access;
use super::auth::check_site;
use super::body::read_json;
use super::metrics::Now;
use super::problem::{Outcome, Problem};
use super::reply::{Reply, json, refusal, response};
use super::served::{Answer, Ask};
use super::server::Shared;
use super::slots::ConnectionSlot;
use super::wire::{self, Recommend};
use super::{catalogue, chat};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response};
use serde_json::{Value, json as value};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    Recommend,
    Chat,
    Models,
    Catalogue,
    Reload,
    Health,
    Metrics,
    Page,
    /// Everything else.
    Unknown,
}

/// The page that `/` serves.
const PAGE: &str = include_str!("page.html");

impl Route {
    pub const ALL: [Route; 9] = [
        Route::Recommend,
        Route::Chat,
        Route::Models,
        Route::Catalogue,
        Route::Reload,
        Route::Health,
        Route::Metrics,
        Route::Page,
        Route::Unknown,
    ];

    fn of(path: &str) -> Route {
        match path {
            "/v1/recommend" => Route::Recommend,
            "/v1/chat/completions" => Route::Chat,
            "/v1/models" => Route::Models,
            "/v1/catalogue" => Route::Catalogue,
            "/v1/reload" => Route::Reload,
            "/health" | "/health/live" | "/health/ready" => Route::Health,
            "/metrics" => Route::Metrics,
            "/" => Route::Page,
            other if other.starts_with("/v1/models/") => Route::Models,
            _ => Route::Unknown,
        }
    }

    /// Its name in the log and the metrics: never what the caller wrote.
    pub fn label(self) -> &'static str {
        match self {
            Route::Recommend => "/v1/recommend",
            Route::Chat => "/v1/chat/completions",
            Route::Models => "/v1/models",
            Route::Catalogue => "/v1/catalogue",
            Route::Reload => "/v1/reload",
            Route::Health => "/health",
            Route::Metrics => "/metrics",
            Route::Page => "/",
            Route::Unknown => "unknown",
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Route::Recommend | Route::Chat | Route::Reload => "POST",
            Route::Catalogue => "GET, HEAD, POST",
            Route::Models | Route::Health | Route::Metrics | Route::Page | Route::Unknown => "GET, HEAD",
        }
    }

    /// The page and the health are open: the page asks for the token itself, and health says nothing of the data.
    fn is_open(self) -> bool {
        match self {
            Route::Health | Route::Page | Route::Unknown => true,
            Route::Recommend | Route::Chat | Route::Models | Route::Catalogue | Route::Reload | Route::Metrics => false,
        }
    }
}

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
) -> Result<Response<Reply>, Infallible> {
    let id = request.headers().get("x-request-id").and_then(|v| v.to_str().ok());
    let route = Route::of(request.uri().path());
    let access = Access::new(shared.clone(), slot, method_name(request.method()), route, peer, id);
    Ok(match check(&shared, route, &request) {
        Ok(()) => answer(shared, peer, access, request).await,
        Err(problem) => refusal(access, problem),
    })
}

/// Everything that can be said before the body is read.
fn check(shared: &Shared, route: Route, request: &Request<Incoming>) -> Outcome<()> {
    check_site(request.headers(), shared.open_loopback)?;
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

async fn answer(shared: Arc<Shared>, peer: IpAddr, mut access: Access, request: Request<Incoming>) -> Response<Reply> {
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
            let serving = current.as_ref().map(|g| (g.served.model(), g.number, g.served.items(), g.withdrawn.len()));
            let now = Now { ready: shared.is_ready(), waiting: shared.admission.waiting(), serving };
            let text = shared.metrics.text(&now);
            response(200, "text/plain; version=0.0.4; charset=utf-8", Reply::whole(access, text))
        }
        Route::Models => match models(&shared, request.uri().path()) {
            Ok(body) => json(access, 200, &body),
            Err(problem) => refusal(access, problem),
        },
        Route::Catalogue if request.method() != Method::POST => match catalogue::show(&shared) {
            Ok(body) => json(access, 200, &body),
            Err(problem) => refusal(access, problem),
        },
        Route::Reload => match catalogue::reload(&shared).await {
            Ok(body) => json(access, 200, &body),
            Err(problem) => refusal(access, problem),
        },
        Route::Recommend | Route::Chat | Route::Catalogue => {
            let body = match read_json(request, &shared.config).await {
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

/// Counts an answer into its request's line of the log.
pub(super) fn note(access: &mut Access, asks: &[Ask], answers: &[Answer], generation: u64, log_text: bool) {
    access.conversations = asks.len() as u64;
    access.items = answers.iter().map(|a| a.items.len() as u64).sum();
    access.generation = generation;
    if log_text {
        access.text = Some(asks.iter().map(|a| value!(a.conversation.turns)).collect());
    }
}

async fn recommend(shared: Arc<Shared>, peer: IpAddr, mut access: Access, body: Vec<u8>) -> Response<Reply> {
    let config = shared.config.clone();
    let work = shared.compute(peer, move |generation, soon, run| {
        let (asks, many) = match wire::recommend(&body, &config)? {
            Recommend::One(ask) => (vec![ask], false),
            Recommend::Many(asks) => (asks, true),
        };
        let answers = generation.served.answer(&asks, &generation.withdrawn, config.max_answer, soon, run)?;
        let model = generation.served.model().to_string();
        Ok((asks, answers, many, generation.number, model))
    });
    let (asks, mut answers, many, generation, model) = match work.await {
        Ok(done) => done,
        Err(problem) => return refusal(access, problem),
    };
    note(&mut access, &asks, &answers, generation, shared.config.log_text);
    let head = value!({"id": access.id, "model": model, "generation": generation});
    let body = match (many, answers.pop()) {
        (false, Some(answer)) => Headed { head, answer: Some(answer), data: None },
        (_, last) => {
            answers.extend(last);
            Headed { head, answer: None, data: Some(answers) }
        }
    };
    json(access, 200, &body)
}

/// An answer, or a list of them, behind what they share.
#[derive(serde::Serialize)]
struct Headed {
    #[serde(flatten)]
    head: Value,
    #[serde(flatten)]
    answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Answer>>,
}

fn models(shared: &Shared, path: &str) -> Outcome<Value> {
    let current = shared.current()?;
    let model = value!({
        "id": current.served.model(), "object": "model", "created": shared.started_s, "owned_by": "causerie",
    });
    match path.strip_prefix("/v1/models/") {
        None => Ok(value!({"object": "list", "data": [model]})),
        Some(asked) if asked == current.served.model() => Ok(model),
        Some(_) => Err(no_such_model(current.served.model())),
    }
}

/// Another model was asked for than the one there is.
pub(super) fn no_such_model(there_is: &str) -> Problem {
    let message = format!("no such model: this server has {there_is:?}; ask for that, or leave the field out");
    Problem { param: Some("model".into()), ..Problem::new(404, "model_not_found", message) }
}

/// The chat page; a nonce lets its own script run, and no other.
fn page(access: Access) -> Response<Reply> {
    let nonce = blake3::hash(format!("{} {:?}", access.id, std::time::Instant::now()).as_bytes()).to_hex();
    let text = PAGE.replace("NONCE", &nonce);
    let mut response = response(200, "text/html; charset=utf-8", Reply::whole(access, text));
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
