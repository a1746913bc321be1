//! What must not stand in anything that causerie writes itself: the key, and the proxy's password. Data is never touched: an
//! answer that happens to hold the key's letters stays as it is.

/// Shorter keys are dummies for servers that want some key, or hit common words.
const KEY_CHARS_LEAST: usize = 8;
/// What people write where a server wants some key.
const DUMMIES: [&str; 14] = [
    "anything",
    "changeme",
    "dummy-key",
    "lm-studio",
    "no-key-required",
    "not-needed",
    "not-required",
    "nothing",
    "placeholder",
    "sk-dummy",
    "sk-no-key-required",
    "sk-xxxxxxxx",
    "unused-key",
    "your-api-key",
];

/// The texts to black out, longest first.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of a key and of a proxy's URL (both may be empty).
    pub(super) fn new(key: &str, proxy: &str) -> Secrets {
        let mut texts = Vec::new();
        if is_secret(key) {
            texts.push(key.to_string());
        }
        // http://user:password@host:port
        if let Some((user, _)) = proxy.rsplit_once('@') {
            let user = user.split_once("://").map_or(user, |(_, user)| user);
            texts.push(proxy.to_string());
            texts.push(user.to_string());
            texts.extend(user.split_once(':').map(|(_, password)| password.to_string()).filter(|p| is_secret(p)));
        }
        // As a server's JSON would spell it.
        let escaped: Vec<String> = texts.iter().map(|t| t.replace('\\', "\\\\").replace('"', "\\\"")).collect();
        texts.extend(escaped.iter().map(|t| t.replace('/', "\\/")));
        texts.extend(escaped);
        texts.sort_by_key(|t| std::cmp::Reverse(t.len()));
        texts.dedup();
        Secrets(texts)
    }

    /// The text without them. For messages alone, and before they are shortened.
    pub(super) fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, secret| text.replace(secret, "[…]"))
    }
}

fn is_secret(key: &str) -> bool {
    key.len() >= KEY_CHARS_LEAST && !DUMMIES.iter().any(|d| d.eq_ignore_ascii_case(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dummy_key_blacks_out_nothing() {
        for key in ["", "1", "EMPTY", "none", "ollama", "secret", "sk-no-key-required", "LM-Studio"] {
            let text = "1 EMPTY none ollama secret sk-no-key-required LM-Studio";
            assert_eq!(Secrets::new(key, "http://proxy:3128").redact(text), text, "{key}");
        }
    }

    #[test]
    fn a_key_and_a_proxys_password_are_blacked_out_however_json_spells_them() {
        let secrets = Secrets::new("sk-a/b\"c-0123", "http://me:hunter22@proxy:1");
        for text in ["sk-a/b\"c-0123", "sk-a\\/b\\\"c-0123", "http://me:hunter22@proxy:1", "me:hunter22", "hunter22"] {
            assert_eq!(secrets.redact(&format!("<{text}>")), "<[…]>");
        }
    }
}
