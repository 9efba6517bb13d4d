//! The HTTP client for an address, made when it is first needed: over https it wants certificates,
//! which a slim image may not have.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omnizap_contract::common::chain::chain;
use reqwest::redirect::Policy;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is wrong where no server's certificate can be checked.
const NO_CERTIFICATES: &str =
    "no CA certificates were found: install ca-certificates or set SSL_CERT_FILE";

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoClient {
    /// There are no certificates; they may come.
    #[error("{NO_CERTIFICATES}")]
    NoCertificates,
    /// Something else, which does not pass.
    #[error("cannot set up HTTPS: {0}")]
    Other(String),
}

/// A client for addresses of one scheme.
#[derive(Debug)]
pub(super) struct LlmClient {
    is_https: bool,
    /// Unset as long as nobody asked for it.
    made: Mutex<Option<Result<reqwest::Client, NoClient>>>,
}

impl LlmClient {
    /// One for an address; nothing is made yet.
    pub(super) fn new(base_url: &str) -> Self {
        Self {
            is_https: is_https(base_url),
            made: Mutex::default(),
        }
    }

    /// True where it serves this address too.
    pub(super) fn serves(&self, base_url: &str) -> bool {
        self.is_https == is_https(base_url)
    }

    /// The client. Where it could not be made it is tried anew: certificates may have been
    /// installed in the meantime.
    ///
    /// # Errors
    /// [`NoClient`].
    pub(super) fn get(&self) -> Result<reqwest::Client, NoClient> {
        let mut made = self.made();
        if let Some(Ok(client)) = &*made {
            return Ok(client.clone());
        }
        let outcome = make(self.is_https);
        *made = Some(outcome.clone());
        outcome
    }

    /// Why there is none, if it was asked for in vain.
    pub(super) fn fault(&self) -> Option<NoClient> {
        match &*self.made() {
            Some(Err(fault)) => Some(fault.clone()),
            Some(Ok(_)) | None => None,
        }
    }

    fn made(&self) -> MutexGuard<'_, Option<Result<reqwest::Client, NoClient>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True for an address over TLS, however its scheme is written.
pub(super) fn is_https(base_url: &str) -> bool {
    base_url
        .get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

fn make(is_https: bool) -> Result<reqwest::Client, NoClient> {
    omnizap_models::tls::use_ring();
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The key must not follow a redirection to wherever.
            .redirect(Policy::none())
            // Old proxies and servers fold them, and the Python service read them.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .user_agent(concat!("omnizap/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|error| {
        let causes = chain(&error);
        if !causes.contains("CA certificates") {
            return Err(NoClient::Other(causes));
        }
        if is_https {
            return Err(NoClient::NoCertificates);
        }
        // Plain http needs none. Nothing is trusted where TLS should come into it all the same, as
        // with a proxy over https.
        let without = builder().tls_certs_only([]).build();
        without.map_err(|error| NoClient::Other(chain(&error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_when_it_is_asked_for() {
        let client = LlmClient::new("HTTPS://host/v1");
        assert!(client.serves("https://another/v1") && !client.serves("http://host/v1"));
        assert_eq!(client.fault(), None);
        let plain = LlmClient::new("http://host/v1");
        assert!(plain.get().is_ok() && plain.fault().is_none());
        assert!(!LlmClient::new("é").serves("https://host/v1"));
    }
}
