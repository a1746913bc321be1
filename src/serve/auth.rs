//! Who may ask: a bearer token, and for a server without one, the browsers of other sites kept out.

use super::problem::{Outcome, Problem};
use crate::artifact;
use crate::config::ServeConfig;
use crate::error::{Error, Result};
use crate::run::{Level, log};
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{HeaderMap, Request, Version};
use std::path::Path;

/// Shorter tokens can be guessed.
const LEAST_CHARS: usize = 16;

/// The secret that callers send as `Authorization: Bearer …`; kept as its hash.
#[derive(Clone)]
pub struct Token {
    hash: blake3::Hash,
}

impl Token {
    /// `secret`: at least 16 visible ASCII characters.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a shorter one, or one that cannot stand in a header. The message does not quote it.
    pub fn new(secret: &str) -> Result<Token> {
        if secret.len() < LEAST_CHARS || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid(format!(
                "serve: the token must have at least {LEAST_CHARS} visible ASCII characters and no spaces; `openssl rand -hex 32` makes one"
            )));
        }
        Ok(Token { hash: blake3::hash(secret.as_bytes()) })
    }

    /// The token of the settings: `serve.token_file`, else the environment variable `serve.token_env`; none where neither
    /// was asked for.
    ///
    /// # Errors
    /// A file that cannot be read; [`crate::ErrorKind::NotFound`] for a variable that was named and is not set; those of
    /// [`Token::new`].
    pub fn from_config(config: &ServeConfig) -> Result<Option<Token>> {
        if !config.token_file.is_empty() {
            let text = artifact::read_text(Path::new(&config.token_file))?;
            if text.trim().is_empty() {
                return Err(Error::invalid(format!(
                    "serve.token_file = {:?}: the file is empty; write a token into it, or leave the setting out",
                    config.token_file
                )));
            }
            return Token::new(text.trim()).map(Some).map_err(|e| e.context(&config.token_file));
        }
        let name = &config.token_env;
        match std::env::var(name) {
            Ok(secret) if !secret.trim().is_empty() => Token::new(secret.trim()).map(Some).map_err(|e| e.context(name)),
            Ok(_) if *name == ServeConfig::default().token_env => {
                let message = format!(
                    "serve: the environment variable {name} is empty: no token is asked for; put one into it, or unset it"
                );
                log(Level::Warn, &message);
                Ok(None)
            }
            Ok(_) | Err(std::env::VarError::NotPresent)
                if name.is_empty() || *name == ServeConfig::default().token_env =>
            {
                Ok(None)
            }
            Ok(_) | Err(std::env::VarError::NotPresent) => Err(Error::not_found(format!(
                "serve.token_env = {name:?}: no such environment variable, or it is empty; export it, or use serve.token_file"
            ))),
            Err(std::env::VarError::NotUnicode(_)) => Token::new("").map(Some).map_err(|e| e.context(name)),
        }
    }

    /// Refuses a request that does not carry the token. Hashes are compared, in constant time.
    pub(super) fn check(&self, headers: &HeaderMap) -> Outcome<()> {
        let refuse = |message: &str| Err(Problem::new(401, "invalid_api_key", message));
        let Some(given) = headers.get(AUTHORIZATION) else {
            return refuse(
                "no token: send the header `Authorization: Bearer TOKEN`, the token that the server was started with",
            );
        };
        let given = given.as_bytes();
        let secret = match given.split_at_checked(7) {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case(b"bearer ") => secret.trim_ascii(),
            Some(_) | None => return refuse("the Authorization header must read `Bearer TOKEN`"),
        };
        // blake3::Hash compares in constant time, whatever the length of what was sent.
        match blake3::hash(secret) == self.hash {
            true => Ok(()),
            false => refuse("wrong token: send the one that the server was started with"),
        }
    }
}

/// The host that a request asks for, as `name` or `name:port`: that of its target where that is a whole URL, else of its one
/// `Host`; none where HTTP/1.0 says nothing.
pub(super) fn host_of<B>(request: &Request<B>) -> Outcome<Option<&str>> {
    let bad = |message: &str| Err(Problem::new(400, "bad_host", message));
    let mut given = request.headers().get_all(HOST).iter();
    let host = match (given.next(), given.next()) {
        (Some(_), Some(_)) => return bad("more than one Host header: send one, as `Host: 127.0.0.1:8080`"),
        (None, _) if request.version() >= Version::HTTP_11 => {
            return bad("no Host header: HTTP/1.1 needs one, as `Host: 127.0.0.1:8080`");
        }
        (None, _) => None,
        (Some(host), None) => match std::str::from_utf8(host.as_bytes()).ok().map(str::trim).filter(|h| is_host(h)) {
            Some(host) => Some(host),
            None => {
                return bad(
                    "the Host header is no host: send a name or an address in ASCII, as `Host: 127.0.0.1:8080`",
                );
            }
        },
    };
    match request.uri().authority() {
        Some(target) if is_host(target.as_str()) => Ok(Some(target.as_str())),
        Some(_) => bad("the URL of the request names no host: ask for a path, as `GET /health HTTP/1.1`"),
        None => Ok(host),
    }
}

/// True for a name, an IPv4 address or an IPv6 address in brackets, with or without a port; in ASCII, and nothing beside it.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let is_name = match name.strip_prefix('[') {
        Some(name) => name.strip_suffix(']').is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
    };
    // "127.0.0.1:" is a host with the port left out.
    let is_port =
        |port: &str| port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    is_name && port.is_none_or(is_port)
}

/// Refuses what a browser sends on behalf of another site. Without a token the name that was asked for must be this
/// machine's own as well, or a site could point its name at 127.0.0.1 and read the answers.
pub(super) fn check_site(host: Option<&str>, headers: &HeaderMap, loopback_without_token: bool) -> Outcome<()> {
    if let Some(origin) = headers.get(ORIGIN) {
        let from = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority);
        if from.is_none() || from != host {
            return Err(Problem::new(
                403,
                "cross_origin",
                "asked by a page of another site: open the page that this server serves at /, or call from a program",
            ));
        }
    }
    if loopback_without_token && host.is_some_and(|host| !is_loopback(host)) {
        return Err(Problem::new(
            403,
            "wrong_host",
            "the Host header names another machine: call http://127.0.0.1 or http://localhost, or start the server with a token",
        ));
    }
    Ok(())
}

/// True for `localhost`, `127.x.y.z` and `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_whole_token_is_taken() {
        let token = Token::new("0123456789abcdef").unwrap();
        let check = |value| token.check(&headers(&[("authorization", value)])).map_err(|p| p.status);
        assert_eq!(check("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(check("bearer  0123456789abcdef"), Ok(()));
        for wrong in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdefg", "Bearer ", "Bearer", "Basic 0123456789abcdef", "x"]
        {
            assert_eq!(check(wrong), Err(401), "{wrong}");
        }
        assert_eq!(token.check(&HeaderMap::new()).unwrap_err().status, 401);
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused_without_being_quoted() {
        for bad in ["", "short", "with spaces in it, long", "ümlautümlautümlaut"] {
            let Err(e) = Token::new(bad) else { panic!("{bad} was taken") };
            assert!(bad.is_empty() || !e.message().contains(bad), "{e}");
        }
    }

    #[test]
    fn a_named_variable_that_is_not_set_is_an_error_and_not_an_open_door() {
        let mut config = ServeConfig { token_env: "CAUSERIE_NO_SUCH_VARIABLE".into(), ..ServeConfig::default() };
        assert!(Token::from_config(&config).is_err());
        config.token_file = "/nowhere/token".into();
        assert!(Token::from_config(&config).is_err());
    }

    #[test]
    fn other_sites_pages_are_refused() {
        let status = |pairs: &[(&'static str, &'static str)], open| {
            let headers = headers(pairs);
            check_site(headers.get(HOST).map(|host| host.to_str().unwrap()), &headers, open).map_err(|p| p.code)
        };
        assert_eq!(status(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true), Ok(()));
        assert_eq!(status(&[("host", "localhost:8080")], true), Ok(()));
        assert_eq!(status(&[("host", "[::1]:8080")], true), Ok(()));
        assert_eq!(
            status(&[("host", "localhost:8080"), ("origin", "https://evil.example")], true),
            Err("cross_origin")
        );
        assert_eq!(status(&[("host", "localhost:8080"), ("origin", "null")], true), Err("cross_origin"));
        assert_eq!(status(&[("host", "evil.example:8080")], true), Err("wrong_host"));
        assert_eq!(status(&[("host", "127.0.0.1.evil.example")], true), Err("wrong_host"));
        assert_eq!(status(&[("host", "reco.example")], false), Ok(()));
    }

    /// Of two Host headers the first was checked, and a host that was not ASCII was not checked at all.
    #[test]
    fn a_host_is_one_name_in_ascii_or_the_request_is_refused() {
        let of = |target: &str, version, hosts: &[&[u8]]| {
            let mut request = hyper::Request::builder().uri(target).version(version);
            for host in hosts {
                request = request.header("host", hyper::header::HeaderValue::from_bytes(host).unwrap());
            }
            host_of(&request.body(()).unwrap()).map(|host| host.map(str::to_string)).map_err(|p| p.status)
        };
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        for host in ["localhost", "127.0.0.1:8080", "[::1]:80", "[::1]", "reco_1.example-2", "a:", "localhost."] {
            assert_eq!(of("/", new, &[host.as_bytes()]), Ok(Some(host.to_string())));
        }
        assert_eq!(of("/", old, &[]), Ok(None));
        assert_eq!(of("/", new, &[]), Err(400));
        for wrong in [
            "",
            " ",
            ":80",
            "a b",
            "a,b",
            "a@b",
            "a/b",
            "http://a",
            "bücher",
            "a:b",
            "a:99999",
            "a:-1",
            "[::1",
            "::1",
            "[a]",
            "127.0.0.1:80:80",
            "a\tb",
            "a?b",
            "a#b",
            "*",
            "[]",
            "a\\b",
        ] {
            assert_eq!(of("/", new, &[wrong.as_bytes()]), Err(400), "{wrong:?}");
        }
        assert_eq!(of("/", new, &[b"\xff"]), Err(400));
        assert_eq!(of("/", new, &[b"127.0.0.1", b"127.0.0.1"]), Err(400));
        assert_eq!(of("/", old, &[b"127.0.0.1", b"evil.example"]), Err(400));
        // A whole URL says whom it is for.
        assert_eq!(of("http://evil.example/x", new, &[b"127.0.0.1"]), Ok(Some("evil.example".into())));
    }
}
