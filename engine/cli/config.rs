//! The environment, turned into the settings of the services.

use anyhow::Context as _;
use omnizap_services::ServicesConfig;
use omnizap_services::store::host_and_port;

use super::Common;

/// A variable, where it is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

/// The same without what stands around it: a carriage return, for one, as files from another
/// system leave it. For what cannot hold blanks.
fn word(name: &str) -> Option<String> {
    variable(name).map(|value| value.trim().to_owned())
}

/// The services' settings: data folder, database, model, LLM.
pub(super) fn services_config(common: &Common) -> anyhow::Result<ServicesConfig> {
    Ok(ServicesConfig {
        data_dir: common.data.clone(),
        database_url: database_url(&variable)?,
        model_name: word("CLIP_MODEL_NAME"),
        model_pretrained: word("CLIP_MODEL_PRETRAINED"),
        openai_api_key: word("OPENAI_API_KEY"),
        openai_base_url: word("OPENAI_BASE_URL"),
        ..ServicesConfig::default()
    })
}

/// `DATABASE_URL`, else a MySQL URL from `DB_HOST`, `DB_PORT`, `DB_USER`,
/// `DB_PASSWORD` and `DB_NAME`, else nothing: SQLite in the data folder.
fn database_url(variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<String>> {
    /// The port of MySQL and MariaDB.
    const MYSQL_PORT: u16 = 3306;
    if let Some(url) = variable("DATABASE_URL") {
        return Ok(Some(url.trim().to_owned()));
    }
    let (Some(host), Some(user), Some(name)) = (
        variable("DB_HOST"),
        variable("DB_USER"),
        variable("DB_NAME"),
    ) else {
        return Ok(None);
    };
    let port = match variable("DB_PORT") {
        Some(port) => {
            let number = port.trim().parse();
            let wrong = || format!("DB_PORT: expected a port number, found {port:?}");
            Some(number.with_context(wrong)?)
        }
        None => None,
    };
    let server = host_and_port(&host, port, MYSQL_PORT).context("DB_HOST")?;
    let password = variable("DB_PASSWORD").unwrap_or_default();
    Ok(Some(format!(
        "mysql://{}:{}@{server}/{}",
        percent_encode(&user),
        percent_encode(&password),
        percent_encode(&name)
    )))
}

/// Percent-encodes what is not unreserved (RFC 3986, section 2.3).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::database_url;

    fn check(variables: &[(&str, &str)], expected: Option<&str>) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let url = database_url(&variable).expect("well-formed");
        assert_eq!(url.as_deref(), expected);
    }

    #[test]
    fn the_url_wins_over_its_parts() {
        let parts = [("DB_HOST", "db"), ("DB_USER", "bot"), ("DB_NAME", "zap")];
        check(&[], None);
        check(&parts[..2], None);
        check(&parts, Some("mysql://bot:@db:3306/zap"));
        check(
            &[
                parts[0],
                parts[1],
                parts[2],
                ("DB_PORT", "3307"),
                ("DB_PASSWORD", "p@ss/w:rd"),
            ],
            Some("mysql://bot:p%40ss%2Fw%3Ard@db:3307/zap"),
        );
        check(
            &[
                parts[0],
                parts[1],
                parts[2],
                ("DATABASE_URL", "sqlite://x.db"),
            ],
            Some("sqlite://x.db"),
        );
    }

    #[test]
    fn a_host_may_be_a_name_or_an_address_and_bring_its_port() {
        for (host, expected) in [
            (" db ", "mysql://y:@db:3306/y"),
            ("db:3307", "mysql://y:@db:3307/y"),
            ("::1", "mysql://y:@[::1]:3306/y"),
            ("[::1]", "mysql://y:@[::1]:3306/y"),
            ("[::1]:3307", "mysql://y:@[::1]:3307/y"),
        ] {
            let parts = [("DB_HOST", host), ("DB_USER", "y"), ("DB_NAME", "y")];
            check(&parts, Some(expected));
        }
    }

    #[test]
    fn a_port_that_is_none_is_an_error() {
        let variable = |name: &str| Some(if name == "DB_PORT" { "x" } else { "y" }.to_owned());
        let without_url = |name: &str| variable(name).filter(|_| name != "DATABASE_URL");
        assert!(database_url(&without_url).is_err());
    }
}
