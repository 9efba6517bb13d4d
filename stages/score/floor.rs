//! The logit under which no label describes a picture.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use omnizap_contract::{Error, Health};
use omnizap_services::inference::clip::{ClipModel, NoMatch};
use omnizap_services::inference::pool::TextForm;
use omnizap_services::softmax::dot;
use omnizap_services::store::Store;
use tokio::task::JoinHandle;

use super::defaults;

/// The wait before general labels are embedded again, where that went wrong.
const AGAIN: Duration = Duration::from_secs(30);

/// What the best label must reach, as a function of the picture.
#[derive(Clone)]
pub(super) enum Floor {
    /// The model says it.
    OfTheModel,
    /// So much over the mean cosine of labels of all sorts.
    OverChance(Arc<Chance>),
}

impl Floor {
    /// That of a model.
    ///
    /// # Errors
    /// Where the pack of general labels is malformed: a bug.
    pub(super) fn of(model: &ClipModel) -> Result<Self, Error> {
        let NoMatch::Margin(margin) = model.confidence().no_match else {
            return Ok(Self::OfTheModel);
        };
        let labels = defaults::general().map_err(Error::internal)?;
        let chance = Chance::new(labels.into(), margin);
        Ok(Self::OverChance(Arc::new(chance)))
    }

    /// The logit that one label at least must have; none while the general labels are being
    /// embedded.
    ///
    /// # Errors
    /// Where the model is at odds with its own constants: a bug.
    pub(super) fn logit(&self, model: &ClipModel, picture: &[f32]) -> Result<Option<f64>, Error> {
        match self {
            Self::OfTheModel => model.no_match_logit(picture).map(Some).ok_or_else(|| {
                Error::internal("the model has worlds in its constants and none in its embedding")
            }),
            Self::OverChance(chance) => Ok(chance.logit(model.logit_scale(), picture)),
        }
    }
}

/// How near a picture is to labels of all sorts. They are many, and a large text tower takes
/// longer for them than a request may: they are embedded in the background.
pub(super) struct Chance {
    labels: Arc<[Arc<str>]>,
    margin: f64,
    /// The labels' mean, once they are embedded.
    mean: OnceLock<Vec<f64>>,
    /// Set where embedding them went wrong: nothing waits for them any more.
    failed: AtomicBool,
}

impl Chance {
    fn new(labels: Arc<[Arc<str>]>, margin: f64) -> Self {
        Self {
            labels,
            margin,
            mean: OnceLock::new(),
            failed: AtomicBool::new(false),
        }
    }

    /// Embeds the labels in the background, after `first`, which requests need more. With a store
    /// they are looked up and kept there.
    pub(super) fn warm_up(
        self: &Arc<Self>,
        model: Arc<ClipModel>,
        form: TextForm,
        store: Option<Store>,
        first: JoinHandle<()>,
    ) {
        let chance = Arc::downgrade(self);
        tokio::spawn(async move {
            // How that ended is in the log already.
            let _ = first.await;
            // Once the stage is gone nobody asks for them.
            while let Some(chance) = chance.upgrade() {
                if chance.embed(&model, form, store.as_ref()).await {
                    return;
                }
                drop(chance);
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// Whether the labels could be embedded, or need not be any more.
    async fn embed(&self, model: &ClipModel, form: TextForm, store: Option<&Store>) -> bool {
        match model.embed_ahead(&self.labels, form, store).await {
            Ok(vectors) => {
                self.mean.get_or_init(|| mean(&vectors));
                true
            }
            Err(_) if store.is_some_and(Store::is_ending) => true,
            Err(error) => {
                tracing::warn!(error = ?error, "could not embed the general labels of no_match");
                self.failed.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// The logit of a picture with a label that is so much nearer than those are on average.
    fn logit(&self, scale: f64, picture: &[f32]) -> Option<f64> {
        let mean = self.mean.get()?;
        Some(scale * (dot(picture, mean) + self.margin))
    }

    /// Readiness waits for the labels. Answers lack `no_match` until then and are right without.
    pub(super) fn health(&self) -> Health {
        let is_missing = self.mean.get().is_none();
        let is_starting = is_missing && !self.failed.load(Ordering::Relaxed);
        Health {
            starting: is_starting.then(|| "general labels are being embedded".into()),
            degraded: is_missing
                .then(|| "no_match is left out: the general labels are not embedded yet".into()),
            ..Health::default()
        }
    }
}

/// The mean of vectors of one length.
fn mean(vectors: &[Arc<[f32]>]) -> Vec<f64> {
    let length = vectors.first().map_or(0, |vector| vector.len());
    let share = 1.0 / vectors.len().max(1) as f64;
    let mut mean = vec![0.0; length];
    for vector in vectors {
        let numbers = mean.iter_mut().zip(vector.iter());
        numbers.for_each(|(sum, number)| *sum += share * f64::from(*number));
    }
    mean
}

#[cfg(test)]
mod tests {
    use omnizap_services::{Services, ServicesConfig};

    use super::*;

    fn chance(labels: &[&str]) -> Arc<Chance> {
        let labels: Vec<Arc<str>> = labels.iter().map(|label| Arc::from(*label)).collect();
        Arc::new(Chance::new(labels.into(), 0.25))
    }

    #[test]
    fn the_floor_is_so_much_over_the_mean_cosine() {
        let chance = chance(&[]);
        let vectors: [Arc<[f32]>; 2] = [[1.0, 0.0].into(), [0.0, 1.0].into()];
        chance.mean.get_or_init(|| mean(&vectors));
        assert_eq!(chance.logit(100.0, &[1.0, 0.0]), Some(75.0));
        assert_eq!(chance.logit(100.0, &[-1.0, 0.0]), Some(-25.0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readiness_waits_for_the_general_labels_and_answers_do_not() {
        let services = Services::new(ServicesConfig::default());
        let model = services.model(None, None).await.unwrap();
        let chance = chance(&["cat", "pizza", "house"]);
        assert!(chance.health().starting.is_some());
        assert_eq!(chance.logit(1.0, &[]), None);

        let first = tokio::spawn(async {});
        chance.warm_up(model, TextForm::Label, None, first);
        let mut health = chance.health();
        for _ in 0..400 {
            if health.starting.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            health = chance.health();
        }
        assert_eq!((health.starting, health.degraded), (None, None));
        assert!(chance.logit(1.0, &[]).is_some());
    }

    #[test]
    fn readiness_does_not_wait_for_labels_that_cannot_be_embedded() {
        let chance = chance(&["cat"]);
        chance.failed.store(true, Ordering::Relaxed);
        let health = chance.health();
        assert!(health.starting.is_none());
        assert!(health.degraded.is_some());
    }
}
