//! Values for options from the command line: `--with OPTION=VALUE`.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use engine::pipeline::diagnostic::suggestion;
use engine::pipeline::options::coerce;
use engine::plugin::StageManifest;
use omnizap_contract::OptionSpec;
use serde_json::Value as Json;

/// Texts by the name of their option, of whichever stage has it.
#[derive(Clone, Debug)]
pub(super) struct Given(BTreeMap<String, Json>);

impl Given {
    pub(super) fn read(with: &[String]) -> anyhow::Result<Self> {
        let given = with.iter().map(|given| {
            let (name, text) = given
                .split_once('=')
                .ok_or_else(|| anyhow!("--with {given}: expected OPTION=VALUE"))?;
            Ok((name.to_owned(), Json::from(text)))
        });
        Ok(Self(given.collect::<anyhow::Result<_>>()?))
    }

    /// Refuses what no stage has as an option, and what its schema does not allow.
    pub(super) fn check(&self, stages: &[StageManifest]) -> anyhow::Result<()> {
        let all = || stages.iter().flat_map(|stage| &stage.options);
        for (name, text) in &self.0 {
            if all().all(|option| option.name != *name) {
                let names = all().map(|option| &*option.name);
                let help = suggestion(name, names).unwrap_or("it has none".into());
                bail!("--with {name}: the plugin has no such option: {help}");
            }
            let mut wrong = all().filter(|option| option.name == *name);
            if let Some(option) = wrong.find(|option| self.value(option).is_none()) {
                let expected = option.ty.expectation();
                bail!("--with {name}: expected {expected}, found {text}");
            }
        }
        Ok(())
    }

    /// The value of an option, if one was given.
    pub(super) fn value(&self, option: &OptionSpec) -> Option<Json> {
        coerce(&option.ty, self.0.get(&*option.name)?)
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::OptionType;

    use super::*;

    fn stage() -> StageManifest {
        let level = OptionType::Integer { min: 0, max: 9 };
        StageManifest {
            id: "acme/a".into(),
            doc: String::new(),
            flags: 0,
            options: vec![
                OptionSpec::new("level", level, 3, ""),
                OptionSpec::required("path", OptionType::Text, ""),
            ],
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn texts_become_what_the_schema_wants_or_the_way_out_is_told() {
        let read = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|given| (*given).to_owned()).collect();
            let given = Given::read(&given)?;
            given.check(&[stage()])?;
            anyhow::Ok(given)
        };
        let given = read(&["level=7", "path=a=b"]).unwrap();
        let options = stage().options;
        assert_eq!(given.value(&options[0]), Some(Json::from(7)));
        assert_eq!(given.value(&options[1]), Some(Json::from("a=b")));
        for (wrong, told) in [
            ("level", "OPTION=VALUE"),
            ("levle=1", "did you mean `level`?"),
            ("level=10", "a whole number from 0 to 9, found \"10\""),
        ] {
            let said = read(&[wrong]).unwrap_err().to_string();
            assert!(said.contains(told), "{said}");
        }
    }
}
