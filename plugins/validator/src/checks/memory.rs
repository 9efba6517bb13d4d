//! Checks of what a stage does with memory that it only borrows, and with pictures in forms
//! that are rare.

use omnizap_contract::{Channels, Inputs, PortType, abi};
use omnizap_host::probe::{Answer, Lent, Memory, Picture, Specimen};

use crate::check::{Check, Gate, Run};
use crate::random::describe;
use crate::same::difference;
use crate::trial::{StageTrial, must_be_sound};
use crate::verdict::{Finding, Passed, Verdict, skipped};

/// Width and height of pictures that break what was tried with photographs only.
const ODD_SIDES: [(usize, usize); 11] = [
    (0, 0),
    (0, 5),
    (5, 0),
    (1, 1),
    (1, 9),
    (9, 1),
    (2, 3),
    (3, 5),
    (17, 13),
    (31, 1),
    (257, 3),
];
const LAYOUTS: [Channels; 3] = [Channels::Gray, Channels::Rgb, Channels::Rgba];
/// Gaps between rows, in bytes, with an offset before the first.
const GAPS: [(usize, usize); 4] = [(0, 0), (0, 64), (7, 0), (64, 3)];
/// Calls with inputs that are taken away.
const CALLS: usize = 12;

pub(super) const ODD_IMAGES: Check = Check {
    id: "odd-images",
    rule: "takes pictures of 0x0, 1x1 and odd sides, of every layout",
    advice: "expect sides of 0 (no pixel to read, nothing to divide by) and rows of any length; or answer OZ_INVALID",
    gate: Gate::Open,
    run: Run::Stage(odd_images),
};

pub(super) const STRIDES: Check = Check {
    id: "strides",
    rule: "sees the same picture through strides and byte_offset, or refuses it",
    advice: "read pixel (y, x) at data + byte_offset + y * strides[0] + x * strides[1], or answer OZ_UNSUPPORTED where strides is not NULL",
    gate: Gate::Open,
    run: Run::Stage(strides),
};

pub(super) const BORROWED: Check = Check {
    id: "borrowed",
    rule: "only reads its inputs, and not after run has returned",
    advice: "inputs, call and error belong to the host and are borrowed until run returns: copy what you keep, write to none of it",
    gate: Gate::Open,
    run: Run::Stage(borrowed),
};

/// Why a stage that takes no pictures is shown none.
const NO_IMAGE: &str = "the stage takes no image";

fn picture(trial: &mut StageTrial<'_>, (width, height): (usize, usize), of: Channels) -> Picture {
    let len = width * height * of.count();
    Picture {
        width,
        height,
        channels: of,
        pixels: (0..len).map(|_| trial.rng.u8(..)).collect(),
        gap: None,
        offset: 0,
    }
}

/// An instance that is shown pictures.
struct Viewer {
    instance: Specimen,
    /// What it is given beside the picture.
    inputs: Inputs,
    /// What it was lent, which stays readable until it is gone: coming back to it has a check of
    /// its own.
    kept: Vec<Memory>,
}

impl Viewer {
    /// One of a stage that takes pictures.
    fn of(trial: &mut StageTrial<'_>) -> Result<Option<Self>, Finding> {
        let inputs = &trial.stage.inputs;
        if !inputs.iter().any(|input| input.ty == PortType::Image) {
            return Ok(None);
        }
        let instance = trial.instance()?;
        trial.steps.step("ordinary inputs");
        let inputs = trial.welcome_inputs(&instance);
        Ok(Some(Self {
            instance,
            inputs,
            kept: Vec::new(),
        }))
    }

    /// Runs it on one picture.
    fn show(&mut self, trial: &StageTrial<'_>, picture: &Picture) -> Result<Answer, Finding> {
        let lent = Lent {
            inputs: &self.inputs,
            picture: Some(picture),
            // Of no pixels not one may be read. Of others that is for the check of what is
            // borrowed.
            is_guarded: picture.pixels.is_empty(),
        };
        let ended = self.instance.run_lent(lent, &trial.call())?;
        self.kept.push(ended.memory);
        Ok(ended.answer)
    }
}

fn odd_images(trial: &mut StageTrial<'_>) -> Verdict {
    let Some(mut viewer) = Viewer::of(trial)? else {
        return skipped(NO_IMAGE);
    };
    let ordinary = viewer.instance.run(&viewer.inputs, &trial.call());
    if must_be_sound(&ordinary, "ordinary inputs").is_err() {
        return skipped("it fails on ordinary pictures as well");
    }
    let forms = ODD_SIDES
        .iter()
        .flat_map(|sides| LAYOUTS.map(|layout| (*sides, layout)));
    for (_, ((width, height), channels)) in trial.calls(usize::MAX).zip(forms) {
        let about = format!("a picture of {width}x{height} {channels:?}");
        trial.steps.step(&about);
        let picture = picture(trial, (width, height), channels);
        let answer = viewer.show(trial, &picture)?;
        must_be_sound(&answer, &about)?;
    }
    Ok(Passed::Ok)
}

fn strides(trial: &mut StageTrial<'_>) -> Verdict {
    let Some(mut viewer) = Viewer::of(trial)? else {
        return skipped(NO_IMAGE);
    };
    for (_, channels) in trial.calls(usize::MAX).zip(LAYOUTS) {
        let plain = picture(trial, (13, 7), channels);
        let without = viewer.show(trial, &plain)?;
        if must_be_sound(&without, "plain").is_err() {
            return skipped("it fails on ordinary pictures as well");
        }
        for (gap, offset) in GAPS {
            let about = format!(
                "a {channels:?} picture with {gap} bytes between rows and a byte_offset of {offset}"
            );
            trial.steps.step(&about);
            let strided = Picture {
                gap: Some(gap),
                offset,
                ..plain.clone()
            };
            let with = viewer.show(trial, &strided)?;
            if matches!(&with, Answer::Failed(trouble) if trouble.status == abi::UNSUPPORTED) {
                continue;
            }
            must_be_sound(&with, &about)?;
            if trial.is_pure()
                && let Some(difference) = difference(&trial.stage, &without, &with)
            {
                return Err(Finding::new(format!(
                    "{about}: {difference}, which is the same picture"
                )));
            }
        }
    }
    Ok(Passed::Ok)
}

fn borrowed(trial: &mut StageTrial<'_>) -> Verdict {
    let instance = trial.instance()?;
    // What calls were lent stays out of reach until the instance is gone.
    let mut closed = Vec::new();
    for turn in trial.calls(CALLS) {
        let inputs = trial.inputs();
        let about = describe(&trial.stage.inputs, &inputs);
        trial.steps.step(&match turn {
            0 => {
                format!("the first call, its inputs read-only and ending at a guard page: {about}")
            }
            _ => format!(
                "call {}, with what earlier calls were lent out of reach: {about}",
                turn + 1
            ),
        });
        let lent = Lent {
            inputs: &inputs,
            picture: None,
            is_guarded: true,
        };
        // What it answers is for other checks.
        let ended = instance.run_lent(lent, &trial.call())?;
        ended.memory.close()?;
        closed.push(ended.memory);
    }
    trial
        .steps
        .step("deactivate and destroy, with what calls were lent out of reach");
    drop(instance);
    drop(closed);
    Ok(Passed::Ok)
}
