//! A page for people, and the files that it is made of. The program gives them: what they know of
//! answers is not the engine's to know.
//!
//! Each is sent with a policy under which a browser takes scripts, styles and pictures of this
//! service alone, and is asked for again at each visit, by its tag, so that a page fits the service
//! that answers it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::reply::Response;

/// What a browser may do with a file of the page, and what it tells others.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cache-control", "no-cache"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Media types by the end of a name.
const TYPES: [(&str, &str); 6] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("webp", "image/webp"),
];

/// The files of a page, by their paths. Without any there is no page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    files: Vec<File>,
}

/// A file of a page.
#[derive(Clone, Debug)]
pub(super) struct File {
    path: &'static str,
    content_type: &'static str,
    tag: HeaderValue,
    bytes: Bytes,
}

impl Page {
    /// A page of files, each with its path, `/` for the one that is opened.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = (&'static str, &'static [u8])>) -> Self {
        let files = files.into_iter().map(|(path, bytes)| {
            let end = if path == "/" { "html" } else { end_of(path) };
            let known = TYPES.iter().find(|(known, _)| *known == end);
            File {
                path,
                content_type: known.map_or("application/octet-stream", |(_, content)| content),
                tag: tag(bytes),
                bytes: Bytes::from_static(bytes),
            }
        });
        Self {
            files: files.collect(),
        }
    }

    /// The file at a path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    /// The file, or that the client has it already.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let has_it = self.is_known_to(headers);
        let body = if has_it {
            Bytes::new()
        } else {
            self.bytes.clone()
        };
        let mut response = Response::new(body.into());
        if has_it {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let sent = response.headers_mut();
        for (name, value) in HEADERS {
            sent.insert(name, HeaderValue::from_static(value));
        }
        sent.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        sent.insert(header::ETAG, self.tag.clone());
        response
    }

    fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(header::IF_NONE_MATCH).into_iter();
        let known = known.filter_map(|list| list.to_str().ok());
        let mut tags = known.flat_map(|list| list.split(',')).map(str::trim);
        // Where a proxy packs a file its tag is a weak one, which is the same here.
        tags.any(|tag| tag == "*" || tag.trim_start_matches("W/").as_bytes() == self.tag.as_bytes())
    }
}

fn end_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, end)| end)
}

/// A tag that is another for other bytes. It is for caches: nothing is trusted by it.
fn tag(bytes: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let text = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::new([
            ("/", &b"<!doctype html>"[..]),
            ("/page/a.js", &b"export {};"[..]),
            ("/page/b", &b"?"[..]),
        ])
    }

    fn asked(tag: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
        headers
    }

    #[test]
    fn files_are_found_by_their_whole_path_and_have_their_type() {
        let page = page();
        let kind = |path: &str| page.file(path).map(|file| file.content_type);
        assert_eq!(kind("/"), Some("text/html; charset=utf-8"));
        assert_eq!(kind("/page/a.js"), Some("text/javascript; charset=utf-8"));
        assert_eq!(kind("/page/b"), Some("application/octet-stream"));
        for other in [
            "",
            "/page",
            "/page/",
            "/page/../page/a.js",
            "/a.js",
            "/PAGE/A.JS",
        ] {
            assert_eq!(kind(other), None, "{other}");
        }
        assert!(Page::default().file("/").is_none());
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let page = page();
        let (one, other) = (page.file("/").unwrap(), page.file("/page/a.js").unwrap());
        let tag = one.tag.to_str().unwrap();
        assert_ne!(one.tag, other.tag);
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        for known in [tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
            let answer = one.answer(&asked(known));
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(answer.headers()[header::ETAG], one.tag);
        }
        for unknown in ["\"x\"", "", &tag.replace('"', "")] {
            assert_eq!(one.answer(&asked(unknown)).status(), StatusCode::OK);
        }
        assert_eq!(one.answer(&HeaderMap::new()).status(), StatusCode::OK);
    }

    #[test]
    fn every_file_has_the_policy() {
        let page = page();
        for file in &page.files {
            let answer = file.answer(&HeaderMap::new());
            let policy = answer.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self';"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(!policy.contains("  "), "{policy}");
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }
}
