//! What no finding shows, whoever says it: what variables hold that is no name and no place.

use std::env;

/// What stands in its place.
const CUT: &str = "***";

/// Fewest bytes of what is cut out: less is no secret, and would tear words apart.
const SHORTEST: usize = 6;

/// Words in the names of variables that hold secrets.
const WORDS: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL"];

/// Endings of names of variables that say where something is.
const PLACES: [&str; 4] = ["_FILE", "_PATH", "_DIR", "_HOME"];

/// Variables whose URL may hold a user and a password.
const URLS: [&str; 3] = ["DATABASE_URL", "OPENAI_BASE_URL", "HF_ENDPOINT"];

/// Our variables that hold numbers, switches and lists: what else is in one is not shown either.
const PREFIXES: [&str; 8] = [
    "OMNIZAP_",
    "CLIP_",
    "ENABLE_",
    "ENTROPY_",
    "LLM_",
    "NSFW_",
    "SIMILARITY_",
    "ADAPTIVE_",
];

/// Those of them that say where something is, or what it is called.
const SHOWN: [&str; 8] = [
    "OMNIZAP_DATA",
    "OMNIZAP_PIPELINES",
    "OMNIZAP_LISTEN",
    "OMNIZAP_LOG",
    "OMNIZAP_ALLOWED_HOSTS",
    "OMNIZAP_ALLOWED_ORIGINS",
    "CLIP_MODEL_NAME",
    "CLIP_MODEL_PRETRAINED",
];

/// What people take for a password, and what findings say for other reasons.
const NO_SECRETS: [&str; 4] = ["omnizap", "postgres", "postgresql", "mariadb"];

/// Texts that are cut out.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of this process.
    pub(super) fn of_environment() -> Self {
        let variables = env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            Some((name, value))
        });
        Self::of(variables)
    }

    fn of(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut texts = Vec::new();
        for (name, value) in variables {
            if URLS.contains(&&*name) {
                texts.extend(of_url(&value));
            } else if is_secret(&name) {
                texts.push(value.trim().to_owned());
                let parts = value.split([',', ' ', '\t', '\n']).map(str::trim);
                texts.extend(parts.map(str::to_owned));
            }
        }
        texts.retain(|text| text.len() >= SHORTEST && !is_plain(text));
        texts.retain(|text| !NO_SECRETS.contains(&&*text.to_lowercase()));
        // The longest first: one may be a part of another.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Self(texts)
    }

    /// The text without them.
    pub(super) fn cut_out_of(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), CUT);
            }
        }
        text
    }
}

fn is_secret(name: &str) -> bool {
    if SHOWN.contains(&name) || PLACES.iter().any(|ending| name.ends_with(ending)) {
        return false;
    }
    let upper = name.to_uppercase();
    let is_ours = PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
    is_ours || WORDS.iter().any(|word| upper.contains(word))
}

/// True for a number or a switch, as they stand in messages for other reasons.
fn is_plain(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_digit() || "_.-".contains(char);
    text.chars().all(is_part)
}

/// What stands in a URL between `//` and the last `@`: a user and a password, also torn apart.
fn of_url(url: &str) -> Vec<String> {
    if !url.contains(':') {
        // It is no URL, and may be what belongs elsewhere.
        return vec![url.trim().to_owned()];
    }
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let Some((user, _)) = rest.rsplit_once('@') else {
        return Vec::new();
    };
    // The user's name is told in errors of databases, and is no secret.
    let password = user.split_once(':').map_or("", |(_, password)| password);
    let parts = password.split([':', '/', '@']).chain([password]);
    let parts = parts.map(str::to_owned);
    let decoded = parts.clone().map(|part| decoded(&part));
    let whole = [url.trim().to_owned(), user.to_owned()];
    whole.into_iter().chain(parts).chain(decoded).collect()
}

/// Without the encoding of a URL.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => &behind[2..],
            None => behind,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(variables: &[(&str, &str)]) -> Secrets {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Secrets::of(variables.iter().map(owned))
    }

    #[test]
    fn what_variables_hold_is_cut_out_and_places_stay() {
        let secrets = secrets(&[
            ("DATABASE_URL", "mysql://bot:p%40ssword@db.example/x"),
            ("OMNIZAP_API_KEYS", "first-key-of-all, second-key-of-all"),
            ("MY_TOKEN", "a-token-of-mine"),
            ("OMNIZAP_DATA", "/var/lib/omnizap"),
            ("OMNIZAP_ADMIN_KEYS_FILE", "/etc/omnizap/keys"),
            ("OMNIZAP_MAX_CONNECTIONS", "sk-misplaced"),
            ("OMNIZAP_MAX_BODY_BYTES", "33554432"),
            ("DB_PASSWORD", "root"),
        ]);
        for (text, expected) in [
            ("p@ssword p%40ssword", "*** ***"),
            ("second-key-of-all!", "***!"),
            ("a-token-of-mine", "***"),
            ("/var/lib/omnizap", "/var/lib/omnizap"),
            ("/etc/omnizap/keys", "/etc/omnizap/keys"),
            ("found \"sk-misplaced\"", "found \"***\""),
            ("33554432 bytes", "33554432 bytes"),
            ("root of db.example/x", "root of db.example/x"),
        ] {
            assert_eq!(secrets.cut_out_of(text), expected);
        }
    }

    #[test]
    fn a_url_is_taken_apart_however_it_is_written() {
        assert_eq!(of_url("https://host/v1"), [""; 0]);
        let found = of_url("mysql://u:pa@ss/word@host/db");
        assert!(found.iter().any(|part| part == "u:pa@ss/word"), "{found:?}");
        assert!(found.iter().any(|part| part == "word"), "{found:?}");
        assert_eq!(of_url(" a-password-alone "), ["a-password-alone"]);
        assert_eq!(decoded("a%zz%4"), "a%zz%4");
    }
}
