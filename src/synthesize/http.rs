//! The teacher behind an OpenAI-compatible endpoint. The only file that can reach a network, and it reaches one address:
//! no redirect is followed.
//!
//! The key comes from an environment variable and goes into one header; whatever this file says itself (errors, `Debug`) has
//! it blacked out, should the server echo it. An answer is data and stays as it is.

use super::completion::{Completion, decode};
use super::fields::{Field, Fields};
use super::pace::retry_after;
use super::secrets::Secrets;
use super::server_error::ServerError;
use super::teacher::{Answer, Class, Failure, Request, Teacher};
use crate::artifact::content_hash;
use crate::config::{Structured, SynthesizeConfig};
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

/// Bytes of one response at most, after decompression.
const BODY_BYTES: u64 = 16 << 20;

/// A teacher behind `{base_url}/chat/completions`.
pub struct HttpTeacher {
    endpoint: Arc<Endpoint>,
    in_flight: usize,
}

/// What a request's own thread needs.
struct Endpoint {
    agent: ureq::Agent,
    url: String,
    model: String,
    key: Option<String>,
    secrets: Secrets,
    timeout_ms: u64,
    /// It is the judge's: messages name the settings of its own.
    is_judge: bool,
    /// What is sent: the settings, less what this server has refused.
    fields: Mutex<Fields>,
}

impl std::fmt::Debug for HttpTeacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTeacher")
            .field("url", &self.endpoint.url)
            .field("model", &self.endpoint.model)
            .finish_non_exhaustive()
    }
}

impl HttpTeacher {
    /// The endpoint that `config` names; nothing is sent yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an address, a proxy, a certificate file or a key variable that cannot be used.
    pub fn new(config: &SynthesizeConfig) -> Result<HttpTeacher> {
        HttpTeacher::with_key_of(config, false)
    }

    /// The endpoint that judges (`synthesize.judge_base_url` and its sisters); nothing is sent yet.
    ///
    /// # Errors
    /// As [`HttpTeacher::new`].
    pub(super) fn judge(config: &SynthesizeConfig) -> Result<HttpTeacher> {
        let of_its_own = SynthesizeConfig {
            base_url: config.judge_base_url.clone(),
            model: config.judge_model.clone(),
            api_key_env: config.judge_api_key_env.clone(),
            ..config.clone()
        };
        HttpTeacher::with_key_of(&of_its_own, true).map_err(|e| Error::new(e.kind(), settings_of_judge(e.message())))
    }

    fn with_key_of(config: &SynthesizeConfig, is_judge: bool) -> Result<HttpTeacher> {
        let name = &config.api_key_env;
        let key = if name.is_empty() {
            None
        } else {
            // Who puts the key itself there must not find it in an error.
            let is_name = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let missing = || match is_name {
                true => Error::invalid(format!(
                    "synthesize.api_key_env = {name:?}: there is no such environment variable; export it"
                )),
                false => Error::invalid(
                    "synthesize.api_key_env does not hold the name of an environment variable; put the key into a \
                     variable and name that",
                ),
            };
            Some(std::env::var_os(name).ok_or_else(missing)?.to_string_lossy().trim().to_string())
        };
        HttpTeacher::made(config, key, is_judge)
    }

    /// [`HttpTeacher::new`] with a key that is at hand.
    #[cfg(test)]
    pub(super) fn with_key(config: &SynthesizeConfig, key: Option<String>) -> Result<HttpTeacher> {
        HttpTeacher::made(config, key, false)
    }

    fn made(config: &SynthesizeConfig, key: Option<String>, is_judge: bool) -> Result<HttpTeacher> {
        if key.as_ref().is_some_and(|k| k.is_empty() || !k.bytes().all(|b| b.is_ascii_graphic())) {
            let name = &config.api_key_env;
            return Err(Error::invalid(format!(
                "the variable {name} that synthesize.api_key_env names holds no usable key"
            )));
        }
        let base = config.base_url.trim().trim_end_matches('/');
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        let authority = host.map(|h| h.split(['/', '?', '#']).next().unwrap_or(""));
        match authority {
            None | Some("") => {
                let shown = if base.contains('@') { "…" } else { base };
                return Err(Error::invalid(format!(
                    "synthesize.base_url = {shown:?}: an address like http://10.0.0.5:8000/v1 is needed"
                )));
            }
            Some(authority) if authority.contains('@') => {
                return Err(Error::invalid(
                    "synthesize.base_url holds a user or password; put the key into a variable and name it in \
                     synthesize.api_key_env",
                ));
            }
            Some(_) => {}
        }
        if config.model.is_empty() {
            return Err(Error::invalid("synthesize.model is empty; name the model that the endpoint serves"));
        }
        let mut builder = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .user_agent(format!("causerie/{}", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(config.in_flight);
        if !config.proxy.is_empty() {
            let proxy = ureq::Proxy::new(&config.proxy).map_err(|_| {
                Error::invalid("synthesize.proxy: not a proxy's URL (http://host:port, socks is not built in)")
            })?;
            builder = builder.proxy(Some(proxy));
        }
        if !config.ca_file.is_empty() {
            builder = builder.tls_config(tls(&config.ca_file)?);
        }
        let endpoint = Endpoint {
            agent: builder.build().into(),
            url: format!("{base}/chat/completions"),
            model: config.model.clone(),
            secrets: Secrets::new(key.as_deref().unwrap_or(""), &config.proxy),
            key,
            timeout_ms: config.timeout_ms,
            is_judge,
            fields: Mutex::new(Fields::new(config)),
        };
        Ok(HttpTeacher { endpoint: Arc::new(endpoint), in_flight: config.in_flight })
    }
}

/// A message about a teacher's settings as one about the judge's.
fn settings_of_judge(message: &str) -> String {
    let own = ["base_url", "model", "api_key_env"];
    own.iter().fold(message.to_string(), |message, key| {
        message.replace(&format!("synthesize.{key}"), &format!("synthesize.judge_{key}"))
    })
}

/// The teacher's name, part of every request's id: answers of a batch and of the endpoint itself are the same answers.
pub(super) fn name_of(model: &str) -> String {
    format!("http/{model}")
}

/// Trusts the certificates of one PEM file and no others.
fn tls(ca_file: &str) -> Result<ureq::tls::TlsConfig> {
    let path = std::path::Path::new(ca_file);
    let pem = std::fs::read(path).map_err(|e| Error::io(path, e).context("synthesize.ca_file"))?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        let item = item.map_err(|e| Error::format(path, 0, format!("synthesize.ca_file is not PEM: {e}")))?;
        // A key in the file is of no use here.
        if let ureq::tls::PemItem::Certificate(certificate) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(Error::format(path, 0, "synthesize.ca_file: no certificate in it"));
    }
    Ok(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&certificates)).build())
}

impl Teacher for HttpTeacher {
    fn name(&self) -> String {
        name_of(&self.endpoint.model)
    }
    fn in_flight(&self) -> usize {
        self.in_flight
    }
    fn answer(&self, request: &Request, _attempt: usize, run: &Run) -> std::result::Result<Answer, Failure> {
        // A blocked read cannot be interrupted: it has its own thread, which a cancel leaves behind to its time-out.
        let (sender, result) = mpsc::channel();
        let (endpoint, request) = (self.endpoint.clone(), request.clone());
        let thread = std::thread::Builder::new().name("causerie-http".into()).spawn(move || {
            let _ = sender.send(endpoint.ask(&request));
        });
        if let Err(e) = thread {
            return Err(Failure::new(Class::Broken, format!("cannot start a thread for a request: {e}")));
        }
        loop {
            match result.recv_timeout(Duration::from_millis(20)) {
                Ok(outcome) => return outcome,
                Err(mpsc::RecvTimeoutError::Timeout) if run.is_cancelled() => {
                    return Err(Failure::new(Class::Cancelled, "cancelled"));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(Class::Stop, "the thread of a request died; please report it"));
                }
            }
        }
    }
}

/// A failed attempt, and the field of the request that the server refused.
struct Refusal {
    failure: Failure,
    field: Option<Field>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { failure, field: None }
    }
}

impl Endpoint {
    fn failure(&self, class: Class, message: &str) -> Failure {
        let message = self.secrets.redact(message);
        match self.is_judge {
            true => Failure::new(class, format!("judge: {}", settings_of_judge(&message))),
            false => Failure::new(class, format!("teacher: {message}")),
        }
    }

    /// Asks; where the server does not take a field of the request, asks again without it, which costs nothing and counts as
    /// the same attempt.
    fn ask(&self, request: &Request) -> std::result::Result<Answer, Failure> {
        loop {
            let sent = *self.fields.lock().unwrap_or_else(PoisonError::into_inner);
            let refusal = match self.post(request, sent) {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            let Some(field) = refusal.field else { return Err(refusal.failure) };
            // No form was asked for: the words mean something else.
            if field == Field::Form && sent.form() == Structured::Off {
                return Err(refusal.failure);
            }
            if !self.learn(sent, field, &refusal.failure) {
                return Err(Failure { class: Class::Stop, ..refusal.failure });
            }
        }
    }

    /// What the next request leaves out or calls by another name; false: nothing is left to change.
    fn learn(&self, sent: Fields, field: Field, failure: &Failure) -> bool {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request in flight may have learnt it already.
        if *fields != sent {
            return true;
        }
        let Some(next) = sent.without(field) else { return false };
        *fields = next;
        let change = match field {
            Field::MaxTokens => "max_completion_tokens is sent in its place",
            Field::MaxCompletionTokens => "max_tokens is sent in its place",
            Field::Temperature | Field::Seed => "it is left out from now on",
            Field::Stream => "answers are streamed from now on",
            Field::Form if next.form() == Structured::Off => "answers are read as plain text from now on",
            Field::Form => "another form of answers is tried",
        };
        let name =
            if field == Field::Form { format!("{} ({})", field.name(), sent.form()) } else { field.name().to_string() };
        log(Level::Warn, &format!("synthesize: {name} is refused, {change}; {}", failure.error));
        true
    }

    fn post(&self, request: &Request, fields: Fields) -> std::result::Result<Answer, Refusal> {
        let mut body = fields.body(&self.model, request);
        if body.get("stream").is_none() {
            body["stream"] = false.into();
        }
        let body = body.to_string();
        // The same for an attempt whose outcome nobody saw and for the one that makes up for it, in this run or the next: a
        // server that honours it answers once.
        let attempt = content_hash([request.id.as_bytes(), &request.sample.to_le_bytes(), body.as_bytes()]);
        let mut call = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("idempotency-key", format!("causerie-{attempt}"));
        if let Some(key) = &self.key {
            call = call.header("authorization", format!("Bearer {key}"));
        }
        let mut response = call.send(&body).map_err(|e| self.unsent(e))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_string();
        let (kind, location) = (header("content-type"), header("location"));
        let pause = match header("retry-after-ms").trim().parse::<f64>() {
            Ok(ms) if (0.0..1e9).contains(&ms) => Some(Duration::from_secs_f64(ms / 1e3)),
            Ok(_) | Err(_) => retry_after(&header("retry-after"), SystemTime::now()),
        };
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(BODY_BYTES + 1).read_to_end(&mut bytes);
        let text = decode(&bytes, &kind, BODY_BYTES + 1);
        if !(200..300).contains(&status) {
            let error = ServerError::parse(&self.secrets.redact(&text));
            let refusal = self.refused(status, &location, pause, &error);
            return Err(Refusal { failure: Failure { retry_after: pause, ..refusal.failure }, ..refusal });
        }
        if bytes.len() as u64 > BODY_BYTES {
            let why = format!("an answer of more than {} MiB from {}", BODY_BYTES >> 20, self.url);
            return Err(self.failure(Class::Useless, &why).into());
        }
        let answer = self.read_answer(&text, &kind, body.len());
        match (read, answer) {
            // Some servers announce more bytes than they have, or close without the last mark: whole is whole.
            (Ok(_), answer) | (Err(_), answer @ Ok(_)) => answer,
            (Err(e), Err(_)) => {
                let why = format!("the answer from {} broke off after {} bytes: {e}", self.url, bytes.len());
                Err(self.failure(Class::Lost, &why).into())
            }
        }
    }

    /// A transport's failure.
    fn unsent(&self, error: ureq::Error) -> Failure {
        let text = error.to_string();
        let refused = matches!(
            &error,
            ureq::Error::Io(e) if matches!(e.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable)
        );
        if text.to_lowercase().contains("certificate") || matches!(error, ureq::Error::Tls(_) | ureq::Error::Rustls(_))
        {
            let why =
                format!("{}: {text}; set synthesize.ca_file to the PEM file of the authority that signed it", self.url);
            return self.failure(Class::Stop, &why);
        }
        if matches!(error, ureq::Error::Timeout(_)) {
            let why = format!(
                "no answer from {} within {} ms ({text}); see synthesize.timeout_ms",
                self.url, self.timeout_ms
            );
            return self.failure(Class::Lost, &why);
        }
        if matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl) {
            return self.failure(
                Class::Stop,
                &format!("{}: {text}; check synthesize.base_url and synthesize.proxy", self.url),
            );
        }
        if refused
            || matches!(
                error,
                ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_)
            )
        {
            let why = format!("cannot reach {}: {text}; is it running, is synthesize.base_url right?", self.url);
            return self.failure(Class::Broken, &why);
        }
        self.failure(Class::Lost, &format!("{} closed the connection without an answer: {text}", self.url))
    }

    /// An error of the server's own: by a status that is not 2xx, or in the body of a 200.
    fn refused(&self, status: u16, location: &str, pause: Option<Duration>, error: &ServerError) -> Refusal {
        let says = error.quoted();
        let at = format!("{status} from {}", self.url);
        let failure = match status {
            300..=399 => {
                let why =
                    format!("{at}: redirects are not followed; set synthesize.base_url to where {location:?} belongs");
                self.failure(Class::Stop, &why)
            }
            401 | 403 if self.key.is_none() => self.failure(
                Class::Stop,
                &format!("{at}: set synthesize.api_key_env to the name of the variable with the key{says}"),
            ),
            401 | 403 => self.failure(
                Class::Stop,
                &format!("{at}: the key in the variable that synthesize.api_key_env names is refused{says}"),
            ),
            402 => self.failure(Class::Stop, &format!("{at}: the account has no credit left{says}")),
            404 | 405 => self.failure(
                Class::Stop,
                &format!(
                    "{at}: check synthesize.base_url (it ends before /chat/completions) and synthesize.model{says}"
                ),
            ),
            429 if error.quota_is_used_up() => {
                self.failure(Class::Stop, &format!("{at}: the account's quota is used up{says}"))
            }
            429 => {
                self.failure(Class::Throttled, &format!("{at}: too many requests; lower synthesize.in_flight{says}"))
            }
            503 | 529 if pause.is_some() => self.failure(Class::Throttled, &format!("{at}: overloaded{says}")),
            // A gateway stopped waiting: the model behind it may have answered.
            408 | 504 | 524 => self.failure(Class::Lost, &format!("{at}: no answer in time{says}")),
            425 | 500.. => self.failure(Class::Broken, &format!("{at}{says}")),
            _ => self.failure(Class::Refused, &format!("{at}{}{says}", error.advice(status))),
        };
        // Some gateways answer 500 to what the server behind them refused.
        let field = matches!(status, 400 | 406..=407 | 409..=422 | 500 | 501).then(|| error.refused_field()).flatten();
        Refusal { failure, field }
    }

    /// The answer in the body of a 200.
    fn read_answer(&self, text: &str, kind: &str, request_bytes: usize) -> std::result::Result<Answer, Refusal> {
        let at = &self.url;
        let quoted = || ServerError::parse(&self.secrets.redact(text)).quoted();
        let completion = Completion::parse(text)
            .map_err(|why| self.failure(Class::Useless, &format!("{at} answered {kind:?}, which {why}{}", quoted())))?;
        let tokens = completion.tokens(request_bytes);
        if let Some(error) = completion.error() {
            let error = ServerError::parse(&self.secrets.redact(&error.to_string()));
            if completion.begun() {
                let why = format!("an error from {at} in the middle of an answer{}", error.quoted());
                return Err(self.failure(Class::Lost, &why).into());
            }
            return Err(self.refused(error.status_in_place_of_200(), "", None, &error));
        }
        completion.answer(request_bytes).map_err(|why| {
            let mut message = format!("{at}: {why}");
            if why == super::completion::Unusable::NoChoices {
                message.push_str(&quoted());
            }
            Failure { tokens, ..self.failure(why.class(), &message) }.into()
        })
    }
}
