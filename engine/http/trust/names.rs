//! Names of services and of pages: `Host` and `Origin`.

use std::net::IpAddr;

/// The name that stands for every one.
const ANY: &str = "*";
/// Most names of a list.
const MAX_NAMES: usize = 1024;

/// By which names the service may be called, beside those of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(List);

/// The pages of other sites that may use the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(List);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    is_any: bool,
    names: Vec<String>,
}

/// `scheme://host:port`, without what is a matter of course.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Hosts {
    /// Reads names between commas, without ports; `*` stands for all.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = |name: &str| {
            let host = split(name).filter(|(_, port)| port.is_none());
            let host = host.map(|(host, _)| host).filter(|host| is_host(host));
            host.ok_or_else(|| {
                format!("{name:?} is no host, expected such as bot.example.org, without a port")
            })
        };
        Ok(Self(List::read(text, read)?))
    }

    /// True where a service may be called so. One that listens on a loopback address is only called
    /// by the names of that, and by those that are listed; any other by all names, unless some are
    /// listed: then by those and by addresses, to which no name of an attacker leads.
    pub(super) fn allows(&self, called: &str, is_loopback: bool) -> bool {
        let Self(list) = self;
        if list.is_any || (!is_loopback && list.names.is_empty()) {
            return true;
        }
        let Some((host, _)) = split(called) else {
            return false;
        };
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_of_machine = match address {
            Ok(address) => !is_loopback || address.to_canonical().is_loopback(),
            Err(_) => host == "localhost",
        };
        is_of_machine || list.names.contains(&host)
    }
}

impl Origins {
    /// Reads origins between commas; `*` stands for all.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = |name: &str| {
            let origin = Origin::read(name.trim_end_matches('/'));
            let origin = origin.filter(|origin| is_host(&origin.host));
            let written = origin.map(|origin| origin.written());
            written.ok_or_else(|| {
                format!("{name:?} is no origin, expected such as https://bot.example.org:8443")
            })
        };
        Ok(Self(List::read(text, read)?))
    }

    /// True where pages of that origin may use the service.
    pub(super) fn allow(&self, origin: &str) -> bool {
        let Self(list) = self;
        let is_listed = || {
            let written = Origin::read(origin).map(|origin| origin.written());
            written.is_some_and(|origin| list.names.contains(&origin))
        };
        list.is_any || is_listed()
    }

    pub(super) fn are_any(&self) -> bool {
        self.0.is_any
    }
}

impl List {
    fn read(text: &str, read: impl Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        let mut list = Self::default();
        let names = text.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            if name == ANY {
                list.is_any = true;
            } else {
                list.names.push(read(name)?);
            }
        }
        if list.names.len() > MAX_NAMES {
            return Err(format!("expected at most {MAX_NAMES} names"));
        }
        Ok(list)
    }
}

impl Origin {
    /// `None` for what is no origin, `null` included: any page can have that.
    fn read(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split(authority)?;
        Some(Self {
            port: port.filter(|port| Some(*port) != usual_port(&scheme)),
            scheme,
            host,
        })
    }

    fn written(&self) -> String {
        let Self { scheme, host, port } = self;
        match port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }
}

/// True where a page is one of the service that was called so, by all of those names.
pub(super) fn is_origin_of(origin: &str, hosts: &[&str]) -> bool {
    let Some(origin) = Origin::read(origin) else {
        return false;
    };
    let is_same = |called: &&str| {
        split(called).is_some_and(|(host, port)| {
            // What stands before the service may speak TLS for it.
            let port = port.filter(|port| Some(*port) != usual_port(&origin.scheme));
            host == origin.host && port == origin.port
        })
    };
    !hosts.is_empty() && hosts.iter().all(is_same)
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A host, in lower case and without the dot of its root, and its port. An address of IPv6 stands
/// in brackets.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.find(']') {
        Some(end) if authority.starts_with('[') => {
            let (host, rest) = authority.split_at(end + 1);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return None,
            }
        }
        Some(_) => return None,
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        // A colon alone is allowed (RFC 3986, section 3.2.3).
        None | Some("") => None,
        Some(port) if is_number(port) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (!host.is_empty()).then_some((host, port))
}

/// True for what can be a name or an address.
fn is_host(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_service_is_called_by_names_of_the_machine() {
        let hosts = Hosts::default();
        for called in [
            "localhost",
            "LocalHost:8008",
            "localhost.:8008",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:8008",
            "[::ffff:127.0.0.1]:8008",
            "localhost:",
        ] {
            assert!(hosts.allows(called, true), "{called}");
        }
        for called in [
            "",
            "evil.example",
            "evil.example:8008",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost:8008:1",
            "localhost:x",
            "localhost:99999",
            "10.0.0.1",
            "0.0.0.0:8008",
            "[::1",
            "::1",
            "[::1]evil",
            "[2001:db8::1]",
            "localhost,evil.example",
            "localhost evil",
        ] {
            assert!(!hosts.allows(called, true), "{called}");
        }
        let hosts = Hosts::parse("Bot.Example.org, other").unwrap();
        assert!(hosts.allows("bot.example.org.:80", true) && hosts.allows("localhost", true));
        assert!(!hosts.allows("example.org", true) && !hosts.allows("x.bot.example.org", true));
        assert!(Hosts::parse("*").unwrap().allows("evil.example", true));
    }

    #[test]
    fn any_other_service_is_called_by_any_name_unless_some_are_listed() {
        for called in ["omnizap", "evil.example:8008", "10.0.0.1:8008", ""] {
            assert!(Hosts::default().allows(called, false), "{called}");
        }
        let hosts = Hosts::parse("omnizap").unwrap();
        for called in [
            "omnizap:8008",
            "10.0.0.1:8008",
            "[2001:db8::1]",
            "localhost",
        ] {
            assert!(hosts.allows(called, false), "{called}");
        }
        assert!(!hosts.allows("evil.example:8008", false));
    }

    #[test]
    fn lists_are_read_with_what_is_wrong_in_them() {
        for text in ["a:80", "http://a", "a/b", "a b", "[::1]:1", "[x]", "ü"] {
            let error = Hosts::parse(text).unwrap_err();
            assert!(error.contains("is no host"), "{text}: {error}");
        }
        for text in [
            "null",
            "a",
            "https://",
            "https://a/b",
            "://a",
            "http://a:x",
            "https://*.a",
        ] {
            let error = Origins::parse(text).unwrap_err();
            assert!(error.contains("is no origin"), "{text}: {error}");
        }
        assert!(Hosts::parse(&"a,".repeat(MAX_NAMES + 1)).is_err());
        assert_eq!(Hosts::parse(" ,").unwrap(), Hosts::default());
    }

    #[test]
    fn origins_are_told_by_scheme_host_and_port() {
        let origins = Origins::parse("https://A.example/, http://b:8080,app://c").unwrap();
        for origin in [
            "https://a.example",
            "HTTPS://a.example:443",
            "http://b:8080",
            "app://c",
        ] {
            assert!(origins.allow(origin), "{origin}");
        }
        for origin in [
            "http://a.example",
            "https://a.example:8443",
            "https://x.a.example",
            "https://a.example.evil",
            "http://b",
            "null",
            "",
        ] {
            assert!(!origins.allow(origin), "{origin}");
        }
        let any = Origins::parse("*").unwrap();
        assert!(any.allow("null") && any.are_any());
    }

    #[test]
    fn a_page_of_the_service_has_the_name_that_it_was_called_by() {
        for (origin, host) in [
            ("http://localhost:8008", "localhost:8008"),
            ("http://LOCALHOST", "localhost:80"),
            ("https://a.example", "a.example"),
            ("https://a.example", "a.example:443"),
            ("http://[::1]:8008", "[::1]:8008"),
        ] {
            assert!(is_origin_of(origin, &[host]), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:3000", "localhost:8008"),
            ("http://localhost", "localhost:8008"),
            ("http://127.0.0.1:8008", "localhost:8008"),
            ("http://evil.example", "localhost"),
            ("null", "localhost"),
            ("localhost", "localhost"),
        ] {
            assert!(!is_origin_of(origin, &[host]), "{origin} {host}");
        }
        assert!(!is_origin_of("http://a", &[]));
        assert!(!is_origin_of("http://a", &["a", "b"]));
    }
}
