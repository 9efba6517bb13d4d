use std::net::Ipv4Addr;
use std::sync::Arc;

use warp::http::Version;

use super::*;
use crate::http::connections::Connections;
use crate::http::peer::Peer;

const CLIENT: &str = "a-key-of-some-client";
const ADMIN: &str = "a-key-of-administrators";

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

/// What comes of a request with these headers: the origin that may read the answer, or the code of
/// the refusal.
fn page(
    trust: &Trust,
    is_loopback: bool,
    authority: Option<&str>,
    pairs: &[(&'static str, &'static str)],
) -> Result<Option<String>, &'static str> {
    let version = match authority {
        Some(_) => Version::HTTP_2,
        None => Version::HTTP_11,
    };
    page_over(version, trust, is_loopback, authority, pairs)
}

/// The same over a version of HTTP.
fn page_over(
    version: Version,
    trust: &Trust,
    is_loopback: bool,
    authority: Option<&str>,
    pairs: &[(&'static str, &'static str)],
) -> Result<Option<String>, &'static str> {
    let headers = headers(pairs);
    let request_id: Arc<str> = "r".into();
    let all = Connections::new(1);
    let taken = all.take(Peer::of(Ipv4Addr::LOCALHOST.into())).unwrap();
    let head = Head {
        method: "POST",
        path: "/t",
        query: "",
        authority,
        headers: &headers,
        request_id: &request_id,
        seat: taken.seat(),
        is_http2: version == Version::HTTP_2,
        is_http10: version == Version::HTTP_10,
        is_loopback,
    };
    let checked = trust.check_page(&head);
    let checked = checked.map(|origin| origin.map(|origin| origin.to_str().unwrap().to_owned()));
    checked.map_err(|refused| refused.code)
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_and_programs_are_not() {
    let trust = Trust::default();
    let here = ("host", "localhost:8008");
    let check = |pairs: &[(&'static str, &'static str)]| page(&trust, true, None, pairs);
    for fine in [
        &[here][..],
        &[here, ("origin", "http://localhost:8008")],
        // What Node's fetch says.
        &[here, ("sec-fetch-mode", "cors")],
        &[here, ("sec-fetch-site", "same-origin")],
        &[
            here,
            ("sec-fetch-site", "none"),
            ("sec-fetch-mode", "navigate"),
        ],
        // A link that is followed.
        &[
            here,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ],
    ] {
        assert_eq!(check(fine), Ok(None), "{fine:?}");
    }
    for foreign in [
        &[here, ("origin", "http://evil.example")][..],
        &[here, ("origin", "null")],
        &[here, ("origin", "")],
        &[here, ("origin", "http://localhost:3000")],
        &[
            here,
            ("origin", "http://localhost:8008"),
            ("origin", "http://evil.example"),
        ],
        &[
            here,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ],
        &[here, ("sec-fetch-site", "same-site")],
        // A form that is sent has an origin.
        &[
            here,
            ("origin", "http://evil.example"),
            ("sec-fetch-mode", "navigate"),
        ],
    ] {
        assert_eq!(check(foreign), Err("foreign_origin"), "{foreign:?}");
    }
    for foreign in [
        &[("host", "evil.example:8008")][..],
        &[
            ("host", "evil.example:8008"),
            ("origin", "http://evil.example:8008"),
        ],
        &[("host", "")],
    ] {
        assert_eq!(check(foreign), Err("foreign_host"), "{foreign:?}");
    }
    assert_eq!(
        check(&[here, ("host", "evil.example")]),
        Err("malformed_request")
    );
    // HTTP/2, and a proxy's form of HTTP/1: what it says stands beside `Host`.
    let called = |authority, pairs: &[_]| page(&trust, true, Some(authority), pairs);
    assert_eq!(called("localhost:8008", &[]), Ok(None));
    assert_eq!(called("evil.example", &[here]), Err("foreign_host"));
    assert_eq!(
        called("localhost:8008", &[("host", "evil.example")]),
        Err("foreign_host")
    );
}

#[tokio::test]
async fn a_request_says_by_one_name_how_the_service_is_called() {
    let here = ("host", "localhost");
    let there = ("host", "omnizap:8008");
    let proxied = Some("localhost");
    let origin = ("origin", "http://localhost");
    let malformed = Some("malformed_request");
    for is_loopback in [true, false] {
        let trust = Trust::default();
        for (version, authority, pairs, expected) in [
            (Version::HTTP_11, None, &[here][..], None),
            (Version::HTTP_11, None, &[], malformed),
            (Version::HTTP_11, None, &[here, here], malformed),
            // A form for proxies asks for `Host` too.
            (Version::HTTP_11, proxied, &[here], None),
            (Version::HTTP_11, proxied, &[], malformed),
            (Version::HTTP_2, proxied, &[], None),
            (Version::HTTP_2, proxied, &[here], None),
            (Version::HTTP_2, proxied, &[here, here], malformed),
            (Version::HTTP_2, None, &[here], None),
            (Version::HTTP_2, None, &[], malformed),
            (Version::HTTP_10, None, &[here], None),
            (Version::HTTP_10, None, &[here, here], malformed),
            // No browser, and what may be one behind a proxy.
            (Version::HTTP_10, None, &[], None),
            (Version::HTTP_10, None, &[("user-agent", "probe")], None),
            (Version::HTTP_10, None, &[origin], malformed),
            (
                Version::HTTP_10,
                None,
                &[("referer", "http://a/")],
                malformed,
            ),
            (
                Version::HTTP_10,
                None,
                &[("sec-fetch-dest", "image")],
                malformed,
            ),
        ] {
            let checked = page_over(version, &trust, is_loopback, authority, pairs);
            assert_eq!(
                checked.err(),
                expected,
                "{version:?} {authority:?} {pairs:?}"
            );
        }
        let listed = Trust {
            hosts: Hosts::parse("omnizap").unwrap(),
            ..Trust::default()
        };
        let check = |pairs: &[(&'static str, &'static str)]| {
            page_over(Version::HTTP_11, &listed, is_loopback, None, pairs).err()
        };
        assert_eq!(check(&[there]), None);
        assert_eq!(check(&[]), malformed);
        assert_eq!(check(&[there, ("host", "evil.example")]), malformed);
    }
}

#[tokio::test]
async fn what_the_operator_allows_is_allowed() {
    let trust = Trust {
        hosts: Hosts::parse("bot.example").unwrap(),
        origins: Origins::parse("https://page.example").unwrap(),
        ..Trust::default()
    };
    let here = ("host", "bot.example");
    let check = |pairs: &[(&'static str, &'static str)]| page(&trust, true, None, pairs);
    let allowed = check(&[here, ("origin", "https://page.example")]);
    assert_eq!(allowed, Ok(Some("https://page.example".to_owned())));
    assert_eq!(check(&[here, ("origin", "https://bot.example")]), Ok(None));
    assert_eq!(
        check(&[here, ("origin", "http://page.example")]),
        Err("foreign_origin")
    );
    let anywhere = Trust::default();
    let network = page(&anywhere, false, None, &[("host", "omnizap:8008")]);
    assert_eq!(network, Ok(None), "the bot in a container network");
    let foreign = [("host", "omnizap:8008"), ("origin", "http://evil.example")];
    assert_eq!(
        page(&anywhere, false, None, &foreign),
        Err("foreign_origin")
    );
}

#[test]
fn keys_open_what_they_are_for() {
    let key = |key: &str| Keys::parse(key).unwrap();
    let none = Trust::default();
    let api = Trust {
        api_keys: key(CLIENT),
        ..Trust::default()
    };
    let admin = Trust {
        admin_keys: key(ADMIN),
        ..Trust::default()
    };
    let both = Trust {
        api_keys: key(CLIENT),
        admin_keys: key(ADMIN),
        ..Trust::default()
    };
    let check = |trust: &Trust, given: &'static str, access, is_loopback| {
        let pairs = [("x-api-key", given)];
        let pairs = if given.is_empty() { &[][..] } else { &pairs };
        let checked = trust.check_key(&headers(pairs), access, is_loopback);
        checked.map_err(|refused| (refused.status.as_u16(), refused.code))
    };
    let unknown = Err((401, "unauthorized"));
    let not_admin = Err((403, "admin_key_required"));
    for is_loopback in [true, false] {
        for trust in [&none, &api, &admin, &both] {
            assert_eq!(check(trust, "", Access::Open, is_loopback), Ok(()));
            assert_eq!(check(trust, "wrong", Access::Open, is_loopback), Ok(()));
        }
        for trust in [&none, &admin] {
            assert_eq!(check(trust, "", Access::Client, is_loopback), Ok(()));
        }
        for trust in [&api, &both] {
            assert_eq!(check(trust, CLIENT, Access::Client, is_loopback), Ok(()));
            for given in ["", "wrong"] {
                assert_eq!(check(trust, given, Access::Client, is_loopback), unknown);
            }
        }
        assert_eq!(check(&both, ADMIN, Access::Client, is_loopback), Ok(()));
        for trust in [&admin, &both] {
            assert_eq!(check(trust, ADMIN, Access::Admin, is_loopback), Ok(()));
            assert_eq!(check(trust, "", Access::Admin, is_loopback), unknown);
        }
        assert_eq!(check(&both, CLIENT, Access::Admin, is_loopback), not_admin);
    }
    // Without a key of administrators their routes are for whoever is on the machine.
    assert_eq!(check(&none, "", Access::Admin, true), Ok(()));
    assert_eq!(check(&api, CLIENT, Access::Admin, true), Ok(()));
    assert_eq!(check(&api, "", Access::Admin, true), unknown);
    for trust in [&none, &api] {
        let closed = Err((403, "no_admin_key"));
        assert_eq!(check(trust, CLIENT, Access::Admin, false), closed);
    }
}

#[test]
fn a_refusal_says_what_is_wanted() {
    let trust = Trust {
        api_keys: Keys::parse(CLIENT).unwrap(),
        ..Trust::default()
    };
    let refused = trust.check_key(&HeaderMap::new(), Access::Client, true);
    let response = refused.unwrap_err().answer("r");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(
        response.headers()[header::WWW_AUTHENTICATE]
            .as_bytes()
            .starts_with(b"Bearer")
    );
}
