//! Values of flags and of the variables that stand for them, as people write them: with blanks or a
//! carriage return around, as a file from another system leaves them.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use omnizap_contract::option::parse_bool;
use omnizap_models::{Device, Precision};
use tokio::net::TcpListener;

/// Reads a switch.
///
/// # Errors
/// What was expected.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    parse_bool(text)
        .ok_or_else(|| "expected true or false (also 1, 0, on, off, yes, no)".to_owned())
}

/// Reads a whole number within inclusive bounds.
///
/// # Errors
/// What was expected.
pub(super) fn whole(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.trim().parse().ok();
    let number = number.filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("expected a whole number from {min} to {max}"))
}

/// Reads where models compute: a device that this build has.
///
/// # Errors
/// What was expected, or how to build it.
pub(super) fn device(text: &str) -> Result<Device, String> {
    let Some(device) = Device::of_name(text.trim()) else {
        let known = Device::ALL.map(Device::name).join(" or ");
        return Err(format!("expected {known}"));
    };
    let is_built = device.check(Precision::F32);
    is_built.map_err(|error| error.to_string())?;
    Ok(device)
}

/// A time as flags take it, in milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    /// At this address.
    At(SocketAddr),
    /// At the address of this host, port.
    Host(String, u16),
}

impl Listen {
    /// `HOST:PORT`, `:PORT` for every interface of this machine (IPv4), `PORT` for this machine
    /// alone.
    ///
    /// # Errors
    /// What was expected, with examples.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number);
        let Some(port) = port else {
            return Err(expected());
        };
        let every = || IpAddr::from(Ipv4Addr::UNSPECIFIED);
        match host {
            "" | "*" => Ok(Self::At(SocketAddr::new(every(), port))),
            host if is_host(host) => Ok(host.parse().map_or_else(
                |_| Self::Host(host.to_owned(), port),
                |address: IpAddr| Self::At(SocketAddr::new(address, port)),
            )),
            _ => Err(expected()),
        }
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::At(address) => address.port(),
            Self::Host(_, port) => *port,
        }
    }

    /// True where nothing but this machine reaches it.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::At(address) => address.ip().is_loopback(),
            Self::Host(host, _) => host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Where a client on this machine finds who listens there.
    pub(super) fn to_reach(&self) -> Self {
        match self {
            Self::At(SocketAddr::V4(address)) if address.ip().is_unspecified() => {
                Self::At((Ipv4Addr::LOCALHOST, address.port()).into())
            }
            Self::At(SocketAddr::V6(address)) if address.ip().is_unspecified() => {
                Self::At((Ipv6Addr::LOCALHOST, address.port()).into())
            }
            other => other.clone(),
        }
    }

    /// Listens there. Of a host with several addresses at the first, those of IPv4 before the
    /// others, that this machine has.
    ///
    /// # Errors
    /// A host that there is not; what the system says.
    pub(super) async fn bind(&self) -> anyhow::Result<TcpListener> {
        let addresses = match self {
            Self::At(address) => vec![*address],
            Self::Host(host, port) => {
                let found = tokio::net::lookup_host((host.as_str(), *port)).await;
                let found = found.with_context(|| format!("no address is known of {host:?}"))?;
                let mut found: Vec<_> = found.collect();
                found.sort_by_key(SocketAddr::is_ipv6);
                found
            }
        };
        let mut failed = anyhow!("it has no address");
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(listener) => return Ok(listener),
                Err(error) => {
                    let is_elsewhere = error.kind() == ErrorKind::AddrNotAvailable;
                    failed = error.into();
                    if !is_elsewhere {
                        break;
                    }
                }
            }
        }
        Err(failed)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

fn is_host(host: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    host.chars().all(is_part)
}

fn expected() -> String {
    "expected HOST:PORT, such as 127.0.0.1:8008, localhost:8008 or [::1]:8008; :8008 is every \
     interface, 8008 this machine alone"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_one_that_this_build_has() {
        assert_eq!(device(" CPU\r"), Ok(Device::Cpu));
        assert_eq!(device("cuda"), Err("expected cpu or wgpu".to_owned()));
        match (device("wgpu"), cfg!(feature = "wgpu")) {
            (Ok(Device::Wgpu), true) => {}
            (Err(said), false) => assert!(said.contains("--features wgpu"), "{said}"),
            found => panic!("{found:?}"),
        }
    }

    #[test]
    fn an_address_may_be_written_in_any_usual_way() {
        for (text, expected) in [
            ("127.0.0.1:8008", "127.0.0.1:8008"),
            (" 127.0.0.1:8008\r\n", "127.0.0.1:8008"),
            ("[::1]:8008", "[::1]:8008"),
            ("[::]:0", "[::]:0"),
            (":8008", "0.0.0.0:8008"),
            ("*:8008", "0.0.0.0:8008"),
            ("8008", "127.0.0.1:8008"),
            ("0", "127.0.0.1:0"),
            ("localhost:8008", "localhost:8008"),
            ("my-host.example:80", "my-host.example:80"),
        ] {
            let found = Listen::parse(text).map(|listen| listen.to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            " ",
            "nowhere",
            "localhost",
            "127.0.0.1",
            "::1",
            "::1:8008",
            "localhost:",
            "localhost:+1",
            ":65536",
            "65536",
            "-1",
            "http://localhost:8008",
            "a b:8008",
            "localhost:8008/",
        ] {
            let error = Listen::parse(text).unwrap_err();
            assert!(error.contains("127.0.0.1:8008"), "{text}: {error}");
        }
    }

    #[test]
    fn a_client_reaches_who_listens_everywhere_on_this_machine() {
        for (text, expected, is_inside) in [
            (":8008", "127.0.0.1:8008", false),
            ("[::]:1", "[::1]:1", false),
            ("localhost:2", "localhost:2", true),
            ("127.0.0.1:3", "127.0.0.1:3", true),
            ("10.0.0.7:4", "10.0.0.7:4", false),
        ] {
            let listen = Listen::parse(text).unwrap();
            assert_eq!(listen.to_reach().to_string(), expected);
            assert_eq!(listen.is_loopback(), is_inside, "{text}");
        }
    }

    #[tokio::test]
    async fn a_host_is_listened_at_where_it_is() {
        let listener = Listen::parse("localhost:0").unwrap().bind().await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
        let taken = listener.local_addr().unwrap();
        let again = Listen::At(taken).bind().await.unwrap_err();
        let error = again.downcast::<std::io::Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn numbers_and_switches_may_have_blanks_around() {
        assert_eq!(whole(" 12\r", 1, 20), Ok(12));
        for text in ["0", "21", "", "1.5", "x", "-1"] {
            let error = whole(text, 1, 20).unwrap_err();
            assert_eq!(error, "expected a whole number from 1 to 20");
        }
        assert_eq!(switch(" True\r"), Ok(true));
        assert_eq!(switch("off"), Ok(false));
        switch("perhaps").unwrap_err();
    }
}
