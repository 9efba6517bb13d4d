//! What a check works with: the plugin, random inputs, and time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use omnizap_contract::{Call, Cancel, Inputs, Options, abi};
use omnizap_host::probe::{Answer, Probe, Specimen, Trouble};
use omnizap_host::{FileError, Manifest, StageManifest, file, read_manifest};

use crate::given::Given;
use crate::random;
use crate::steps::Steps;
use crate::verdict::Finding;

/// The part of a check's time that its calls may take. The rest is for the one that hangs.
const BUDGET: u32 = 3;
/// Random inputs that are tried in search of some that the stage takes.
const DRAWS: usize = 16;
/// Calls that are made however slow the stage is.
const LEAST_CALLS: usize = 2;

/// What all checks of one run share.
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) given: Given,
    /// The time that one check may take.
    pub(super) limit: Duration,
}

/// The file as data.
pub(super) struct FileTrial {
    pub(super) manifest: Result<Manifest, FileError>,
}

impl FileTrial {
    pub(super) fn read(path: &Path) -> Self {
        let manifest = file::read(path).and_then(|bytes| read_manifest(&bytes));
        Self { manifest }
    }
}

/// The opened library.
pub(super) struct LibraryTrial<'a> {
    pub(super) probe: Probe,
    pub(super) setting: Setting,
    pub(super) steps: Steps<'a>,
}

impl LibraryTrial<'_> {
    pub(super) fn stages(&self) -> Vec<Arc<StageManifest>> {
        let stages = self.probe.manifest().stages.iter();
        stages.cloned().map(Arc::new).collect()
    }

    pub(super) fn first_stage(&self) -> Option<StageTrial<'_>> {
        let first = self.stages().into_iter().next()?;
        Some(StageTrial::new(self, first))
    }
}

/// One stage of it.
pub(super) struct StageTrial<'a> {
    pub(super) probe: &'a Probe,
    pub(super) stage: Arc<StageManifest>,
    /// Options that every instance is activated under unless a check wants others.
    pub(super) options: Options,
    pub(super) rng: Rng,
    pub(super) steps: Steps<'a>,
    pub(super) given: &'a Given,
    began: Instant,
    limit: Duration,
}

impl<'a> StageTrial<'a> {
    pub(super) fn new(library: &'a LibraryTrial<'_>, stage: Arc<StageManifest>) -> Self {
        let setting = &library.setting;
        Self {
            probe: &library.probe,
            options: random::usual_options(&stage.options, &setting.given),
            stage,
            rng: Rng::with_seed(setting.seed),
            steps: library.steps,
            given: &setting.given,
            began: Instant::now(),
            limit: setting.limit,
        }
    }

    /// The numbers of at most so many calls; fewer where the stage is slow.
    pub(super) fn calls(&self, most: usize) -> impl Iterator<Item = usize> + use<> {
        let (began, budget) = (self.began, self.limit / BUDGET);
        (0..most).take_while(move |call| *call < LEAST_CALLS || began.elapsed() < budget)
    }

    /// The time that the whole check may take.
    pub(super) fn time(&self) -> Duration {
        self.limit
    }

    /// A new instance, active.
    pub(super) fn instance(&self) -> Result<Specimen, Finding> {
        let mut instance = self.create()?;
        let active = instance.activate(&self.options);
        active.map_err(|trouble| refused("activate", &trouble, &self.options))?;
        Ok(instance)
    }

    /// A new instance, not active.
    pub(super) fn create(&self) -> Result<Specimen, Finding> {
        let made = self.probe.create(&self.stage);
        made.map_err(|trouble| Finding::new(format!("create: {}", say(&trouble))))
    }

    /// Random inputs.
    pub(super) fn inputs(&mut self) -> Inputs {
        random::inputs(&mut self.rng, &self.stage.inputs)
    }

    /// Random inputs to which the instance gives outputs, if any of a few are such: what a check
    /// looks at should not hide behind a text that the stage refuses.
    pub(super) fn welcome_inputs(&mut self, instance: &Specimen) -> Inputs {
        let mut inputs = self.inputs();
        for _ in self.calls(DRAWS) {
            if matches!(instance.run(&inputs, &self.call()), Answer::Given(_)) {
                break;
            }
            inputs = self.inputs();
        }
        inputs
    }

    /// A call that nobody cancels.
    pub(super) fn call(&self) -> Call {
        Call {
            request_id: "validate".into(),
            deadline: Instant::now() + self.limit,
            cancel: Cancel::default(),
        }
    }

    /// True where the same inputs must give the same outputs.
    pub(super) fn is_pure(&self) -> bool {
        self.stage.has(abi::PURE)
    }
}

/// Options as a line for people.
pub(super) fn spell(options: &Options) -> String {
    serde_json::Value::Object(options.as_map().clone()).to_string()
}

/// What a plugin said; a message without a status is the host's own.
pub(super) fn say(trouble: &Trouble) -> String {
    match trouble.status {
        abi::OK => trouble.message.clone(),
        _ => trouble.to_string(),
    }
}

pub(super) fn refused(function: &str, trouble: &Trouble, options: &Options) -> Finding {
    Finding::new(format!(
        "{function} under {} said {}",
        spell(options),
        say(trouble)
    ))
}

/// Fails where an answer is one that the host holds against the plugin.
pub(super) fn must_be_sound(answer: &Answer, about: &str) -> Result<(), Finding> {
    match answer {
        Answer::Given(_) => Ok(()),
        Answer::Failed(trouble) if !trouble.is_fault() => Ok(()),
        Answer::Failed(trouble) => Err(Finding::new(format!("{about}: run said {trouble}"))),
        Answer::Wrong(reason) => Err(Finding::new(format!("{about}: {reason}"))),
    }
}
