//! `omnizap db forget`: images and all that is kept of them, deleted.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use omnizap_services::store::{Forgotten, Store, Which};

use crate::cli::Failure;

/// How often long work says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Units of a duration, in seconds.
const UNITS: [(char, u64); 5] = [
    ('s', 1),
    ('m', 60),
    ('h', 3600),
    ('d', 86_400),
    ('w', 604_800),
];

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true), after_help = "\
Examples:
  omnizap db forget --older-than 90d --dry-run
  omnizap db forget --hash IMAGE_HASH
  omnizap db forget --asset 'the client own id' --yes")]
pub(crate) struct ForgetArgs {
    /// Pictures that a client calls so (asset_id)
    #[arg(long, value_name = "ID", group = "which")]
    asset: Option<String>,
    /// The picture with this image_hash, or whose bytes have this SHA-256
    #[arg(long, value_name = "HASH", group = "which", value_parser = hash)]
    hash: Option<Which>,
    /// Pictures that were kept so long ago or longer: 90d, 12h, 30m, 45s, 2w
    #[arg(long, value_name = "DURATION", group = "which", value_parser = duration)]
    older_than: Option<Duration>,
    /// Only count what there is to forget
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

impl ForgetArgs {
    fn which(&self) -> Option<Which> {
        let asset = self.asset.as_ref();
        let asset = asset.map(|id| Which::Asset(id.trim().to_owned()));
        let hash = self.hash.clone();
        asset.or(hash).or(self.older_than.map(Which::OlderThan))
    }
}

fn hash(text: &str) -> Result<Which, String> {
    Which::hash(text).ok_or_else(|| "expected 64 hexadecimal digits".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number with s, m, h, d or w, such as 90d".to_owned();
    let text = text.trim();
    let unit = text.chars().last().ok_or_else(expected)?;
    let number = text.strip_suffix(unit).ok_or_else(expected)?;
    let number: u64 = number.trim().parse().map_err(|_| expected())?;
    let seconds = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, seconds) = seconds.ok_or_else(expected)?;
    // A century: databases reckon with less than a u64 holds.
    let longest = 100 * 365 * 86_400;
    let seconds = number.checked_mul(*seconds).filter(|all| *all <= longest);
    let seconds = seconds.ok_or("expected no more than a hundred years")?;
    Ok(Duration::from_secs(seconds))
}

pub(super) async fn run(store: &Store, args: &ForgetArgs) -> Result<ExitCode, Failure> {
    let Some(which) = args.which() else {
        // clap has seen to it that there is one.
        return Ok(ExitCode::from(2));
    };
    let asks = !args.yes && !args.dry_run;
    if asks && !std::io::stdin().is_terminal() {
        errln!("error: nobody can be asked here: add --yes, or --dry-run to count only");
        return Ok(ExitCode::from(2));
    }
    if !args.yes {
        let found = store.forget(&which, true, teller("found")).await?;
        outln!("{} to forget", told(&found));
        if args.dry_run || found.is_nothing() {
            return Ok(ExitCode::SUCCESS);
        }
        // Who is asked may take long: a signal is taken meanwhile.
        if !tokio::task::spawn_blocking(is_confirmed).await?? {
            outln!("nothing was forgotten");
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut so_far = Forgotten::default();
    let mut tell = teller("forgotten");
    let forgetting = store.forget(&which, false, |forgotten| {
        so_far = *forgotten;
        tell(forgotten);
    });
    let result = forgetting.await;
    match result {
        Ok(forgotten) => outln!("{} forgotten", told(&forgotten)),
        Err(error) => {
            let so_far = told(&so_far);
            let error = anyhow!("{error}; {so_far} forgotten until then, the rest is still there");
            return Err(Failure::Work(error));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_confirmed() -> std::io::Result<bool> {
    err!("They cannot be brought back. Forget them? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
}

fn told(forgotten: &Forgotten) -> String {
    let Forgotten {
        images,
        labels,
        feedback,
    } = forgotten;
    format!("{images} embeddings, {labels} rows of labels, {feedback} of feedback")
}

/// Says now and then how far long work is.
fn teller(done: &'static str) -> impl FnMut(&Forgotten) {
    let mut last = Instant::now();
    move |so_far| {
        if last.elapsed() >= TELL_EVERY {
            last = Instant::now();
            errln!("{} {done} so far", told(so_far));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90d", 7_776_000),
            ("45s", 45),
            (" 2 w ", 1_209_600),
            ("0h", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "d",
            "90",
            "-1d",
            "1.5h",
            "1y",
            "9 0d",
            "ä",
            "99999999999w",
            "101000w",
        ] {
            duration(bad).unwrap_err();
        }
    }
}
