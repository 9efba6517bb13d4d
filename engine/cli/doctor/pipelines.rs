//! The pipelines, by the code that `omnizap check` runs, and the plugins that they allow.

use engine::live::{LoadError, Source};
use engine::pipeline::diagnostic::{Diagnostic, Diagnostics};
use engine::pipeline::graph::Graph;
use omnizap_services::ServicesConfig;

use super::finding::Finding;
use super::told;
use crate::cli::config::services_config;
use crate::cli::{Common, Failure, check, pipelines, plugins};

pub(super) fn look(common: &Common, is_safe: bool) -> Vec<Finding> {
    let graphs = match graphs(common, is_safe) {
        Ok(graphs) => graphs,
        Err(failure) => return of_failure(&failure),
    };
    let mistakes = check::inspect(&graphs);
    let mut warnings = Diagnostics::default();
    for graph in &graphs {
        warnings.extend(graph.warnings.clone());
    }
    let mut found: Vec<_> = mistakes.iter().map(mistake).collect();
    for warning in warnings.iter() {
        let (what, help) = parts(warning);
        found.push(Finding::warning(what, help));
    }
    let names = graphs
        .iter()
        .map(|graph| graph.file.name.get_ref().as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    let source = match pipelines::source(common, None) {
        Source::Path(path) => path.display().to_string(),
        Source::Texts(_) => "the program itself".to_owned(),
    };
    if mistakes.is_empty() {
        let what = format!("{} of {source}: {names}", graphs.len());
        found.push(Finding::fine(what));
    }
    found
}

fn graphs(common: &Common, is_safe: bool) -> Result<Vec<Graph>, Failure> {
    // What is refused of the settings is told elsewhere, and says nothing of the files.
    let config = services_config(common).unwrap_or_else(|_| ServicesConfig {
        data_dir: common.data.clone(),
        ..ServicesConfig::default()
    });
    let (workshop, _) = pipelines::workshop_with(common, config, is_safe)?;
    let graphs = workshop.graphs(&pipelines::source(common, None));
    graphs.map_err(pipelines::not_loaded)
}

fn of_failure(failure: &Failure) -> Vec<Finding> {
    if let Failure::Config(error) = failure
        && let Some(LoadError::Mistakes(mistakes)) = error.downcast_ref::<LoadError>()
    {
        return mistakes.iter().map(mistake).collect();
    }
    let (text, _) = told(failure);
    vec![Finding::misconfigured(text, "`omnizap check` shows more")]
}

fn mistake(mistake: &Diagnostic) -> Finding {
    let (what, help) = parts(mistake);
    Finding::misconfigured(what, help)
}

/// What is wrong and where, and the way out.
fn parts(diagnostic: &Diagnostic) -> (String, String) {
    let text = diagnostic.to_string();
    let mut lines = text.lines();
    let what = lines.next().unwrap_or_default().to_owned();
    let help = lines.find_map(|line| line.trim_start().strip_prefix("= "));
    let help = help.unwrap_or("`omnizap check` shows the line");
    (what, help.to_owned())
}

pub(super) fn look_at_plugins(common: &Common) -> Vec<Finding> {
    let entries = match pipelines::source(common, None) {
        Source::Path(folder) => plugins::entries(&folder),
        Source::Texts(_) => Ok(Vec::new()),
    };
    let entries = match entries {
        Ok(entries) => entries,
        // The pipelines are looked at next.
        Err(_) => {
            let what = "not looked at: the pipelines that allow them have mistakes";
            return vec![Finding::fine(what)];
        }
    };
    let mut found = Vec::new();
    for entry in &entries {
        let path = entry.path.display();
        found.push(match plugins::admitted(entry) {
            Ok(manifest) => {
                let (major, minor) = manifest.abi;
                Finding::fine(format!(
                    "{path}: {} {}, ABI {major}.{minor}, {} stages",
                    manifest.name,
                    manifest.version,
                    manifest.stages.len()
                ))
            }
            Err(fault) => Finding::misconfigured(
                format!("{path} is refused: {fault}"),
                format!(
                    "where the file is wanted as it is, `omnizap plugins allow {path} --write`"
                ),
            ),
        });
    }
    if found.is_empty() {
        found.push(Finding::fine("none are allowed"));
    }
    found
}
