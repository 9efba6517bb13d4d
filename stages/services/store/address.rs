//! A database's URL as people write it, checked before anything is tried with it.
//!
//! What is amiss is told without a word of the URL: it may hold a password, and where it is
//! torn apart in the wrong place, any part of it may.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;

use super::StoreError;

pub(super) use self::file::plain;

mod file;

/// What every part of a URL wants that people write.
const ENCODING: &str = "in a user's name, a password or a database's name these want \
    percent-encoding: % as %25, @ as %40, / as %2F, ? as %3F, # as %23, : as %3A, a blank as %20";

/// What a URL of MySQL and MariaDB may say behind the `?`.
const MYSQL_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

/// What a URL of PostgreSQL may say behind the `?`.
const POSTGRES_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Says that a pooler hands each transaction to another session of the server: PgBouncer in
/// transaction mode. Not known to the driver.
const POOLED: &str = "pgbouncer";

/// Longest name of a parameter, or of a kind of database, that is repeated in a message.
const WORD_CHARS: usize = 32;

/// Kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    MySql,
    Postgres,
}

/// A URL that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As the drivers take it.
    pub(super) url: String,
    pub(super) kind: Kind,
    /// True where each transaction may be in another session of the server.
    pub(super) is_pooled: bool,
    /// The file, or the server and the database: what the log may say.
    pub(super) name: String,
    /// Of SQLite.
    pub(super) file: Option<FileAddress>,
    /// Parameters that mean nothing to us and were left out.
    pub(super) ignored: Vec<String>,
}

/// The file of SQLite that a URL names. The driver is given this, and not the URL: of names as
/// people write them it, and what it checks URLs with, make different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileAddress {
    pub(super) path: PathBuf,
    /// True where the connections of this process are to share their cache.
    pub(super) is_shared: bool,
    /// How SQLite reaches its files, where that is said.
    pub(super) vfs: Option<String>,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`StoreError::Scheme`] for a kind of database that this build does not know;
    /// [`StoreError::Url`] for what can never be connected to, or would lose what was
    /// acknowledged.
    pub(super) fn of(url: &str) -> Result<Self, StoreError> {
        let url = url.trim();
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let scheme = scheme.to_ascii_lowercase();
        // What SQLAlchemy appends (`mysql+pymysql`) names a driver of Python, not a database.
        let (name, driver) = match scheme.split_once('+') {
            Some((name, driver)) => (name, Some(driver)),
            None => (scheme.as_str(), None),
        };
        let kind = match name {
            "sqlite" => Kind::Sqlite,
            "mysql" | "mariadb" => Kind::MySql,
            "postgres" | "postgresql" => Kind::Postgres,
            // Without what follows a scheme it may be a password in the wrong place.
            other if is_word(other) && rest.starts_with("//") => {
                return Err(StoreError::Scheme {
                    scheme: other.to_owned(),
                });
            }
            _ => return Err(wrong(EXPECTED)),
        };
        if url.chars().any(char::is_control) {
            return Err(wrong(format!(
                "it holds a line break or another control character; {ENCODING}"
            )));
        }
        match kind {
            Kind::Sqlite => Self::of_sqlite(rest, driver),
            Kind::MySql | Kind::Postgres => Self::of_server(kind, rest, driver.is_some()),
        }
    }

    fn of_sqlite(rest: &str, driver: Option<&str>) -> Result<Self, StoreError> {
        let read = match driver {
            None => file::read(rest),
            Some(driver) => file::read_of_python(rest, driver),
        };
        let (file, ignored) = read.map_err(wrong)?;
        Ok(Self {
            name: file.path.display().to_string(),
            url: format!("sqlite:{rest}"),
            kind: Kind::Sqlite,
            is_pooled: false,
            file: Some(file),
            ignored,
        })
    }

    /// Of a server; `is_of_python` where the URL was written for a driver of Python.
    fn of_server(kind: Kind, rest: &str, is_of_python: bool) -> Result<Self, StoreError> {
        let body = rest.strip_prefix("//").ok_or_else(|| wrong(EXPECTED))?;
        if body.contains('#') {
            return Err(wrong(format!("it holds a `#`; {ENCODING}")));
        }
        let (before, query) = body.split_once('?').unwrap_or((body, ""));
        let (authority, path) = match before.find('/') {
            Some(at) => before.split_at(at),
            None => (before, ""),
        };
        if path.contains('@') {
            return Err(wrong(format!(
                "there is an `@` behind the first `/`; {ENCODING}"
            )));
        }
        let (mut user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (format!("{user}@"), host),
            None => (String::new(), authority),
        };
        let mut server = server(host).map_err(wrong)?;
        let mut parameters = Parameters::of(kind, query, is_of_python)?;
        if server.is_empty() && !user.is_empty() {
            // A user of a host that is named behind the `?`, or nowhere: URLs have no such form.
            match kind {
                Kind::Postgres => {
                    parameters.name_user(user.strip_suffix('@').unwrap_or(&user));
                    user.clear();
                }
                Kind::MySql | Kind::Sqlite => server.push_str("localhost"),
            }
        }
        let scheme = match kind {
            Kind::Postgres => "postgres",
            Kind::MySql | Kind::Sqlite => "mysql",
        };
        let mut url = format!("{scheme}://{user}{server}{path}");
        if !parameters.kept.is_empty() {
            url.push('?');
            url.push_str(&parameters.kept.join("&"));
        }
        let parsed = match kind {
            Kind::Postgres => url.parse::<PgConnectOptions>().map(drop),
            Kind::MySql | Kind::Sqlite => url.parse::<MySqlConnectOptions>().map(drop),
        };
        parsed.map_err(|_| {
            wrong(format!(
                "its user, password or database is no UTF-8 once decoded, or a parameter behind the \
                 `?` (sslmode, port, statement-cache-capacity) has no value that it may have; {ENCODING}"
            ))
        })?;
        Ok(Self {
            name: format!("{scheme}://{server}{path}"),
            url,
            kind,
            is_pooled: parameters.is_pooled,
            file: None,
            ignored: parameters.ignored,
        })
    }
}

const EXPECTED: &str = "expected `mysql://user:password@host/database`, \
    `postgres://user:password@host/database` or `sqlite:///path/to/file.db`";

fn wrong(what: impl Into<String>) -> StoreError {
    StoreError::Url { what: what.into() }
}

/// True for what can be repeated in a message: the name of something, and no secret.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !text.is_empty() && text.len() <= WORD_CHARS && text.chars().all(is_plain)
}

/// What stands behind the `?` of a server's URL.
#[derive(Default)]
struct Parameters {
    kept: Vec<String>,
    ignored: Vec<String>,
    is_pooled: bool,
}

impl Parameters {
    fn of(kind: Kind, query: &str, is_of_python: bool) -> Result<Self, StoreError> {
        let known = match kind {
            Kind::Postgres => POSTGRES_PARAMETERS,
            Kind::MySql | Kind::Sqlite => MYSQL_PARAMETERS,
        };
        let mut found = Self::default();
        let mut encryption = Encryption::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if is_of_python && kind == Kind::MySql && encryption.asks(key, value) {
                continue;
            }
            let renamed = is_of_python.then(|| of_python(kind, key, value)).flatten();
            if let Some((name, value)) = renamed {
                found.kept.push(format!("{name}={value}"));
            } else if kind == Kind::Postgres && key == POOLED {
                found.is_pooled = match value {
                    "true" | "1" | "" => true,
                    "false" | "0" => false,
                    _ => return Err(wrong("`pgbouncer` is true or false")),
                };
            } else if known.contains(&key) || kind == Kind::Postgres && key.starts_with("options[")
            {
                if matches!(key, "host" | "hostaddr") && value.contains(',') {
                    return Err(wrong(SEVERAL_HOSTS));
                }
                found.kept.push(pair.to_owned());
            } else if is_word(key) && !value.contains(['@', '/', '?']) {
                found.ignored.push(key.to_owned());
            } else {
                return Err(wrong(format!(
                    "what stands behind its `?` is no list of parameters; {ENCODING}"
                )));
            }
        }
        if let Some(mode) = encryption.mode(&found.kept) {
            found.kept.push(format!("ssl-mode={mode}"));
        }
        Ok(found)
    }

    /// Says a user, and a password where there is one, as PostgreSQL takes them here: of the same
    /// encoding, but for two signs that mean something else.
    fn name_user(&mut self, user: &str) {
        let value = |text: &str| text.replace('+', "%2B").replace('&', "%26");
        let (name, password) = match user.split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (user, None),
        };
        let said = [("user", Some(name)), ("password", password)];
        let said = said.into_iter().filter_map(|(key, text)| {
            let text = text.filter(|text| !text.is_empty())?;
            Some(format!("{key}={}", value(text)))
        });
        // What is said behind the `?` counts more.
        self.kept.splice(0..0, said.collect::<Vec<_>>());
    }
}

/// How far Python's drivers of MySQL are asked to encrypt and to look whom they talk to, where that
/// is not said as a mode.
#[derive(Default)]
struct Encryption {
    is_on: bool,
    checks_certificate: bool,
    checks_name: bool,
}

impl Encryption {
    /// True where a parameter says nothing but that.
    fn asks(&mut self, key: &str, value: &str) -> bool {
        let is_true = matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "1" | "yes" | "on"
        );
        match key {
            "ssl" => self.is_on |= is_true,
            "ssl_verify_cert" => self.checks_certificate |= is_true,
            "ssl_verify_identity" | "ssl_check_hostname" => self.checks_name |= is_true,
            _ => return false,
        }
        true
    }

    /// The mode, unless it is said. A driver that is given a certificate to check with does.
    fn mode(&self, kept: &[String]) -> Option<&'static str> {
        let says = |name: &str| {
            let mut names = kept.iter().filter_map(|pair| pair.split_once('='));
            names.any(|(key, _)| key == name)
        };
        let has_authority = says("ssl-ca") || says("sslca");
        if says("ssl-mode") || says("sslmode") {
            return None;
        }
        if self.checks_name {
            Some("VERIFY_IDENTITY")
        } else if has_authority {
            Some("VERIFY_CA")
        } else if self.checks_certificate {
            // Without an authority of its own, that of the system and the name.
            Some("VERIFY_IDENTITY")
        } else if self.is_on || says("ssl-cert") || says("ssl-key") {
            Some("REQUIRED")
        } else {
            None
        }
    }
}

/// What a parameter of Python's drivers is called and says here: where the server is, and whether
/// what is said to it is encrypted, must not be lost.
fn of_python<'v>(kind: Kind, key: &str, value: &'v str) -> Option<(&'static str, &'v str)> {
    let name = match (kind, key) {
        (Kind::MySql, "unix_socket") => "socket",
        (Kind::MySql, "ssl_mode") => "ssl-mode",
        (Kind::MySql, "ssl_ca") => "ssl-ca",
        (Kind::MySql, "ssl_cert") => "ssl-cert",
        (Kind::MySql, "ssl_key") => "ssl-key",
        (Kind::Postgres, "unix_sock") => "host",
        (Kind::Postgres, "ssl") => {
            let mode = match value.to_ascii_lowercase().as_str() {
                "true" | "1" => "require",
                "false" | "0" => "disable",
                _ => value,
            };
            return Some(("sslmode", mode));
        }
        _ => return None,
    };
    Some((name, value))
}

const SEVERAL_HOSTS: &str = "it names several hosts, and one is served: name one, or a proxy \
    before them that knows which of them takes writes";

/// A host, and its port where one is said, as a URL takes them: an IPv6 address in brackets.
///
/// # Errors
/// What is amiss.
fn server(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('%') {
        // The driver's own default, or a socket's path, percent-encoded.
        return Ok(text.to_owned());
    }
    if text.contains(',') {
        return Err(SEVERAL_HOSTS.into());
    }
    if let Some(port) = text.strip_prefix(':')
        && !port.contains(':')
    {
        return with_port("localhost".into(), Some(port));
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed
            .split_once(']')
            .ok_or("the bracket before its host is not closed")?;
        let port = match rest.trim() {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or(HOST)?),
        };
        return with_port(format!("[{}]", ipv6(host)?), port);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host.trim(), Some(port)),
        None => (text, None),
    };
    if host.parse::<Ipv6Addr>().is_ok() {
        return with_port(format!("[{host}]"), port);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err(format!("{HOST}; {ENCODING}"));
    }
    with_port(host.to_owned(), port)
}

const HOST: &str = "expected a host's name in ASCII, an IPv4 address or an IPv6 address in \
    brackets, and a port behind one `:` where it is another than the usual one";

fn ipv6(text: &str) -> Result<Ipv6Addr, String> {
    if text.contains('%') {
        return Err("an IPv6 address with a zone (`%eth0`) is not served".into());
    }
    text.trim().parse().map_err(|_| HOST.into())
}

fn with_port(host: String, port: Option<&str>) -> Result<String, String> {
    match port.map(str::trim) {
        None | Some("") => Ok(host),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
            _ => Err(format!(
                "the port behind its host is no number from 1 to 65535; {ENCODING}"
            )),
        },
    }
}

/// `host:port` as a URL takes it, from what `DB_HOST` and `DB_PORT` say: a name or an address
/// of either kind, blanks around it, and a port of its own where `DB_PORT` says none. Where
/// neither says one it is the `usual` one.
///
/// # Errors
/// What is amiss with the host, for the operator.
pub fn host_and_port(host: &str, port: Option<u16>, usual: u16) -> Result<String, StoreError> {
    if host.trim().starts_with('/') {
        return Err(wrong(
            "a socket's path goes into DATABASE_URL: `mysql://user:password@localhost/database?socket=/path`",
        ));
    }
    let server = server(host).map_err(wrong)?;
    let behind_the_address = server.rsplit(']').next().unwrap_or_default();
    match (behind_the_address.rsplit_once(':'), port) {
        (None, port) => Ok(format!("{server}:{}", port.unwrap_or(usual))),
        (Some((_, own)), Some(port)) if own != port.to_string() => Err(wrong(
            "host and port name two ports; leave one of them away",
        )),
        (Some(_), _) => Ok(server),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        Address::of(text)
            .unwrap_or_else(|error| panic!("{error}"))
            .url
    }

    fn fault(text: &str) -> String {
        let error = Address::of(text).expect_err(text);
        assert!(error.is_configuration());
        error.to_string()
    }

    #[test]
    fn hosts_of_every_form_are_taken() {
        for (host, expected) in [
            ("db", "db"),
            (" db ", "db"),
            ("db:3307", "db:3307"),
            ("db.example.org:", "db.example.org"),
            ("my_db", "my_db"),
            ("10.0.0.7:3306", "10.0.0.7:3306"),
            ("[::1]", "[::1]"),
            ("[::1]:3307", "[::1]:3307"),
            ("::1", "[::1]"),
            ("2001:db8::7", "[2001:db8::7]"),
        ] {
            let url = url(&format!("mysql://u:p@{host}/zap"));
            assert_eq!(url, format!("mysql://u:p@{expected}/zap"), "{host}");
        }
        assert_eq!(
            url("postgres:///zap?host=/run/pg"),
            "postgres:///zap?host=/run/pg"
        );
        assert_eq!(
            url("postgres://%2Frun%2Fpg/zap"),
            "postgres://%2Frun%2Fpg/zap"
        );
        assert_eq!(
            url("postgresql+psycopg://u:p%40ss@h/zap?sslmode=disable"),
            "postgres://u:p%40ss@h/zap?sslmode=disable"
        );
        // The last `@` is the one before the host.
        assert_eq!(url("mysql://u:p@ss@h/zap"), "mysql://u:p@ss@h/zap");
    }

    #[test]
    fn what_can_never_be_connected_to_says_what_wants_encoding_and_nothing_of_itself() {
        for text in [
            "mysql://bot:se#cret@h/zap",
            "mysql://bot:se/cret@h/zap",
            "mysql://bot:12/cret@h/zap",
            "mysql://bot:se?cret@h/zap",
            "mysql://bot:12?cret@h/zap",
            "mysql://bot:12?cret=1@h/zap",
            "mysql://bot:cr:et@h:x/zap",
            "postgres://bot:cr%ffet@h/zap",
            "mysql://bot:cret\n@h/zap",
            "mysql://bot:cret@ho st/zap",
            "mysql://bot:cret@h:3306:3307/zap",
            "postgres://bot:cret@h/zap?sslmode=cret",
        ] {
            let said = fault(text);
            assert!(said.contains("percent-encoding"), "{text}: {said}");
            for secret in ["cret", "bot"] {
                assert!(!said.contains(secret), "{text}: {said}");
            }
        }
        let said = fault("postgres://u:cret@a:5432,b:5432/zap");
        assert!(said.contains("several hosts"), "{said}");
        let said = fault("postgres:///zap?host=a,b");
        assert!(said.contains("several hosts"), "{said}");
        for text in ["cret@#!", "mysql:cret", "cr et:x", "cret", "cret:x"] {
            let said = fault(text);
            assert!(said.contains("expected `mysql://"), "{said}");
            assert!(!said.contains("cr"), "{said}");
        }
    }

    #[test]
    fn a_database_that_cannot_keep_what_it_acknowledges_is_refused() {
        for text in [
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://?mode=memory",
            "sqlite://x.db?mode=memory&cache=shared",
            "sqlite:file::memory:",
            "sqlite:",
        ] {
            assert!(fault(text).contains("memory"), "{text}");
        }
        for text in ["sqlite://x.db?mode=ro", "sqlite:x.db?immutable=1"] {
            assert!(fault(text).contains("writes"), "{text}");
        }
        assert!(fault("sqlite://x.db?nonsense=1").contains("mode=rwc"));
    }

    #[test]
    fn a_kind_is_known_in_any_case() {
        let kind = |text: &str| Address::of(text).unwrap().kind;
        assert_eq!(kind("SQLITE:x.db"), Kind::Sqlite);
        assert_eq!(kind("MySQL://u:p@h/zap"), Kind::MySql);
        assert_eq!(kind("PostgreSQL+psycopg://u:p@h/zap"), Kind::Postgres);
        assert_eq!(url("MARIADB://u:P@H/Zap"), "mysql://u:P@H/Zap");
    }

    #[test]
    fn drivers_of_python_are_left_away_and_what_they_say_of_the_way_is_kept() {
        for (text, expected) in [
            ("mysql+pymysql://u:p@h/zap", "mysql://u:p@h/zap"),
            ("mysql+aiomysql://u:p@h:3307/zap", "mysql://u:p@h:3307/zap"),
            ("mysql+asyncmy://u:p@h/zap", "mysql://u:p@h/zap"),
            ("mysql+mysqldb://u:p@h/zap", "mysql://u:p@h/zap"),
            ("mariadb+mariadbconnector://u:p@h/zap", "mysql://u:p@h/zap"),
            (
                "mysql+pymysql://u:p@h/zap?charset=utf8mb4",
                "mysql://u:p@h/zap?charset=utf8mb4",
            ),
            (
                "mysql+pymysql://u:p@/zap?unix_socket=/run/mysqld.sock",
                "mysql://u:p@localhost/zap?socket=/run/mysqld.sock",
            ),
            (
                "mysql+mysqldb://u:p@h/zap?ssl_mode=REQUIRED&ssl_ca=/etc/ca.pem",
                "mysql://u:p@h/zap?ssl-mode=REQUIRED&ssl-ca=/etc/ca.pem",
            ),
            // Who names an authority, or wants to know whom it talks to, is not served in the clear.
            (
                "mysql+pymysql://u:p@h/zap?ssl_ca=/etc/ca.pem",
                "mysql://u:p@h/zap?ssl-ca=/etc/ca.pem&ssl-mode=VERIFY_CA",
            ),
            (
                "mysql+pymysql://u:p@h/zap?ssl_ca=/etc/ca.pem&ssl_verify_cert=true",
                "mysql://u:p@h/zap?ssl-ca=/etc/ca.pem&ssl-mode=VERIFY_CA",
            ),
            (
                "mysql+mysqlconnector://u:p@h/zap?ssl_verify_identity=True&ssl_ca=/etc/ca.pem",
                "mysql://u:p@h/zap?ssl-ca=/etc/ca.pem&ssl-mode=VERIFY_IDENTITY",
            ),
            (
                "mysql+pymysql://u:p@h/zap?ssl_ca=/etc/ca.pem&ssl_check_hostname=false",
                "mysql://u:p@h/zap?ssl-ca=/etc/ca.pem&ssl-mode=VERIFY_CA",
            ),
            (
                "mysql+asyncmy://u:p@h/zap?ssl=true",
                "mysql://u:p@h/zap?ssl-mode=REQUIRED",
            ),
            ("mysql+asyncmy://u:p@h/zap?ssl=false", "mysql://u:p@h/zap"),
            ("postgresql+asyncpg://u:p@h/zap", "postgres://u:p@h/zap"),
            ("postgresql+psycopg2://u:p@h/zap", "postgres://u:p@h/zap"),
            ("postgresql+pg8000://u:p@h/zap", "postgres://u:p@h/zap"),
            ("postgres+psycopg://u:p%40@h/zap", "postgres://u:p%40@h/zap"),
            (
                "postgresql+asyncpg://u:p@h/zap?ssl=require",
                "postgres://u:p@h/zap?sslmode=require",
            ),
            (
                "postgresql+asyncpg://u:p@h/zap?ssl=True",
                "postgres://u:p@h/zap?sslmode=require",
            ),
        ] {
            assert_eq!(url(text), expected, "{text}");
        }
        let driven = Address::of("postgresql+asyncpg://h/zap?command_timeout=5").unwrap();
        assert_eq!(driven.ignored, ["command_timeout"]);
        assert!(fault("postgresql+asyncpg://u:cret@h/zap?ssl=maybe").contains("sslmode"));
        let plain = Address::of("postgres://h/zap?ssl=true").unwrap();
        assert_eq!(plain.ignored, ["ssl"], "no driver of Python");
        let file = |text: &str| Address::of(text).unwrap().file.unwrap().path;
        assert_eq!(file("sqlite+aiosqlite:///./x.db").to_str(), Some("./x.db"));
        assert_eq!(
            file("SQLite+PySQLite:////none/x.db").to_str(),
            Some("/none/x.db")
        );
        let driven = Address::of("sqlite+aiosqlite:///x.db?check_same_thread=False").unwrap();
        assert_eq!(driven.ignored, ["check_same_thread"]);
        assert!(fault("sqlite+pysqlcipher://:cret@/x.db").contains("encrypted"));
        assert!(!fault("sqlite+libsql://cret@host/x").contains("cret"));
    }

    #[test]
    fn a_user_of_a_host_that_stands_elsewhere_is_taken() {
        use sea_orm::sqlx::{mysql::MySqlConnectOptions, postgres::PgConnectOptions};
        let text = url("postgres://u%40x:p+%26&=w@/zap?host=/run/pg&port=5433");
        let options: PgConnectOptions = text.parse().unwrap();
        assert_eq!(options.get_username(), "u@x");
        assert_eq!(options.get_socket().unwrap().to_str(), Some("/run/pg"));
        assert_eq!(options.get_database(), Some("zap"));
        assert_eq!(options.get_port(), 5433);
        assert!(text.contains("password=p%2B%26%26=w&"), "{text}");
        let address = Address::of("postgres://u:cret@/zap?host=/run/pg").unwrap();
        assert_eq!(address.name, "postgres:///zap");
        // What is said behind the `?` counts.
        let options: PgConnectOptions = url("postgres://u@/zap?user=other").parse().unwrap();
        assert_eq!(options.get_username(), "other");

        let text = url("mysql://u:p@/zap?socket=/run/mysqld.sock");
        assert_eq!(text, "mysql://u:p@localhost/zap?socket=/run/mysqld.sock");
        let options: MySqlConnectOptions = text.parse().unwrap();
        assert_eq!(
            options.get_socket().unwrap().to_str(),
            Some("/run/mysqld.sock")
        );
        assert_eq!(
            url("mysql://u:p@:3307/zap"),
            "mysql://u:p@localhost:3307/zap"
        );
    }

    #[test]
    fn a_pooler_is_told_by_a_parameter_and_foreign_ones_are_left_out() {
        let text = "postgres://u:p@h/zap?schema=public&pgbouncer=true&sslmode=disable&x=1";
        let address = Address::of(text).unwrap();
        assert!(address.is_pooled);
        assert_eq!(address.url, "postgres://u:p@h/zap?sslmode=disable");
        assert_eq!(address.ignored, ["schema", "x"]);
        assert_eq!(address.name, "postgres://h/zap");
        assert!(
            !Address::of("postgres://h/zap?pgbouncer=0")
                .unwrap()
                .is_pooled
        );
        assert!(fault("postgres://h/zap?pgbouncer=maybe").contains("true or false"));
        let mysql = Address::of("mysql://u:p@h/zap?pgbouncer=true&charset=utf8mb4").unwrap();
        assert_eq!(mysql.ignored, ["pgbouncer"]);
    }

    #[test]
    fn the_host_of_a_variable_may_bring_its_port() {
        for (host, port, expected) in [
            ("db", Some(3306), "db:3306"),
            (" db ", Some(3306), "db:3306"),
            ("db:3307", None, "db:3307"),
            ("db:3307", Some(3307), "db:3307"),
            ("db", None, "db:3306"),
            ("::1", Some(3306), "[::1]:3306"),
            ("[::1]", Some(3306), "[::1]:3306"),
            ("[::1]:3307", None, "[::1]:3307"),
        ] {
            assert_eq!(host_and_port(host, port, 3306).unwrap(), expected, "{host}");
        }
        for (host, port) in [
            ("db:3307", Some(3306)),
            ("[::1]:3307", Some(3306)),
            ("a,b", None),
            ("/run/mysqld.sock", None),
            ("a b", None),
            ("db:x", None),
        ] {
            assert!(host_and_port(host, port, 3306).is_err(), "{host}");
        }
    }
}
