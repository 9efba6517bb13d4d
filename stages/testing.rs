//! What the unit tests of stages share: running one stage as the engine would.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::{Call, Cancel, Error, Inputs, Kind, Options, Outputs, Ports, Stage, Value};
use omnizap_services::store::{Store, StoreConfig};
use serde_json::{Map, Value as Json};

/// A call that nobody cancels, with a minute to spare.
pub(crate) fn call() -> Call {
    Call {
        request_id: "test".into(),
        deadline: Instant::now() + Duration::from_secs(60),
        cancel: Cancel::default(),
    }
}

/// A store whose data is in that folder.
pub(crate) fn store(folder: &Path) -> Store {
    Store::new(StoreConfig {
        data_dir: folder.into(),
        url: None,
        ..StoreConfig::default()
    })
}

/// The defaults of a kind, overlaid with `set`, as the engine would check them.
pub(crate) fn options<const N: usize>(kind: &dyn Kind, set: [(&str, Json); N]) -> Options {
    let set = set.map(|(name, value)| (name.to_owned(), value));
    options_of(kind, &Json::Object(set.into_iter().collect()))
}

/// The same from a JSON object.
pub(crate) fn options_of(kind: &dyn Kind, set: &Json) -> Options {
    let mut values = Map::new();
    for option in &kind.spec().options {
        let default = option.default.clone().unwrap_or(Json::Null);
        values.insert(option.name.to_string(), default);
    }
    for (name, value) in set.as_object().expect("an object of options") {
        let replaced = values.insert(name.clone(), value.clone());
        assert!(replaced.is_some(), "no option {name}");
    }
    let options = Options::from_checked(values);
    kind.check(&options)
        .expect("options pass the kind's own check");
    options
}

/// Inputs of a kind under its default options.
pub(crate) fn inputs<const N: usize>(
    kind: &dyn Kind,
    values: [(&str, Option<Value>); N],
) -> Inputs {
    inputs_with(kind, [], values)
}

/// Inputs of a kind under options.
pub(crate) fn inputs_with<const M: usize, const N: usize>(
    kind: &dyn Kind,
    set: [(&str, Json); M],
    values: [(&str, Option<Value>); N],
) -> Inputs {
    let ports = kind.ports(&options(kind, set));
    let mut slots = vec![None; ports.inputs.len()];
    for (name, value) in values {
        let index = ports.inputs.iter().position(|port| port.name == name);
        slots[index.expect("a declared input")] = value;
    }
    Inputs::new(Arc::from(ports.inputs), slots)
}

/// Checks outputs against the ports that they are for, and JSON against its shape.
pub(crate) fn fits(ports: &Ports, outputs: &Outputs) -> Result<(), Error> {
    let given = outputs.clone().conform(&ports.outputs)?;
    for (port, value) in ports.outputs.iter().zip(given) {
        if let Some(Value::Json(json)) = value {
            assert!(
                port.shape.fits(&json),
                "{}: {json} is no {}",
                port.name,
                port.shape
            );
        }
    }
    Ok(())
}

/// Runs a computing stage and checks its outputs against its ports.
pub(crate) fn run<const N: usize>(
    kind: &dyn Kind,
    stage: &dyn Stage,
    values: [(&str, Option<Value>); N],
    call: &Call,
) -> Result<Outputs, Error> {
    let outputs = stage.run(&inputs(kind, values), call)?;
    fits(&kind.ports(&options(kind, [])), &outputs)?;
    Ok(outputs)
}
