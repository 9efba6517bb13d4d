//! The language model: whether there is a key and an address, and, where that is asked for, whether
//! its server is there and takes the key.

use omnizap_contract::common::chain::chain;
use omnizap_services::llm::{check_api_key, check_base_url};
use reqwest::{StatusCode, Url};

use super::finding::Finding;
use crate::cli::Common;
use crate::cli::client::Client;
use crate::cli::config::services_config;

/// Where questions go when no other address is given.
const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

pub(super) async fn look(common: &Common, is_online: bool) -> Vec<Finding> {
    let Ok(config) = services_config(common) else {
        return vec![Finding::fine("not looked at: a setting is refused")];
    };
    let base_url = config
        .openai_base_url
        .as_deref()
        .unwrap_or(DEFAULT_BASE_URL);
    if let Err(why) = check_base_url(base_url) {
        let what = format!("OPENAI_BASE_URL {why}");
        return vec![Finding::misconfigured(what, "mend it, or unset it")];
    }
    let Some(key) = config.openai_api_key else {
        return vec![Finding::fine("no OPENAI_API_KEY: labels are not expanded")];
    };
    if let Err(why) = check_api_key(&key) {
        let what = format!("OPENAI_API_KEY {why}");
        return vec![Finding::misconfigured(
            what,
            "set the key as the server gave it",
        )];
    }
    // Its check has read it.
    let Ok(url) = Url::parse(base_url) else {
        return Vec::new();
    };
    let host = shown(&url);
    let mut found = Vec::new();
    if url.scheme() == "http" && !is_near(&url) {
        found.push(Finding::warning(
            format!("labels and the key go to {host} without encryption"),
            "take an address that begins with https://",
        ));
    }
    found.push(if is_online {
        ask(base_url, &key, &host).await
    } else {
        let what = format!("a key, and the address {host}; --online asks whether they work");
        Finding::fine(what)
    });
    found
}

/// Asks which models there are: small, and free of charge.
async fn ask(base_url: &str, key: &str, host: &str) -> Finding {
    let reached = async {
        let client = Client::new(base_url, Some(key.to_owned()))?;
        client.get("models").await
    };
    let answer = match reached.await {
        Ok(answer) => answer,
        Err(error) => {
            let error = chain(error.as_ref());
            let what = format!("{host} does not answer: {error}");
            let advice = "start the server, or mend OPENAI_BASE_URL; until then labels stay as \
                          they are";
            return Finding::fault(what, advice);
        }
    };
    of(answer.status, host)
}

fn of(status: StatusCode, host: &str) -> Finding {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Finding::misconfigured(
            format!("{host} refuses the key ({status})"),
            "set OPENAI_API_KEY to one that it takes",
        ),
        status if status.is_success() => Finding::fine(format!("{host} answers and takes the key")),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Finding::warning(
            format!("{host} answers, and has no list of models ({status})"),
            "the address ends in the version, such as /v1; some servers have no list",
        ),
        status => Finding::warning(
            format!("{host} answers with {status}"),
            "look at the server, or try again",
        ),
    }
}

/// Scheme, host and port: what stands before and behind may be a secret.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{host}{port}", url.scheme())
}

/// True for this machine, and for names and addresses of networks of one's own.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        // A name without a dot is one of the own network.
        Err(_) => !host.contains('.') || host.ends_with(".local") || host.ends_with(".internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_user() {
        let url = Url::parse("https://user:hidden@host.example:8443/v1").unwrap();
        assert_eq!(shown(&url), "https://host.example:8443");
        for (url, near) in [
            ("http://localhost:11434/v1", true),
            ("http://ollama:11434/v1", true),
            ("http://[::1]/v1", true),
            ("http://10.0.0.7/v1", true),
            ("http://api.example.org/v1", false),
            ("http://8.8.8.8/v1", false),
        ] {
            assert_eq!(is_near(&Url::parse(url).unwrap()), near, "{url}");
        }
    }

    #[test]
    fn a_server_that_refuses_the_key_is_a_fault() {
        let shown = |code: u16| of(StatusCode::from_u16(code).unwrap(), "http://h").shown();
        assert!(shown(200).starts_with("ok: "));
        assert!(shown(401).starts_with("fault: http://h refuses the key"));
        assert!(shown(404).starts_with("warning: "));
        assert!(shown(503).starts_with("warning: "));
    }
}
