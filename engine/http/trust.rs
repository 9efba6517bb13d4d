//! Whom the service answers: not pages of other sites that a browser has open, and where there are
//! keys, only who has one.
//!
//! A browser sends what any page asks for, to addresses of its own machine and network too, and
//! says of each request by which name the service was called (`Host`) and which page asks
//! (`Origin`, or `Sec-Fetch-Site`). A program that is no browser says none of the latter two.

mod keys;
mod names;

use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

pub use self::keys::Keys;
pub use self::names::{Hosts, Origins};
use super::head::Head;
use super::reply::{self, Response};

/// What says how a page stands to the service.
const FETCH_SITE: &str = "sec-fetch-site";
/// What says whether a page was left for this one.
const FETCH_MODE: &str = "sec-fetch-mode";
/// The rest of what browsers alone say of themselves, beside `Origin` and `Referer`.
const FETCH_DEST: &str = "sec-fetch-dest";
const FETCH_USER: &str = "sec-fetch-user";

/// Whom the service answers.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// By which names it may be called.
    pub hosts: Hosts,
    /// Pages of other sites that may use it.
    pub origins: Origins,
    /// Keys for all routes but the two of probes.
    pub api_keys: Keys,
    /// Keys for the routes of administrators; they open the others too.
    pub admin_keys: Keys,
}

/// What is asked for, by who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// Whoever has a key, where there are keys.
    Client,
    /// Whoever has a key of administrators.
    Admin,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

/// Whose key a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bearer {
    /// It has none.
    Nobody,
    /// It has one that is not known.
    Stranger,
    Client,
    Admin,
}

impl Trust {
    /// Checks by which name the service was called, and which page asks. Gives the origin of a page
    /// of another site that may use it.
    pub(super) fn check_page<'r>(
        &self,
        head: &Head<'r>,
    ) -> Result<Option<&'r HeaderValue>, Refused> {
        let headers = head.headers;
        check_hosts(head)?;
        let named = headers.get_all(header::HOST).into_iter();
        let named = named.map(|host| host.to_str().unwrap_or_default());
        let hosts: Vec<&str> = named.chain(head.authority).collect();
        // The name may stand in the target as well, and one of the two could be for whoever stands
        // before the service.
        if !hosts
            .iter()
            .all(|host| self.hosts.allows(host, head.is_loopback))
        {
            let expected = if head.is_loopback {
                "expected localhost, 127.0.0.1 or [::1], or a name of the setting allowed-hosts"
            } else {
                "expected an address, or a name of the setting allowed-hosts"
            };
            let detail = format!("the service is not called by that name in Host: {expected}");
            return Err(Refused::forbidden("foreign_host", detail));
        }
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        let Some(origin) = origins.next() else {
            return if self.is_of_another_site(headers) {
                Err(foreign_page())
            } else {
                Ok(None)
            };
        };
        let text = origin.to_str().ok().filter(|_| origins.next().is_none());
        let Some(text) = text else {
            return Err(foreign_page());
        };
        if self.origins.allow(text) {
            return Ok(Some(origin));
        }
        let is_same = names::is_origin_of(text, &hosts);
        if is_same {
            Ok(None)
        } else {
            Err(foreign_page())
        }
    }

    /// True where a browser says that a page of another site asks, which is not left for the answer
    /// as it is where a link is followed.
    fn is_of_another_site(&self, headers: &HeaderMap) -> bool {
        let says = |name: &str, word: &str| {
            let value = headers.get(name);
            value.is_some_and(|value| value.as_bytes() == word.as_bytes())
        };
        let is_other = says(FETCH_SITE, "cross-site") || says(FETCH_SITE, "same-site");
        is_other && !says(FETCH_MODE, "navigate") && !self.origins.are_any()
    }

    /// Checks that a request may have what it asks for.
    pub(super) fn check_key(
        &self,
        headers: &HeaderMap,
        access: Access,
        is_loopback: bool,
    ) -> Result<(), Refused> {
        let wanted = match access {
            Access::Open => Bearer::Nobody,
            Access::Admin if !self.admin_keys.is_empty() => Bearer::Admin,
            Access::Admin if !is_loopback => {
                return Err(Refused::forbidden(
                    "no_admin_key",
                    "this is for administrators, and the service has no key for them: set \
                 OMNIZAP_ADMIN_KEYS, or let it listen on a loopback address alone"
                        .to_owned(),
                ));
            }
            Access::Admin | Access::Client if self.api_keys.is_empty() => Bearer::Nobody,
            Access::Admin | Access::Client => Bearer::Client,
        };
        if wanted == Bearer::Nobody {
            return Ok(());
        }
        let detail = match self.bearer(headers) {
            bearer if bearer >= wanted => return Ok(()),
            Bearer::Client | Bearer::Admin => {
                let detail = "this is for administrators: the key is not one of theirs";
                return Err(Refused::forbidden("admin_key_required", detail.to_owned()));
            }
            Bearer::Nobody => {
                "there is no key, expected `Authorization: Bearer KEY` or `X-Api-Key: KEY`"
            }
            Bearer::Stranger => "the key is not one of this service's",
        };
        Err(Refused {
            status: StatusCode::UNAUTHORIZED,
            code: "unauthorized",
            detail: detail.to_owned(),
        })
    }

    fn bearer(&self, headers: &HeaderMap) -> Bearer {
        let mut best = Bearer::Nobody;
        for given in keys::given(headers) {
            // All of them are compared, whatever comes of it.
            let is_admin = self.admin_keys.have(given);
            let is_client = self.api_keys.have(given);
            best = best.max(match (is_admin, is_client) {
                (true, _) => Bearer::Admin,
                (false, true) => Bearer::Client,
                (false, false) => Bearer::Stranger,
            });
        }
        best
    }
}

/// Checks that a request says by one name how the service is called: one without any would pass
/// every check of names, and of several one could be for whoever stands before the service (RFC
/// 9112, section 3.2). Over HTTP/2 that name may stand in `:authority` alone.
///
/// Who speaks HTTP/1.0 need not say one, as probes of balancers do not: every browser speaks a
/// later version and says one always. What browsers alone say is refused without it all the same:
/// it would be of one behind a proxy that speaks HTTP/1.0 and leaves the name out.
fn check_hosts(head: &Head<'_>) -> Result<(), Refused> {
    let headers = head.headers;
    let found = match headers.get_all(header::HOST).iter().count() {
        1 => return Ok(()),
        0 if head.is_http2 && head.authority.is_some() => return Ok(()),
        0 if head.is_http10 && !is_of_browser(headers) => return Ok(()),
        0 => "has no `Host`",
        _ => "has several `Host`",
    };
    Err(Refused {
        status: StatusCode::BAD_REQUEST,
        code: "malformed_request",
        detail: format!("the request {found}, expected one that names the service"),
    })
}

/// True for what no program says that is no browser.
fn is_of_browser(headers: &HeaderMap) -> bool {
    let names = [
        header::ORIGIN.as_str(),
        header::REFERER.as_str(),
        FETCH_SITE,
        FETCH_MODE,
        FETCH_DEST,
        FETCH_USER,
    ];
    names.iter().any(|name| headers.contains_key(*name))
}

fn foreign_page() -> Refused {
    let detail = "a page of another site asks, expected one of this service or of the setting \
                  allowed-origins";
    Refused::forbidden("foreign_origin", detail.to_owned())
}

impl Refused {
    fn forbidden(code: &'static str, detail: String) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code,
            detail,
        }
    }

    pub(super) fn answer(self, request_id: &str) -> Response {
        let Self {
            status,
            code,
            detail,
        } = self;
        tracing::info!(request_id, code, "request refused: {detail}");
        let mut response = reply::status_error(status, code, detail, request_id);
        if status == StatusCode::UNAUTHORIZED {
            let wanted = HeaderValue::from_static("Bearer realm=\"omnizap\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, wanted);
        }
        response
    }
}

/// True where a browser asks whether a page of another site may ask.
pub(super) fn is_preflight(head: &Head<'_>) -> bool {
    let asks = header::ACCESS_CONTROL_REQUEST_METHOD;
    head.method == "OPTIONS" && head.headers.contains_key(asks)
}

/// The answer to that, without who may: methods and headers that the service knows.
pub(super) fn preflight() -> Response {
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, traceparent, tracestate, x-api-key, x-request-id, x-trace",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    for (name, value) in allowed {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Lets a page of another site read an answer.
pub(super) fn let_read(response: &mut Response, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let shown = HeaderValue::from_static(
        "retry-after, server-timing, www-authenticate, x-request-id, x-unknown-fields",
    );
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, shown);
}

#[cfg(test)]
mod tests;
