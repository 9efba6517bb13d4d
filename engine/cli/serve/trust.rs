//! Whom the service answers: which names, pages and keys the operator lists.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use engine::http::{Hosts, Keys, Origins, Trust};

use crate::cli::Failure;
use crate::cli::permission::is_writable_by_all;

/// Where keys may stand themselves. They are no flags: whoever sees the processes of the machine
/// would see them.
const API_KEYS: &str = "OMNIZAP_API_KEYS";
const ADMIN_KEYS: &str = "OMNIZAP_ADMIN_KEYS";
/// Largest file of keys, in bytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Clone, Debug, Args)]
pub(super) struct TrustArgs {
    /// Names by which the service may be called, between commas, beside localhost, 127.0.0.1 and
    /// [::1]; * is any [default: on a loopback address none, else any]
    #[arg(
        long,
        env = "OMNIZAP_ALLOWED_HOSTS",
        value_name = "HOSTS",
        value_parser = Hosts::parse
    )]
    allowed_hosts: Option<Hosts>,
    /// Pages of other sites that may use the service, such as https://bot.example.org, between
    /// commas; * is any
    #[arg(
        long,
        env = "OMNIZAP_ALLOWED_ORIGINS",
        value_name = "ORIGINS",
        value_parser = Origins::parse
    )]
    allowed_origins: Option<Origins>,
    /// File of the keys that open the service, one a line; also OMNIZAP_API_KEYS, the keys
    /// themselves
    #[arg(long, env = "OMNIZAP_API_KEYS_FILE", value_name = "FILE")]
    api_keys_file: Option<PathBuf>,
    /// File of the keys that open the routes of administrators too; also OMNIZAP_ADMIN_KEYS
    #[arg(long, env = "OMNIZAP_ADMIN_KEYS_FILE", value_name = "FILE")]
    admin_keys_file: Option<PathBuf>,
}

impl TrustArgs {
    /// The same with the flags of `before` that `is_said` tells, by their ids.
    pub(super) fn taking(&self, before: &Self, is_said: &dyn Fn(&str) -> bool) -> Self {
        let one = |id: &str| if is_said(id) { before } else { self };
        Self {
            allowed_hosts: one("allowed_hosts").allowed_hosts.clone(),
            allowed_origins: one("allowed_origins").allowed_origins.clone(),
            api_keys_file: one("api_keys_file").api_keys_file.clone(),
            admin_keys_file: one("admin_keys_file").admin_keys_file.clone(),
        }
    }

    /// Reads the keys, and says whom the service answers.
    ///
    /// # Errors
    /// A file that cannot be read or that anybody may write, and what is no key.
    pub(super) fn read(&self) -> Result<Trust, Failure> {
        let keys =
            |variable: &str, file: Option<&Path>| keys(variable, file).map_err(Failure::Config);
        Ok(Trust {
            hosts: self.allowed_hosts.clone().unwrap_or_default(),
            origins: self.allowed_origins.clone().unwrap_or_default(),
            api_keys: keys(API_KEYS, self.api_keys_file.as_deref())?,
            admin_keys: keys(ADMIN_KEYS, self.admin_keys_file.as_deref())?,
        })
    }
}

/// The keys of a variable and those of a file.
fn keys(variable: &str, file: Option<&Path>) -> anyhow::Result<Keys> {
    let said = match std::env::var(variable) {
        Ok(text) => text,
        Err(std::env::VarError::NotPresent) => String::new(),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{variable} is no text in UTF-8"),
    };
    let keys = Keys::parse(&said).map_err(|message| anyhow!("{variable}: {message}"))?;
    let Some(file) = file else {
        return Ok(keys);
    };
    of_file(file)
        .map(|of_file| keys.and(of_file))
        .with_context(|| format!("the keys of {}", file.display()))
}

fn of_file(path: &Path) -> anyhow::Result<Keys> {
    let file = File::open(path)?;
    if is_writable_by_all(file.metadata()?.mode()) {
        bail!("everybody may write the file, and so add a key: chmod o-w");
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        bail!("the file has more than {MAX_FILE} bytes");
    }
    let keys = Keys::parse(&text).map_err(|message| anyhow!(message))?;
    if keys.is_empty() {
        // Whoever names a file means to close the service.
        bail!("there is no key in the file");
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_of_keys_is_read_or_refused_with_the_reason() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            of_file(&path)
        };
        assert!(
            !write("# the bot\n0123456789abcdef\n", 0o640)
                .unwrap()
                .is_empty()
        );
        for (text, mode, wanted) in [
            ("0123456789abcdef\n", 0o646, "everybody may write"),
            ("# none yet\n", 0o600, "no key"),
            ("", 0o600, "no key"),
            ("a-short-one\n", 0o600, "key 1 has 11 characters"),
        ] {
            let error = write(text, mode).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("a-short-one"), "{error}");
        }
        assert!(of_file(&folder.path().join("none")).is_err());
        let named = keys("OMNIZAP_TEST_NO_SUCH_KEYS", Some(&path)).unwrap_err();
        assert!(named.to_string().contains("keys"), "{named}");
    }
}
