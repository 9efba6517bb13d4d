//! The database: whether it answers, has the newest schema, and keeps what it acknowledges.

use std::path::{Path, absolute};

use omnizap_contract::common::chain::chain;
use omnizap_services::Services;
use omnizap_services::store::{Report, Setting};
use rustix::fs::{Access, access};

use super::finding::Finding;
use super::told;
use crate::cli::Common;
use crate::cli::config::{check_database, services_config};

pub(super) async fn look(common: &Common) -> Vec<Finding> {
    let Ok(config) = services_config(common) else {
        let what = "not looked at: a setting of it is refused";
        return vec![Finding::fine(what)];
    };
    if let Err(failure) = check_database(common) {
        let (text, _) = told(&failure);
        let advice = "mend DATABASE_URL, or the DB_* variables that it is made of";
        return vec![Finding::misconfigured(text, advice)];
    }
    // It opens nothing by itself, and so has nothing to close.
    let store = Services::new(config).store();
    match store.report().await {
        Ok(report) => of(&report, &common.data),
        Err(error) => {
            let advice = "start the database, or mend its address: until it answers nothing is \
                          kept, and feedback is refused";
            vec![Finding::fault(chain(&error), advice)]
        }
    }
}

/// What is said of it, where the data folder is that.
fn of(report: &Report, data: &Path) -> Vec<Finding> {
    let (kind, name) = (report.kind, &report.name);
    if !report.is_there {
        let folder = report.file.as_deref().and_then(Path::parent);
        // The data folder is made at the first start, and no other.
        let is_own = |folder: &Path| absolute(folder).ok() == absolute(data).ok();
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty() && !is_own(folder));
        if let Some(folder) = folder {
            let what = format!("{kind} {name} is not there yet");
            if !folder.is_dir() {
                let what = format!("{what}, nor its folder");
                let advice = "make the folder, or mend DATABASE_URL";
                return vec![Finding::misconfigured(what, advice)];
            }
            if let Err(error) = access(folder, Access::WRITE_OK) {
                let what = format!("{what}, and nothing can be made in its folder: {error}");
                let advice = "give the folder to the user that the server runs as, or mend \
                              DATABASE_URL";
                return vec![Finding::misconfigured(what, advice)];
            }
        }
        let what = format!("{kind} {name} is not there yet: the first start makes it");
        return vec![Finding::fine(what)];
    }
    let steps = report.steps.len();
    let pending = report.steps.iter().filter(|step| !step.applied).count();
    let mut found = Vec::new();
    if pending > 0 {
        let what =
            format!("{kind} {name} answers, {pending} of {steps} steps of the schema are due");
        let advice = "the next start applies them; `omnizap db migrate` does so now";
        found.push(Finding::warning(what, advice));
    } else {
        let said = report.settings.iter().map(shown).collect::<Vec<_>>();
        let said = said.join(", ");
        let said = if said.is_empty() {
            "durability is not told".into()
        } else {
            said
        };
        let what = format!("{kind} {name} answers, the schema is up to date; {said}");
        found.push(Finding::fine(what));
    }
    if let Some(file) = &report.file
        && let Err(error) = access(file, Access::WRITE_OK)
    {
        let what = format!("{name} cannot be written to: {error}");
        let advice = "give it, and what lies beside it and ends in -wal or -shm, to the user that \
                      the server runs as (chown): feedback is refused until then";
        found.push(Finding::fault(what, advice));
    }
    for setting in &report.settings {
        let Some(wanted) = setting.wanted else {
            continue;
        };
        let advice = format!("set {}={wanted} on the server", setting.name);
        found.push(match setting.name {
            "read_only" | "pg_is_in_recovery" => Finding::fault(
                format!("{name} cannot be written to ({})", shown(setting)),
                "name the server that takes writes: feedback is refused on this one",
            ),
            _ => Finding::warning(
                format!(
                    "{}: a power cut may take feedback with it that was acknowledged",
                    shown(setting)
                ),
                advice,
            ),
        });
    }
    found
}

fn shown(setting: &Setting) -> String {
    format!("{}={}", setting.name, setting.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lose_feedback_is_told_with_its_setting() {
        let setting = |name: &'static str, value: &str, wanted: Option<&'static str>| Setting {
            name,
            value: value.into(),
            wanted,
        };
        let report = Report {
            name: "mysql://db/omnizap".into(),
            kind: "MySQL or MariaDB",
            file: None,
            is_there: true,
            steps: Vec::new(),
            settings: vec![
                setting("innodb_flush_log_at_trx_commit", "2", Some("1")),
                setting("read_only", "1", Some("0")),
            ],
        };
        let shown: Vec<_> = of(&report, Path::new("data"))
            .iter()
            .map(Finding::shown)
            .collect();
        assert!(shown[0].starts_with("ok: MySQL or MariaDB mysql://db/omnizap"));
        assert!(shown[1].starts_with("warning: innodb_flush_log_at_trx_commit=2"));
        assert!(shown[1].ends_with("set innodb_flush_log_at_trx_commit=1 on the server"));
        assert!(shown[2].starts_with("fault: "), "{shown:?}");
        let absent = Report {
            is_there: false,
            ..report
        };
        assert_eq!(of(&absent, Path::new("data")).len(), 1);
    }
}
