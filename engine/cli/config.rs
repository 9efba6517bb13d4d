//! The environment, turned into the settings of the services.

use std::num::NonZeroU16;

use anyhow::{Context as _, anyhow};
use omnizap_models::{Device, Precision};
use omnizap_services::ServicesConfig;
use omnizap_services::inference::pictures::PictureLimits;
use omnizap_services::inference::pool::PoolLimits;
use omnizap_services::store::{Store, StoreConfig, host_and_port};
use omnizap_services::vectors::{IndexConfig, Kept};

use super::{Common, Failure, value};

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

/// The services' settings: data folder, database, index, model, LLM, and how much of each may
/// wait.
pub(super) fn services_config(common: &Common) -> anyhow::Result<ServicesConfig> {
    let (device, precision) = (common.device, precision(&variable)?);
    device.check(precision)?;
    let (model_limits, picture_limits) = limits(&variable, device)?;
    Ok(ServicesConfig {
        index: index(&variable)?,
        model_limits,
        picture_limits,
        data_dir: common.data.clone(),
        database_url: database_url(&variable)?,
        model_name: word("CLIP_MODEL_NAME"),
        model_pretrained: word("CLIP_MODEL_PRETRAINED"),
        model_device: device,
        model_precision: precision,
        openai_api_key: word("OPENAI_API_KEY"),
        openai_base_url: word("OPENAI_BASE_URL"),
    })
}

/// In which precision models compute.
fn precision(variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Precision> {
    let Some(text) = variable("CLIP_PRECISION") else {
        return Ok(Precision::default());
    };
    Precision::of_name(text.trim()).with_context(|| {
        let known = Precision::ALL.map(Precision::name).join(" or ");
        format!("CLIP_PRECISION: expected {known}, found {text:?}")
    })
}

/// How many pictures and texts may wait for a model, and how much room there is for pixels.
fn limits(
    variable: &dyn Fn(&str) -> Option<String>,
    device: Device,
) -> anyhow::Result<(PoolLimits, PictureLimits)> {
    let (mut models, mut pictures) = (PoolLimits::on(device), PictureLimits::default());
    if let Some(bytes) = whole(variable, "OMNIZAP_MAX_DECODED_BYTES", 1 << 20, 1 << 40)? {
        pictures.max_decoded_bytes = bytes;
    }
    if let Some(images) = whole(variable, "OMNIZAP_MAX_WAITING_IMAGES", 1, 1 << 16)? {
        models.max_waiting_images = usize::try_from(images)?;
    }
    if let Some(texts) = whole(variable, "OMNIZAP_MAX_WAITING_TEXTS", 1, 1 << 20)? {
        models.max_waiting_texts = usize::try_from(texts)?;
    }
    Ok((models, pictures))
}

/// Fewest images that an index is for: it makes room for newer ones by 256 at once.
const FEWEST_INDEXED: u64 = 1024;

/// How many stored images are kept in memory, and what of each.
fn index(variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<IndexConfig> {
    let mut index = IndexConfig::default();
    if let Some(images) = whole(
        variable,
        "OMNIZAP_MAX_INDEXED_IMAGES",
        FEWEST_INDEXED,
        1 << 30,
    )? {
        index.max_rows = usize::try_from(images)?;
    }
    if let Some(text) = variable("OMNIZAP_COMPACT_INDEX") {
        let is_compact = value::switch(&text)
            .map_err(|expected| anyhow!("OMNIZAP_COMPACT_INDEX: {expected}, found {text:?}"))?;
        if is_compact {
            index.kept = Kept::Codes;
        }
    }
    Ok(index)
}

/// A whole number within bounds, where the variable is set.
fn whole(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &str,
    min: u64,
    max: u64,
) -> anyhow::Result<Option<u64>> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    value::whole(&text.replace('_', ""), min, max)
        .map(Some)
        .map_err(|expected| anyhow!("{name}: {expected}, found {text:?}"))
}

/// Checks where the database is, before anything is made that needs it; nothing is opened. What is
/// wrong is told by the variable that says so.
pub(super) fn check_database(common: &Common) -> Result<(), Failure> {
    let config = services_config(common).map_err(Failure::Config)?;
    let store = Store::new(StoreConfig {
        data_dir: config.data_dir,
        url: config.database_url,
        index: config.index,
    });
    let said_by = match variable("DATABASE_URL") {
        Some(_) => "DATABASE_URL",
        // It is made of the parts then, and what else is in it is encoded.
        None => "DB_HOST",
    };
    store
        .check()
        .map_err(|error| Failure::Config(anyhow::Error::from(error).context(said_by)))
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
            let number = port.trim().parse::<NonZeroU16>().ok();
            let wrong = || format!("DB_PORT: expected a number from 1 to 65535, found {port:?}");
            Some(number.with_context(wrong)?.get())
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
    use omnizap_services::vectors::{IndexConfig, Kept};

    use super::{Device, Precision, database_url, index, limits, precision};

    fn check(variables: &[(&str, &str)], expected: Option<&str>) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let url = database_url(&variable).expect("well-formed");
        assert_eq!(url.as_deref(), expected);
    }

    #[test]
    fn limits_are_whole_numbers_within_bounds() {
        let of = |name: &'static str, value: &'static str| {
            let variable = move |asked: &str| (asked == name).then(|| value.to_owned());
            limits(&variable, Device::Cpu)
        };
        let (models, pictures) = of("", "").expect("defaults");
        assert_eq!(
            (models.max_waiting_images, models.max_waiting_texts),
            (256, 16_384)
        );
        assert_eq!(pictures.max_decoded_bytes, 512 << 20);
        let (_, pictures) = of("OMNIZAP_MAX_DECODED_BYTES", " 64_000_000\r").expect("a number");
        assert_eq!(pictures.max_decoded_bytes, 64_000_000);
        let (models, _) = of("OMNIZAP_MAX_WAITING_TEXTS", "7").expect("a number");
        assert_eq!(models.max_waiting_texts, 7);
        for wrong in ["0", "-1", "1e6", "much", "99999999999999999999"] {
            let error = of("OMNIZAP_MAX_WAITING_IMAGES", wrong).expect_err(wrong);
            let error = error.to_string();
            assert!(error.contains("OMNIZAP_MAX_WAITING_IMAGES"), "{error}");
            assert!(error.contains("from 1 to 65536"), "{error}");
        }
    }

    #[test]
    fn the_index_is_as_large_and_as_compact_as_is_said() {
        let of = |name: &'static str, value: &'static str| {
            index(&move |asked| (asked == name).then(|| value.to_owned()))
        };
        let default = of("", "").expect("defaults");
        assert_eq!(default, IndexConfig::default());
        assert_eq!((default.max_rows, default.kept), (1_000_000, Kept::Vectors));
        let many = of("OMNIZAP_MAX_INDEXED_IMAGES", "5_000_000").expect("a number");
        assert_eq!((many.max_rows, many.kept), (5_000_000, Kept::Vectors));
        for (text, kept) in [
            ("true", Kept::Codes),
            (" On\r", Kept::Codes),
            ("0", Kept::Vectors),
        ] {
            assert_eq!(of("OMNIZAP_COMPACT_INDEX", text).expect(text).kept, kept);
        }
        for (name, wrong) in [
            ("OMNIZAP_MAX_INDEXED_IMAGES", "1023"),
            ("OMNIZAP_MAX_INDEXED_IMAGES", "2000000000"),
            ("OMNIZAP_MAX_INDEXED_IMAGES", "all"),
            ("OMNIZAP_COMPACT_INDEX", "int8"),
        ] {
            let error = of(name, wrong).expect_err(wrong).to_string();
            assert!(error.starts_with(&format!("{name}: expected")), "{error}");
        }
    }

    #[test]
    fn a_precision_is_one_of_its_names() {
        let of = |value: Option<&str>| {
            let value = value.map(str::to_owned);
            precision(&move |name| value.clone().filter(|_| name == "CLIP_PRECISION"))
        };
        assert_eq!(of(None).expect("the default"), Precision::F32);
        assert_eq!(of(Some("f32")).expect("a name"), Precision::F32);
        assert_eq!(of(Some(" BF16\r")).expect("a name"), Precision::Bf16);
        let error = of(Some("half")).expect_err("no name").to_string();
        assert_eq!(
            error,
            "CLIP_PRECISION: expected f32 or bf16, found \"half\""
        );
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
        for port in ["x", "0", "65536", "-1"] {
            let variable = |name: &str| Some(if name == "DB_PORT" { port } else { "y" }.to_owned());
            let without_url = |name: &str| variable(name).filter(|_| name != "DATABASE_URL");
            let error = database_url(&without_url).expect_err(port).to_string();
            assert!(error.starts_with("DB_PORT: "), "{error}");
        }
    }
}
