//! The model that pipelines get where they name none, and the classifier of unsafe pictures: there,
//! whole, and computing what they should.

use omnizap_contract::common::chain::chain;
use omnizap_models::verify::verify;
use omnizap_models::{Cache, Device, Error, Model, NSFW_MODEL, NsfwNet, Source, catalog};

use super::bytes;
use super::finding::Finding;
use crate::cli::Common;
use crate::cli::config::services_config;

/// Digits of a fingerprint that are shown.
const DIGITS: usize = 16;

pub(super) fn look(common: &Common) -> Vec<Finding> {
    let Ok(config) = services_config(common) else {
        return vec![Finding::fine("not looked at: a setting is refused")];
    };
    let (name, weights) = (config.model_name, config.model_pretrained);
    let cache = Cache::from_env();
    let mut found = Vec::new();
    let device = config.model_device;
    match Source::resolve(name.as_deref(), weights.as_deref()) {
        Ok(source) => found.push(of(&source, &cache, device).unwrap_or_else(|error| fault(&error))),
        Err(error) => {
            let advice = "`omnizap models list` shows which there are; CLIP_MODEL_NAME and \
                          CLIP_MODEL_PRETRAINED name one";
            found.push(Finding::misconfigured(chain(&error), advice));
        }
    }
    found.push(match NsfwNet::embedded(device) {
        Ok(_) => {
            let fingerprint = NsfwNet::fingerprint().unwrap_or_default();
            Finding::fine(format!("{NSFW_MODEL}, weights {}", short(fingerprint)))
        }
        Err(error) => fault(&error),
    });
    found
}

fn of(source: &Source, cache: &Cache, device: Device) -> Result<Finding, Error> {
    match source {
        Source::Embedded => {
            let report = verify(source, cache, device)?;
            let shown = format!("{}, weights {}", report.model, short(&report.fingerprint));
            if !report.passed() {
                let what = format!("{shown}, does not compute what it should");
                let advice = "`omnizap models verify` shows what differs: please report it";
                return Ok(Finding::fault(what, advice));
            }
            let image = report.image.as_secs_f64() * 1000.0;
            Ok(Finding::fine(format!(
                "{shown}, inside the program; computes as it should, {image:.0} ms a picture"
            )))
        }
        Source::Tag { preset, weights } => {
            let (name, tag) = (preset.name, weights.tag);
            let entries = catalog::list(cache);
            let entry = entries
                .into_iter()
                .find(|entry| entry.name == name && entry.tag == tag);
            let path = entry.as_ref().and_then(|entry| entry.path.as_ref());
            if path.is_none() {
                return Ok(Finding::misconfigured(
                    format!("{name} with the weights {tag} is not on this machine"),
                    format!("`omnizap models pull {name}:{tag}`"),
                ));
            }
            if !entry.is_some_and(|entry| entry.imported) {
                // To open it would write what the first start keeps.
                return Ok(Finding::warning(
                    format!("{name}:{tag} is there, and was never opened: the first start is slow"),
                    format!("`omnizap models verify {name}:{tag}` opens it and tries it"),
                ));
            }
            let model = Model::open(source, cache, device)?;
            Ok(Finding::fine(format!(
                "{}:{tag}, weights {}, {} dimensions, opens",
                model.id(),
                short(model.fingerprint()),
                model.dim()
            )))
        }
        Source::Path { path, .. } | Source::Custom { path, .. } => {
            let name = source.name();
            let shown = path.display();
            Ok(
                match std::fs::File::open(path).and_then(|file| file.metadata()) {
                    Ok(file) => Finding::fine(format!(
                        "{name} from {shown} ({}); `omnizap models import` tries it",
                        bytes(file.len())
                    )),
                    Err(error) => Finding::misconfigured(
                        format!("{name}: {shown} cannot be read: {error}"),
                        "mend CLIP_MODEL_PRETRAINED, or the rights of the file",
                    ),
                },
            )
        }
    }
}

fn fault(error: &Error) -> Finding {
    if error.is_of_device() {
        return Finding::misconfigured(chain(error), "install the driver, or unset CLIP_DEVICE");
    }
    let advice = "`omnizap models verify` shows more";
    Finding::fault(chain(error), advice)
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..DIGITS).unwrap_or(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_here_is_told_how_to_get() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let source = Source::parse("MobileCLIP-S1").unwrap();
        let shown = of(&source, &cache, Device::Cpu).unwrap().shown();
        assert!(shown.starts_with("fault: MobileCLIP-S1 with"), "{shown}");
        assert!(
            shown.contains("omnizap models pull MobileCLIP-S1:"),
            "{shown}"
        );
    }
}
