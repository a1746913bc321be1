//! The teacher behind an OpenAI-compatible endpoint. The only file that can reach a network, and it reaches one address:
//! no redirect is followed.
//!
//! The key comes from an environment variable and goes into one header; whatever this file hands on (answers, errors,
//! `Debug`) has it blacked out, should the server echo it.

use super::completion::{self, Unusable};
use super::pace::retry_after;
use super::teacher::{Answer, Class, Failure, Request, Teacher};
use crate::config::SynthesizeConfig;
use crate::error::{Error, Result};
use crate::run::Run;
use std::io::Read;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

/// Bytes of one response at most, after decompression.
const BODY_BYTES: u64 = 16 << 20;
/// Characters of a server's message that an error quotes.
const QUOTED_CHARS: usize = 300;

/// A teacher behind `{base_url}/chat/completions`.
pub struct HttpTeacher {
    endpoint: Arc<Endpoint>,
    model: String,
    in_flight: usize,
}

/// What a request's own thread needs.
struct Endpoint {
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
    /// The proxy's URL, which may hold a password.
    proxy: String,
    timeout_ms: u64,
}

impl std::fmt::Debug for HttpTeacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTeacher")
            .field("url", &self.endpoint.url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl HttpTeacher {
    /// The endpoint that `config` names; nothing is sent yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an address, a proxy, a certificate file or a key variable that cannot be used.
    pub fn new(config: &SynthesizeConfig) -> Result<HttpTeacher> {
        let name = &config.api_key_env;
        let key = if name.is_empty() {
            None
        } else {
            let missing = || {
                Error::invalid(format!(
                    "synthesize.api_key_env = {name:?}: there is no such environment variable; export it"
                ))
            };
            Some(std::env::var_os(name).ok_or_else(missing)?.to_string_lossy().trim().to_string())
        };
        HttpTeacher::with_key(config, key)
    }

    /// [`HttpTeacher::new`] with a key that is at hand.
    pub(super) fn with_key(config: &SynthesizeConfig, key: Option<String>) -> Result<HttpTeacher> {
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
            key,
            proxy: config.proxy.clone(),
            timeout_ms: config.timeout_ms,
        };
        Ok(HttpTeacher { endpoint: Arc::new(endpoint), model: config.model.clone(), in_flight: config.in_flight })
    }
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
        name_of(&self.model)
    }
    fn in_flight(&self) -> usize {
        self.in_flight
    }
    fn answer(&self, request: &Request, attempt: usize, run: &Run) -> std::result::Result<Answer, Failure> {
        let mut body = completion::request_body(&self.model, request, attempt);
        body["stream"] = false.into();
        let body = body.to_string();
        // A blocked read cannot be interrupted: it has its own thread, which a cancel leaves behind to its time-out.
        let (sender, result) = mpsc::channel();
        let endpoint = self.endpoint.clone();
        let thread = std::thread::Builder::new().name("causerie-http".into()).spawn(move || {
            let _ = sender.send(endpoint.post(&body));
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

impl Endpoint {
    /// Blacks out the key and the proxy's URL.
    fn redact(&self, text: &str) -> String {
        let mut text = text.to_string();
        for secret in [self.key.as_deref().unwrap_or(""), &self.proxy] {
            if !secret.is_empty() {
                text = text.replace(secret, "[…]");
            }
        }
        text
    }

    fn failure(&self, class: Class, message: &str) -> Failure {
        Failure::new(class, format!("teacher: {}", self.redact(message)))
    }

    fn post(&self, body: &str) -> std::result::Result<Answer, Failure> {
        let mut call =
            self.agent.post(&self.url).header("content-type", "application/json").header("accept", "application/json");
        if let Some(key) = &self.key {
            call = call.header("authorization", format!("Bearer {key}"));
        }
        let mut response = call.send(body).map_err(|e| self.unsent(e))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_string();
        let (kind, pause, location) = (header("content-type"), header("retry-after"), header("location"));
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(BODY_BYTES + 1).read_to_end(&mut bytes);
        if (200..300).contains(&status) {
            if let Err(e) = read {
                let why = format!("the answer from {} broke off after {} bytes: {e}", self.url, bytes.len());
                return Err(self.failure(Class::Lost, &why));
            }
            if bytes.len() as u64 > BODY_BYTES {
                return Err(self.failure(
                    Class::Useless,
                    &format!("an answer of more than {} MiB from {}", BODY_BYTES >> 20, self.url),
                ));
            }
            return self.read_answer(&bytes, &kind, body);
        }
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let pause = retry_after(&pause, now_s);
        Err(Failure {
            retry_after: pause,
            ..self.status(status, &location, pause.is_some(), &String::from_utf8_lossy(&bytes))
        })
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

    /// A status that is not 2xx.
    fn status(&self, status: u16, location: &str, pause: bool, body: &str) -> Failure {
        let said = said(body);
        let at = format!("{status} from {}", self.url);
        match status {
            300..=399 => {
                let why =
                    format!("{at}: redirects are not followed; set synthesize.base_url to where {location:?} belongs");
                self.failure(Class::Stop, &why)
            }
            401 | 403 if self.key.is_none() => self.failure(
                Class::Stop,
                &format!("{at}: set synthesize.api_key_env to the name of the variable with the key{said}"),
            ),
            401 | 403 => self.failure(
                Class::Stop,
                &format!("{at}: the key in the variable that synthesize.api_key_env names is refused{said}"),
            ),
            402 => self.failure(Class::Stop, &format!("{at}: the account has no credit left{said}")),
            404 | 405 => self.failure(
                Class::Stop,
                &format!(
                    "{at}: check synthesize.base_url (it ends before /chat/completions) and synthesize.model{said}"
                ),
            ),
            429 if body.contains("insufficient_quota") => {
                self.failure(Class::Stop, &format!("{at}: the account's quota is used up{said}"))
            }
            429 => {
                self.failure(Class::Throttled, &format!("{at}: too many requests; lower synthesize.in_flight{said}"))
            }
            503 | 529 if pause => self.failure(Class::Throttled, &format!("{at}: overloaded{said}")),
            408 | 425 | 500.. => self.failure(Class::Broken, &format!("{at}{said}")),
            _ => {
                let hint = if body.contains("context") || body.contains("max_tokens") || status == 413 {
                    ": the prompt is too long for the model; lower synthesize.reviews, synthesize.review_chars or \
                     synthesize.answer_tokens"
                } else {
                    ""
                };
                self.failure(Class::Refused, &format!("{at}{hint}{said}"))
            }
        }
    }

    fn read_answer(&self, bytes: &[u8], kind: &str, body: &str) -> std::result::Result<Answer, Failure> {
        let at = &self.url;
        let value: serde_json::Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(e) if bytes.is_empty() => {
                return Err(self.failure(Class::Useless, &format!("an empty body from {at} ({e})")));
            }
            Err(e) => {
                let said = said(&String::from_utf8_lossy(bytes));
                return Err(
                    self.failure(Class::Useless, &format!("{at} answered {kind:?}, which is not JSON ({e}){said}"))
                );
            }
        };
        let (answer, tokens) = completion::answer_of(&value, body.len());
        let useless = |why: String| Failure { tokens, ..self.failure(Class::Useless, &why) };
        if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
            return Err(self.failure(Class::Broken, &format!("an error from {at}{}", said(&error.to_string()))));
        }
        match answer {
            Ok(text) => Ok(Answer { text: self.redact(&text), prompt_tokens: tokens.0, completion_tokens: tokens.1 }),
            Err(Unusable::NoChoices) => {
                let said = said(&String::from_utf8_lossy(bytes));
                Err(useless(format!("an answer without choices from {at}{said}")))
            }
            Err(Unusable::Half) => {
                Err(useless(format!("half an answer from {at}: it reached its limit; raise synthesize.answer_tokens")))
            }
            Err(Unusable::Filtered) => Err(useless(format!("{at} held its answer back (content_filter)"))),
            Err(Unusable::Empty) => Err(useless(format!("an empty answer from {at}"))),
        }
    }
}

/// What the server said, shortened, on one line: `; it says: …`, or nothing.
fn said(body: &str) -> String {
    let message = serde_json::from_str::<serde_json::Value>(body).ok().and_then(|v| {
        let message = v.pointer("/error/message").or_else(|| v.pointer("/message")).or_else(|| v.pointer("/detail"))?;
        message.as_str().map(str::to_string)
    });
    let text = super::prompts::defuse(message.as_deref().unwrap_or(body), QUOTED_CHARS);
    if text.is_empty() { text } else { format!("; it says: {text}") }
}
