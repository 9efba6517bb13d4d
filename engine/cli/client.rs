//! A client for small answers of HTTP servers, for commands that ask one.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use omnizap_contract::common::chain::chain;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Longest wait for a whole answer.
const ANSWER: Duration = Duration::from_secs(8);

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// A client of one server.
pub(super) struct Client {
    client: reqwest::Client,
    base: Url,
    key: Option<String>,
}

impl Client {
    /// One for the server at that address, which is brought the key with every request.
    ///
    /// # Errors
    /// An address that is none, and HTTPS that cannot be set up.
    pub(super) fn new(address: &str, key: Option<String>) -> anyhow::Result<Self> {
        let mut base = Url::parse(address)
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.has_host())
            .context("expected an address such as http://127.0.0.1:8008")?;
        // Neither is for a server that takes keys; errors would show a password.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            client: client(&base)?,
            base,
            key,
        })
    }

    /// The address, as it may be shown.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What a server answers that is asked for that path below its address.
    ///
    /// # Errors
    /// A server that is not there, that is too slow, or says too much.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let url = self.base.join(path)?;
        let mut request = self.client.get(url).timeout(ANSWER);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let failed = |error: reqwest::Error| anyhow!("{}", chain(&error.without_url()));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > MAX_ANSWER {
                bail!("it answers with more than {MAX_ANSWER} bytes");
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, body })
    }
}

fn client(base: &Url) -> anyhow::Result<reqwest::Client> {
    omnizap_models::tls::use_ring();
    let builder = || {
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            // A key must not follow a redirection to wherever.
            .redirect(Policy::none())
            .user_agent(concat!("omnizap/", env!("CARGO_PKG_VERSION")));
        // No proxy knows what this machine is called by itself.
        if is_this_machine(base) {
            builder.no_proxy()
        } else {
            builder
        }
    };
    let made = builder().build();
    // Over plain http no certificate is looked at, and a slim image has none.
    let made = if made.is_err() && base.scheme() == "http" {
        builder().tls_certs_only([]).build()
    } else {
        made
    };
    made.map_err(|error| anyhow!("cannot set up HTTPS: {}", chain(&error)))
}

fn is_this_machine(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_without_what_may_be_a_secret() {
        let address = |text: &str| Client::new(text, None).map(|it| it.address().to_owned());
        assert_eq!(address("http://h:1").unwrap(), "http://h:1");
        assert_eq!(address("http://u:p@h/a/?q#f").unwrap(), "http://h/a");
        for text in ["", "h:1", "ftp://h/", "http://", "/pipelines"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
