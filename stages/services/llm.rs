//! The language model as a service that all pipelines share: one question of a kind
//! at a time, good answers kept, a failing server left alone.
//!
//! The client library gives the question its types. The answer is read without it: its types
//! refuse what many servers add to an answer, and it logs bodies, in which some repeat the key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use omnizap_contract::common::breaker::Breaker;
use omnizap_contract::common::digest::Sha256Hex;
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::store::Store;

pub use self::address::{check_api_key, check_base_url};
pub use self::answer::{AnswerFault, Expansion};
pub use self::error::LlmError;

use self::client::{LlmClient, NoClient};
use self::completion::NoContent;
use self::dialect::{Dialect, Dialects};
use self::transport::{Failure, Reply, Transport};

mod address;
mod answer;
mod cause;
mod client;
mod completion;
mod dialect;
mod error;
mod json;
mod packed;
mod request;
mod secret;
mod thoughts;
mod transport;

/// Where questions go when no other address is given.
const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// Most questions under way at a time.
const MAX_IN_FLIGHT: usize = 32;
/// Longest label that a question holds, in characters.
const MAX_LABEL_CHARS: usize = 200;
/// Failures in a row after which the server is left alone.
pub const FAILURES_TO_OPEN: u32 = 5;
/// How long it is left alone before one question is let through to try.
const OPEN_FOR: Duration = Duration::from_secs(30);
/// Most that goes to the log of why there is no answer, in characters: a server may send a page of
/// HTML.
const MAX_LOGGED_CHARS: usize = 400;
/// How much of the time for an answer is kept back, to say why there is none: at most this, and at
/// most so small a part of it.
const TO_SAY_WHY: Duration = Duration::from_millis(100);
const PART_TO_SAY_WHY: u32 = 20;
/// Most dialects in which one question is put.
const MAX_DIALECTS: usize = 6;

/// Where the language model is.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct LlmConfig {
    /// The key; without it nothing is ever asked.
    pub api_key: Option<String>,
    /// The address of an OpenAI-compatible API, with its version: `http://host/v1`.
    pub base_url: Option<String>,
}

/// What is asked: words for these labels, of this model.
#[derive(Clone, Debug)]
pub struct Question {
    model: Arc<str>,
    /// `["label", ..]`
    labels_json: String,
    /// SHA-256 of model and labels, as the Python service computed it.
    key: String,
}

impl Question {
    /// The question for the best labels, in their order.
    #[must_use]
    pub fn new(model: Arc<str>, labels: Vec<String>) -> Self {
        let labels: Vec<String> = labels
            .iter()
            .map(|label| label.chars().take(MAX_LABEL_CHARS).collect())
            .collect();
        let key = json!({"model": &*model, "labels": labels}).to_string();
        Self {
            model,
            labels_json: json!(labels).to_string(),
            key: Sha256Hex::of(key.as_bytes()).to_string(),
        }
    }
}

type Outcome = Result<Arc<Expansion>, LlmError>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The language model. Cloning shares it.
#[derive(Clone)]
pub struct Llm(Arc<Inner>);

struct Inner {
    api_key: Option<String>,
    base_url: String,
    /// What key and address are called where they come from.
    names: Names,
    /// True where they came with a user or a password.
    drops_user: bool,
    /// Set where answers are kept apart from those of the address that the program was started
    /// with: a model of the same name need not be the same.
    kept_for: Option<String>,
    client: Arc<LlmClient>,
    /// What the servers were found to understand.
    dialects: Arc<Dialects>,
    store: Store,
    breaker: Breaker,
    /// Questions under way, by their key: whoever asks the same waits for the same.
    flights: Mutex<HashMap<String, Flight>>,
    /// Those under a key or an address of their own, as long as some stage holds them.
    others: Mutex<HashMap<LlmConfig, Weak<Self>>>,
}

/// What a key and an address are called where they come from, for errors.
#[derive(Clone, Copy)]
struct Names {
    api_key: &'static str,
    base_url: &'static str,
}

const OF_THE_PROGRAM: Names = Names {
    api_key: "OPENAI_API_KEY",
    base_url: "OPENAI_BASE_URL",
};

const OF_A_STAGE: Names = Names {
    api_key: "the option api_key",
    base_url: "the option base_url",
};

impl LlmConfig {
    /// The same, trimmed; what is blank is not set.
    fn trimmed(self) -> Self {
        let given = |value: Option<String>| {
            let value = value.map(|value| value.trim().to_owned());
            value.filter(|value| !value.is_empty())
        };
        Self {
            api_key: given(self.api_key),
            base_url: given(self.base_url),
        }
    }
}

impl Llm {
    /// The language model at that address; its answers are kept in the store.
    #[must_use]
    pub fn new(config: LlmConfig, store: Store) -> Self {
        let config = config.trimmed();
        let base_url = config.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL);
        let (base_url, drops_user) = address::shown(base_url);
        Self(Arc::new(Inner {
            api_key: config.api_key,
            client: Arc::new(LlmClient::new(&base_url)),
            dialects: Arc::default(),
            base_url,
            names: OF_THE_PROGRAM,
            drops_user,
            kept_for: None,
            store,
            breaker: Breaker::new(FAILURES_TO_OPEN, OPEN_FOR),
            flights: Mutex::default(),
            others: Mutex::default(),
        }))
    }

    /// The language model under a key or at an address of a stage's own, this one's where none is
    /// given. Stages that give the same share its questions, and leave it alone together where it
    /// keeps failing.
    #[must_use]
    pub fn under(&self, own: LlmConfig) -> Self {
        let own = own.trimmed();
        if own == LlmConfig::default() {
            return self.clone();
        }
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = others.get(&own).and_then(Weak::upgrade) {
            return Self(open);
        }
        let inner = Arc::new(self.0.under(&own));
        others.retain(|_, other| other.strong_count() > 0);
        others.insert(own, Arc::downgrade(&inner));
        Self(inner)
    }

    /// Checks what was configured, for the operator. Nothing is asked.
    ///
    /// # Errors
    /// What is wrong, never showing the key.
    pub fn check(&self) -> Result<(), String> {
        let Some(key) = &self.0.api_key else {
            return Ok(());
        };
        let names = self.0.names;
        check_api_key(key).map_err(|fault| format!("{} {fault}", names.api_key))?;
        check_base_url(&self.0.base_url).map_err(|fault| format!("{} {fault}", names.base_url))?;
        if self.0.drops_user {
            tracing::warn!(
                "a user or a password in {} is not sent: the key is",
                names.base_url
            );
        }
        match self.0.client.get() {
            Ok(_) => Ok(()),
            // Certificates may be installed while the program runs, and the rest of it works.
            Err(missing @ NoClient::NoCertificates) => {
                tracing::warn!("the language model cannot be asked: {missing}");
                Ok(())
            }
            Err(fault @ NoClient::Other(_)) => Err(fault.to_string()),
        }
    }

    /// What is missing to ask anything, if so.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        if self.has_key() {
            return self.0.client.fault().map(|fault| fault.to_string());
        }
        let is_own = self.0.names.base_url == OF_A_STAGE.base_url;
        Some(if is_own {
            "there is no option api_key for its own base_url".to_owned()
        } else {
            "there is no OPENAI_API_KEY".to_owned()
        })
    }

    /// True where there is a key to ask with.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.0.api_key.is_some()
    }

    /// Why the language model serves less than it should, if so; for clients.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        let fault = self.0.client.fault().filter(|_| self.has_key());
        let fault = fault.map(|fault| format!("the language model cannot be asked: {fault}"));
        fault.or_else(|| {
            let is_open = self.0.breaker.open().is_some();
            is_open.then(|| "the language model keeps failing and is left alone for a while".into())
        })
    }

    /// Words for the labels: a kept answer, or a new one. The same question asked by
    /// many at a time goes out once; who stops waiting does not break it off.
    ///
    /// # Errors
    /// [`LlmError`], within `limit`.
    pub async fn expand(&self, question: Question, limit: Duration) -> Outcome {
        if !self.has_key() {
            return Err(LlmError::NoKey);
        }
        let flight = self.flight(question, limit)?;
        let waited = tokio::time::timeout(limit, flight).await;
        waited.unwrap_or(Err(LlmError::Slow { limit, last: None }))
    }

    /// The flight that answers the question: one that is under way, or a new one.
    fn flight(&self, question: Question, limit: Duration) -> Result<Flight, LlmError> {
        let mut flights = self.0.flights();
        if let Some(flight) = flights.get(&question.key) {
            return Ok(flight.clone());
        }
        if flights.len() >= MAX_IN_FLIGHT {
            return Err(LlmError::Busy);
        }
        let key = question.key.clone();
        let inner = self.0.clone();
        // A task of its own: it goes on when the one who asked first goes away.
        let task = tokio::spawn(async move {
            let landing = Landing { inner, question };
            landing.inner.answer(&landing.question, limit).await
        });
        let flight = task
            .map(|joined| joined.unwrap_or(Err(LlmError::BrokenOff)))
            .boxed()
            .shared();
        flights.insert(key, flight.clone());
        Ok(flight)
    }
}

/// Takes a question off the list of those under way, however it ends.
struct Landing {
    inner: Arc<Inner>,
    question: Question,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.flights().remove(&self.question.key);
    }
}

impl Inner {
    /// The same under a key or at an address of a stage's own.
    fn under(&self, own: &LlmConfig) -> Self {
        let (base_url, drops_user) = match &own.base_url {
            Some(own) => address::shown(own),
            None => (self.base_url.clone(), self.drops_user),
        };
        Self {
            names: Names {
                api_key: match own.api_key {
                    Some(_) => OF_A_STAGE.api_key,
                    None => self.names.api_key,
                },
                base_url: match own.base_url {
                    Some(_) => OF_A_STAGE.base_url,
                    None => self.names.base_url,
                },
            },
            // The process's key is for the process's address: a stage with one of its own gives a key
            // of its own.
            api_key: match (&own.api_key, &own.base_url) {
                (Some(key), _) => Some(key.clone()),
                (None, None) => self.api_key.clone(),
                (None, Some(_)) => None,
            },
            kept_for: (base_url != self.base_url).then(|| base_url.clone()),
            client: if self.client.serves(&base_url) {
                self.client.clone()
            } else {
                Arc::new(LlmClient::new(&base_url))
            },
            dialects: self.dialects.clone(),
            base_url,
            drops_user,
            store: self.store.clone(),
            breaker: Breaker::new(FAILURES_TO_OPEN, OPEN_FOR),
            flights: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// Under which the answer to a question is kept.
    fn cache_key<'a>(&self, question: &'a Question) -> Cow<'a, str> {
        match &self.kept_for {
            None => Cow::Borrowed(&question.key),
            Some(address) => {
                let key = format!("{}\n{address}", question.key);
                Cow::Owned(Sha256Hex::of(key.as_bytes()).to_string())
            }
        }
    }

    async fn answer(&self, question: &Question, limit: Duration) -> Outcome {
        let cache_key = self.cache_key(question);
        match self.store.expansion(&cache_key).await {
            // The Python service kept failures too: what does not parse is asked anew.
            Ok(Some(kept)) => {
                if let Ok(expansion) = Expansion::parse(&kept) {
                    return Ok(Arc::new(expansion));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no kept label expansion"),
        }
        let key = self.api_key.as_deref().ok_or(LlmError::NoKey)?;
        let client = self.client.get().map_err(|fault| {
            let fault = self.shown(&fault.to_string());
            LlmError::NoClient(fault)
        })?;
        let Ok(call) = self.breaker.admit(std::time::Instant::now()) else {
            return Err(LlmError::Open);
        };
        let deadline = Instant::now() + limit - TO_SAY_WHY.min(limit / PART_TO_SAY_WHY);
        let transport = Transport::new(client, &self.base_url, key, deadline);
        let asked = match transport {
            Ok(transport) => self.ask(question, transport, limit).await,
            Err(fault) => Err(LlmError::NoClient(self.shown(&fault.to_string()))),
        };
        let expansion = match asked {
            Ok(expansion) => expansion,
            Err(error) => {
                self.breaker.failed(call, std::time::Instant::now());
                return Err(error);
            }
        };
        self.breaker.succeeded(call);
        let json = expansion.to_json().to_string();
        let kept = self
            .store
            .save_expansion(&cache_key, &question.model, &question.labels_json, &json)
            .await;
        if let Err(error) = kept {
            tracing::debug!(%error, "a label expansion was not kept");
        }
        Ok(Arc::new(expansion))
    }

    /// Asks in one dialect after another, until the server understands one or says no to
    /// something else. To find it is no failure.
    async fn ask(
        &self,
        question: &Question,
        mut transport: Transport<'_>,
        limit: Duration,
    ) -> Result<Expansion, LlmError> {
        let mut known = self.dialects.of(&self.base_url, &question.model);
        let mut dialect = known.unwrap_or_default();
        let found = |dialect| {
            self.dialects
                .found(&self.base_url, &question.model, dialect);
        };
        let forget = || self.dialects.forget(&self.base_url, &question.model);
        let mut left = MAX_DIALECTS;
        loop {
            left -= 1;
            let reply = match self.put(question, dialect, &mut transport, limit).await {
                Ok(reply) => reply,
                Err(error) => {
                    // The way here took the time: the next question begins where this one ended.
                    if matches!(error, LlmError::Slow { .. })
                        && dialect != known.unwrap_or_default()
                    {
                        found(dialect);
                    }
                    return Err(error);
                }
            };
            let refused = match self.read(&reply) {
                Ok(text) => {
                    if dialect != known.unwrap_or_default() {
                        found(dialect);
                    }
                    let words = Expansion::parse(&text).map_err(Arc::new)?;
                    // Words are used as they are, but for the key.
                    let key = self.api_key.as_deref().unwrap_or_default();
                    return Ok(words.map(|word| secret::hide_whole(word, key)));
                }
                Err(refused) => refused,
            };
            let is_empty = matches!(
                &refused,
                LlmError::Answer(fault) if matches!(**fault, AnswerFault::EmptyContent)
            );
            let next = if is_empty {
                dialect.simpler()
            } else {
                dialect.after(reply.status, &reply.body)
            };
            let is_about_the_form =
                is_empty || dialect::is_about_the_form(reply.status, &reply.body);
            if left == 0 {
                return Err(refused);
            } else if let Some(next) = next {
                tracing::debug!(error = %refused, ?next, "the question is put in another form");
                dialect = next;
            } else if known.is_some() && is_about_the_form {
                // The server is another one now.
                forget();
                known = None;
                dialect = Dialect::default();
            } else {
                if known.is_some_and(|known| known != dialect) {
                    // It understands nothing that was thought of: the next question begins anew.
                    forget();
                }
                return Err(refused);
            }
        }
    }

    /// Puts the question in a dialect.
    async fn put(
        &self,
        question: &Question,
        dialect: Dialect,
        transport: &mut Transport<'_>,
        limit: Duration,
    ) -> Result<Reply, LlmError> {
        let body = request::body(&question.model, &question.labels_json, dialect)
            .map_err(|fault| LlmError::NoClient(fault.to_string().into()))?;
        let reply = transport.post(&body).await;
        reply.map_err(|failure| match failure {
            Failure::Slow(last) => LlmError::Slow {
                limit,
                last: last.map(|last| self.shown(&last)),
            },
            Failure::Lost(why) => LlmError::Lost(self.shown(&why)),
        })
    }

    /// The model's text in a server's answer.
    fn read(&self, reply: &Reply) -> Result<String, LlmError> {
        if !reply.status.is_success() {
            return Err(self.refused(&reply.told()));
        }
        completion::content(&reply.body).map_err(|missing| match missing {
            NoContent::NotJson(fault) => LlmError::from(Arc::new(AnswerFault::Body(fault))),
            NoContent::Empty => LlmError::from(Arc::new(AnswerFault::EmptyContent)),
            NoContent::Missing => LlmError::from(Arc::new(AnswerFault::NoContent)),
            NoContent::Failed(told) => self.refused(&format!("{}: {told}", StatusCode::OK)),
        })
    }

    fn refused(&self, told: &str) -> LlmError {
        LlmError::Refused(self.shown(told))
    }

    /// What may be logged of a text that the key may be in.
    fn shown(&self, text: &str) -> Arc<str> {
        let key = self.api_key.as_deref().unwrap_or_default();
        let hidden = secret::hide(text, key);
        // A proxy may repeat what it was told.
        let passwords = cause::passwords_of_proxies(|name| std::env::var(name).ok());
        let hidden = passwords
            .iter()
            .fold(hidden, |text, password| secret::hide(&text, password));
        hidden
            .chars()
            .take(MAX_LOGGED_CHARS)
            .collect::<String>()
            .into()
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
