//! Values for options that were given: `OPTION=VALUE`.

use std::collections::BTreeMap;

use omnizap_contract::OptionSpec;
use omnizap_contract::common::names::suggestion;
use omnizap_host::StageManifest;
use serde_json::Value as Json;

use crate::error::Error;

/// Texts by the name of their option, of whichever stage has it.
#[derive(Clone, Debug)]
pub(super) struct Given(BTreeMap<String, Json>);

impl Given {
    /// # Errors
    /// [`Error::Given`]: one is spelt otherwise.
    pub(super) fn read(given: &[String]) -> Result<Self, Error> {
        let given = given.iter().map(|given| {
            let (name, text) = given
                .split_once('=')
                .ok_or_else(|| wrong(given, "expected OPTION=VALUE"))?;
            Ok((name.to_owned(), Json::from(text)))
        });
        Ok(Self(given.collect::<Result<_, Error>>()?))
    }

    /// Refuses what no stage has as an option, and what its schema does not allow.
    ///
    /// # Errors
    /// [`Error::Given`].
    pub(super) fn check(&self, stages: &[StageManifest]) -> Result<(), Error> {
        let all = || stages.iter().flat_map(|stage| &stage.options);
        for (name, text) in &self.0 {
            if all().all(|option| option.name != *name) {
                let names = all().map(|option| &*option.name);
                let help = suggestion(name, names).unwrap_or("it has none".into());
                let why = format!("the plugin has no such option: {help}");
                return Err(wrong(name, why));
            }
            let mut refused = all().filter(|option| option.name == *name);
            if let Some(option) = refused.find(|option| self.value(option).is_none()) {
                let expected = option.ty.expectation();
                let why = format!("expected {expected}, found {text}");
                return Err(wrong(name, why));
            }
        }
        Ok(())
    }

    /// The value of an option, if one was given.
    pub(super) fn value(&self, option: &OptionSpec) -> Option<Json> {
        option.ty.coerce(self.0.get(&*option.name)?)
    }
}

fn wrong(given: &str, why: impl Into<String>) -> Error {
    Error::Given {
        given: given.to_owned(),
        why: why.into(),
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
            Ok::<_, Error>(given)
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
