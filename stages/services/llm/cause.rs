//! Why a server cannot be reached, in words that say what to mend.

use std::error::Error;
use std::io::{self, ErrorKind};

use omnizap_contract::common::chain::chain;

/// Variables that name a proxy, read by the HTTP client itself: the first that is set is the one.
const PROXIES: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const TLS_PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL_PROXIES: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// What became of a request to an address that got no answer: what it means, then every cause.
pub(super) fn of(error: reqwest::Error, base_url: &str) -> String {
    // The address is said in front, as it may be shown.
    let error = error.without_url();
    let causes = chain(&error);
    let meaning = if let Some(meaning) = meaning(&causes, kind(&error)) {
        meaning
    } else if error.is_connect() {
        "no connection came about"
    } else {
        "the connection broke before the answer was whole"
    };
    let proxy = error
        .is_connect()
        .then(|| proxy(base_url, |name| std::env::var(name).ok()));
    let proxy = proxy.flatten().map_or_else(String::new, |name| {
        format!(" ({name} is set: it may be the proxy that is meant)")
    });
    format!("{base_url}: {meaning}{proxy}: {causes}")
}

/// The kind of the first fault of input or output among an error's causes.
fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<io::Error>() {
            return Some(fault.kind());
        }
        cause = error.source();
    }
    None
}

/// What the causes mean, where that is known. The libraries' types for them are not public.
fn meaning(causes: &str, kind: Option<ErrorKind>) -> Option<&'static str> {
    let says = |word: &str| causes.contains(word);
    let meaning = if says("dns error") {
        "its name was not found"
    } else if says("tunnel error") {
        "the proxy refused to connect to it"
    } else if says("certificate") {
        "its certificate is not trusted"
    } else if says("corrupt message") || says("handshake eof") {
        "it does not speak TLS, as https wants"
    } else if says("builder error") {
        "the request could not be made"
    } else {
        match kind? {
            ErrorKind::ConnectionRefused => "the connection was refused",
            ErrorKind::TimedOut => "no connection came about in time",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                "there is no way to it in the network"
            }
            _ => return None,
        }
    };
    Some(meaning)
}

/// The variable that names a proxy for an address, if one is set.
fn proxy(base_url: &str, set: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let own = if base_url.starts_with("https:") {
        TLS_PROXIES
    } else {
        PROXIES
    };
    own.into_iter()
        .chain(ALL_PROXIES)
        .find(|name| set(name).is_some_and(|value| !value.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_by_what_they_mean() {
        for (causes, kind, expected) in [
            (
                "error sending request: client error (Connect): tcp connect error: \
                 Connection refused (os error 111)",
                Some(ErrorKind::ConnectionRefused),
                Some("refused"),
            ),
            (
                "client error (Connect): dns error: no address",
                None,
                Some("name"),
            ),
            (
                "client error (Connect): invalid peer certificate: UnknownIssuer",
                Some(ErrorKind::InvalidData),
                Some("certificate"),
            ),
            (
                "client error (Connect): tunnel error: unsuccessful",
                None,
                Some("proxy"),
            ),
            (
                "received corrupt message of type InvalidContentType",
                Some(ErrorKind::InvalidData),
                Some("TLS"),
            ),
            (
                "client error (Connect): tls handshake eof",
                None,
                Some("TLS"),
            ),
            (
                "deadline has elapsed",
                Some(ErrorKind::TimedOut),
                Some("in time"),
            ),
            ("connection reset", Some(ErrorKind::ConnectionReset), None),
            ("something else", None, None),
        ] {
            let meaning = meaning(causes, kind);
            match expected {
                Some(word) => assert!(meaning.unwrap().contains(word), "{causes}: {meaning:?}"),
                None => assert_eq!(meaning, None, "{causes}"),
            }
        }
    }

    #[test]
    fn a_proxy_is_named_by_its_variable() {
        let set = |names: &'static [&str]| {
            move |name: &str| {
                names
                    .contains(&name)
                    .then(|| "http://proxy:3128".to_owned())
            }
        };
        assert_eq!(proxy("http://h/v1", set(&["HTTPS_PROXY"])), None);
        assert_eq!(
            proxy("https://h/v1", set(&["HTTPS_PROXY"])),
            Some("HTTPS_PROXY")
        );
        assert_eq!(
            proxy("http://h/v1", set(&["http_proxy", "ALL_PROXY"])),
            Some("http_proxy")
        );
        assert_eq!(proxy("http://h/v1", set(&["ALL_PROXY"])), Some("ALL_PROXY"));
        assert_eq!(proxy("http://h/v1", |_| Some(" ".into())), None);
    }
}
