//! Whom the service answers: which names, pages and keys the operator lists.

use std::path::{Path, PathBuf};

use clap::Args;
use engine::http::{Hosts, Origins, Trust};

use super::keys::{self, KeyFile};
use crate::cli::Failure;

/// Where keys may stand themselves. They are no flags: whoever sees the processes of the machine
/// would see them.
const API_KEYS: &str = "OMNIZAP_API_KEYS";
const ADMIN_KEYS: &str = "OMNIZAP_ADMIN_KEYS";

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
    /// File of the keys that open the service, one a line, which is read again when it changes;
    /// also OMNIZAP_API_KEYS, the keys themselves
    #[arg(long, env = "OMNIZAP_API_KEYS_FILE", value_name = "FILE")]
    api_keys_file: Option<PathBuf>,
    /// File of the keys that open the routes of administrators too, read again as the other; also
    /// OMNIZAP_ADMIN_KEYS
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

    /// The files of keys, of clients and of administrators.
    pub(super) fn key_files(&self) -> [Option<&Path>; 2] {
        [&self.api_keys_file, &self.admin_keys_file].map(Option::as_deref)
    }

    /// Reads the keys, and says whom the service answers; and the files whose keys may change.
    ///
    /// # Errors
    /// A file that cannot be read or that anybody may write, and what is no key.
    pub(super) fn read(&self) -> Result<(Trust, Vec<KeyFile>), Failure> {
        let api = keys::read(API_KEYS, self.api_keys_file.as_deref());
        let (api_keys, api_file) = api.map_err(Failure::Config)?;
        let admin = keys::read(ADMIN_KEYS, self.admin_keys_file.as_deref());
        let (admin_keys, admin_file) = admin.map_err(Failure::Config)?;
        let trust = Trust {
            hosts: self.allowed_hosts.clone().unwrap_or_default(),
            origins: self.allowed_origins.clone().unwrap_or_default(),
            api_keys,
            admin_keys,
        };
        Ok((trust, api_file.into_iter().chain(admin_file).collect()))
    }
}
