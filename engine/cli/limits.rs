//! How long plugins are waited for, and how many of their threads may be lost.

use std::time::Duration;

use clap::Args;
use omnizap_host::Limits;

use super::value::{ms, whole};

/// An hour, in milliseconds.
const MOST_MS: u64 = 3_600_000;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PluginLimits {
    /// How long a plugin may take to be opened, and for each of create, validate_config, deactivate
    /// and destroy, in milliseconds
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_PLUGIN_HOOK_MS",
        value_name = "MS",
        default_value_t = ms(Limits::DEFAULT.hook_time),
        value_parser = |text: &str| whole(text, 1, MOST_MS),
        hide_short_help = true
    )]
    plugin_hook_ms: u64,
    /// How long a plugin may take to activate a stage, which may load a model, in milliseconds
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_PLUGIN_ACTIVATE_MS",
        value_name = "MS",
        default_value_t = ms(Limits::DEFAULT.activate_time),
        value_parser = |text: &str| whole(text, 1, MOST_MS),
        hide_short_help = true
    )]
    plugin_activate_ms: u64,
    /// How long a call of a plugin may go on after its deadline before it is a fault and its thread
    /// is given up, in milliseconds
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_PLUGIN_OVERDUE_MS",
        value_name = "MS",
        default_value_t = ms(Limits::DEFAULT.overdue),
        value_parser = |text: &str| whole(text, 1, MOST_MS),
        hide_short_help = true
    )]
    plugin_overdue_ms: u64,
    /// Most threads that the calls of one plugin may lose; then it is not called any more, and the
    /// service is not ready
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_PLUGIN_MAX_LOST",
        value_name = "N",
        default_value_t = Limits::DEFAULT.max_lost as u64,
        value_parser = |text: &str| whole(text, 1, 1024),
        hide_short_help = true
    )]
    plugin_max_lost: u64,
}

impl PluginLimits {
    /// The flags that say the same.
    pub(super) fn flags(self) -> [String; 4] {
        [
            format!("--plugin-hook-ms={}", self.plugin_hook_ms),
            format!("--plugin-activate-ms={}", self.plugin_activate_ms),
            format!("--plugin-overdue-ms={}", self.plugin_overdue_ms),
            format!("--plugin-max-lost={}", self.plugin_max_lost),
        ]
    }

    /// As the host takes them.
    pub(super) fn limits(self) -> Limits {
        Limits {
            hook_time: Duration::from_millis(self.plugin_hook_ms),
            activate_time: Duration::from_millis(self.plugin_activate_ms),
            overdue: Duration::from_millis(self.plugin_overdue_ms),
            max_lost: usize::try_from(self.plugin_max_lost).unwrap_or(usize::MAX),
            ..Limits::DEFAULT
        }
    }
}
