//! Why a server cannot be reached, in words that say what to mend.

use std::error::Error;
use std::io::{self, ErrorKind};

use omnizap_contract::common::chain::chain;
use reqwest::Url;

use super::client::is_https;

/// Variables that name a proxy, as the HTTP client reads them itself: of two, the first that is
/// set is the one, also where it holds nothing.
const PROXIES: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const TLS_PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
/// Where the one of the scheme names no proxy.
const ALL_PROXIES: [&str; 2] = ["ALL_PROXY", "all_proxy"];
/// Set for programs that a web server runs for a request: whoever sends that could set a proxy, so
/// that the client takes none.
const OF_A_WEB_SERVER: &str = "REQUEST_METHOD";
/// What the client can speak to a proxy beside HTTP.
const SOCKS: [&str; 4] = ["socks4", "socks4a", "socks5", "socks5h"];

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

/// The variable that names the proxy for an address, if one does.
fn proxy(base_url: &str, set: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    if set(OF_A_WEB_SERVER).is_some() {
        return None;
    }
    let own = if is_https(base_url) {
        TLS_PROXIES
    } else {
        PROXIES
    };
    [own, ALL_PROXIES].into_iter().find_map(|names| {
        let mut names = names.into_iter();
        let (name, value) = names.find_map(|name| Some((name, set(name)?)))?;
        is_proxy(&value).then_some(name)
    })
}

/// The passwords of the proxies that variables name, as they are sent.
pub(super) fn passwords_of_proxies(set: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let names = [PROXIES, TLS_PROXIES, ALL_PROXIES].into_iter().flatten();
    names.filter_map(|name| password(&set(name)?)).collect()
}

/// The password in a proxy's address, without its encoding.
fn password(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://").unwrap_or(("", address));
    let (user, _) = rest.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    let query = password.replace('+', "%2B").replace('&', "%26");
    let url = Url::parse(&format!("http://h/?p={query}")).ok()?;
    let (_, decoded) = url.query_pairs().next()?;
    Some(decoded.into_owned())
}

/// True for what the client takes for a proxy: a host, behind a scheme that it knows or none.
fn is_proxy(value: &str) -> bool {
    let (scheme, host) = value.split_once("://").unwrap_or(("http", value));
    let is_http = ["http", "https"].map(|http| http.eq_ignore_ascii_case(scheme));
    let is_known = is_http.contains(&true) || SOCKS.contains(&scheme);
    is_known && !host.is_empty() && !host.starts_with('/') && !host.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        assert_eq!(proxy("HTTPS://h/v1", set(&["HTTP_PROXY"])), None);
        let cgi = set(&["REQUEST_METHOD", "ALL_PROXY"]);
        assert_eq!(proxy("http://h/v1", cgi), None);
    }

    #[test]
    fn the_password_of_a_proxy_is_known() {
        for (address, expected) in [
            ("http://me:p%40ss+word@proxy:3128/", Some("p@ss+word")),
            ("me:pass@proxy", Some("pass")),
            ("socks5://me@proxy", None),
            ("http://proxy:3128", None),
        ] {
            let set = |name: &str| (name == "https_proxy").then(|| address.to_owned());
            let found = passwords_of_proxies(set);
            assert_eq!(found.first().map(String::as_str), expected, "{address}");
        }
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_none() {
        for (value, is_one) in [
            ("proxy", true),
            ("user:pass@proxy:3128", true),
            ("HTTP://proxy:3128/", true),
            ("socks5h://proxy", true),
            ("", false),
            (" ", false),
            ("/proxy", false),
            ("http://", false),
            ("ftp://proxy", false),
            ("SOCKS5://proxy", false),
        ] {
            let own = |name: &str| match name {
                "HTTP_PROXY" => Some(value.to_owned()),
                "http_proxy" | "all_proxy" => Some("proxy:3128".to_owned()),
                _ => None,
            };
            let expected = if is_one { "HTTP_PROXY" } else { "all_proxy" };
            assert_eq!(proxy("http://h/v1", own), Some(expected), "{value:?}");
        }
    }

    /// Set to an address in a process of its own, whose variables are those of a case.
    const CHILD: &str = "OMNIZAP_TEST_ASKS_THROUGH_A_PROXY";

    /// Where a proxy listens that refuses whatever it is asked, and how often it was asked.
    fn refusing() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                // All that is sent is a few lines.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn the_variable_that_is_named_is_the_one_that_the_client_goes_by() {
        if let Ok(address) = std::env::var(CHILD) {
            omnizap_models::tls::use_ring();
            // Nothing is trusted: it does not come to TLS.
            let client = reqwest::Client::builder().tls_certs_only([]).build();
            let asked = client.unwrap().get(&address).send().await;
            eprintln!("{}", of(asked.unwrap_err(), &address));
            return;
        }
        let name = "the_variable_that_is_named_is_the_one_that_the_client_goes_by";
        let name = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
        let all = [PROXIES, TLS_PROXIES, ALL_PROXIES].concat();
        for (address, variables, expected) in [
            (
                "HTTPS://host.invalid/v1",
                &[("HTTP_PROXY", None), ("HTTPS_PROXY", None)][..],
                "HTTPS_PROXY",
            ),
            (
                "hTTps://host.invalid/v1",
                &[("http_proxy", None), ("all_proxy", None)],
                "all_proxy",
            ),
            (
                "https://host.invalid/v1",
                &[
                    ("HTTPS_PROXY", Some("")),
                    ("https_proxy", None),
                    ("ALL_PROXY", None),
                ],
                "ALL_PROXY",
            ),
            (
                "https://host.invalid/v1",
                &[("HTTPS_PROXY", Some("ftp://proxy")), ("all_proxy", None)],
                "all_proxy",
            ),
        ] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            for other in all.iter().chain(&["NO_PROXY", "no_proxy", OF_A_WEB_SERVER]) {
                child.env_remove(other);
            }
            let mut proxies = Vec::new();
            for (variable, value) in variables {
                let (at, asked) = refusing();
                child.env(variable, value.unwrap_or(&at));
                proxies.push((*variable, asked));
            }
            let ran = child
                .args([&name, "--exact", "--nocapture"])
                .env(CHILD, address)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{said}");
            let named = format!("({expected} is set: ");
            assert!(said.contains(&named), "{address}: {said}");
            for (variable, asked) in proxies {
                let is_asked = asked.load(Ordering::Relaxed) > 0;
                assert_eq!(is_asked, variable == expected, "{address}: {variable}");
            }
        }
    }
}
