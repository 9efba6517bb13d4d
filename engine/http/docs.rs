//! `/docs`: a page that shows `/openapi.json` to people. It is in the program, asks nothing of
//! anybody else, and holds nothing of the service itself: what it shows it asks for, with the key
//! that whoever looks at it gives.

use warp::http::{HeaderName, HeaderValue, header};

use super::reply::Response;

/// What the page may do: read what this service has, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("docs/docs.html");
const STYLE: &str = include_str!("docs/docs.css");
const SCRIPT: &str = include_str!("docs/docs.js");

pub(super) fn page() -> Response {
    answer(PAGE, "text/html; charset=utf-8")
}

pub(super) fn style() -> Response {
    answer(STYLE, "text/css; charset=utf-8")
}

pub(super) fn script() -> Response {
    answer(SCRIPT, "text/javascript; charset=utf-8")
}

fn answer(text: &'static str, content_type: &'static str) -> Response {
    let mut response = Response::new(text.into());
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another program may stand here tomorrow.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else_and_needs_no_exception() {
        for text in [PAGE, STYLE, SCRIPT] {
            for address in ["http://", "https://", "//cdn", "@import"] {
                let others = text.split(address).skip(1);
                let mut others = others.filter(|rest| !rest.starts_with("127.0.0.1:8008"));
                assert_eq!(others.next(), None, "{address}");
            }
            // What is written behind it on a connection is told apart by that.
            assert!(text.ends_with('\n'));
        }
        for inline in ["<style", "style=", "onclick", "javascript:", "<script>"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        for unsafe_way in ["innerHTML", "insertAdjacentHTML", "eval(", ".style."] {
            assert!(!SCRIPT.contains(unsafe_way), "{unsafe_way}");
        }
    }
}
