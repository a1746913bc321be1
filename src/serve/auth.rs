//! Who may ask: a bearer token, and for a server without one, the browsers of other sites kept out.

use super::problem::{Outcome, Problem};
use crate::artifact;
use crate::config::ServeConfig;
use crate::error::{Error, Result};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
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
            return Token::new(text.trim()).map(Some).map_err(|e| e.context(&config.token_file));
        }
        let name = &config.token_env;
        match std::env::var(name) {
            Ok(secret) if !secret.trim().is_empty() => Token::new(secret.trim()).map(Some).map_err(|e| e.context(name)),
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

/// Refuses what a browser sends on behalf of another site. Without a token the name that was asked for must be this
/// machine's own as well, or a site could point its name at 127.0.0.1 and read the answers.
pub(super) fn check_site(headers: &HeaderMap, loopback_without_token: bool) -> Outcome<()> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let host = text(HOST);
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
        let status =
            |pairs: &[(&'static str, &'static str)], open| check_site(&headers(pairs), open).map_err(|p| p.code);
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
}
