//! The classifier of unsafe pictures: its names, and the pool that runs it.

use std::sync::Arc;
use std::time::Instant;

use omnizap_contract::{Call, Counters, Error, Image, Options};
use omnizap_models::{Device, NSFW_MODEL, NsfwNet};

use super::clip;
use super::pool::{Pool, PoolLimits};

pub use omnizap_models::{NSFW_CLASSES, NsfwClasses};

/// The classifier, open, shared by the stages that run it or know it.
pub struct NsfwModel {
    pool: Pool<NsfwNet>,
}

impl NsfwModel {
    /// Opens the classifier and starts its threads.
    ///
    /// # Errors
    /// What is missing, for the operator.
    pub(crate) async fn open(device: Device, limits: PoolLimits) -> Result<Self, Error> {
        let opening = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let net = NsfwNet::embedded(device)?;
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(
                model = NSFW_MODEL,
                device = device.name(),
                seconds,
                "nsfw model opened"
            );
            Ok(net)
        });
        let net = opening
            .await
            .map_err(Error::internal)?
            .map_err(|error: omnizap_models::Error| clip::cannot_open(&error))?;
        Ok(Self {
            pool: Pool::start(net, limits).map_err(|error| clip::cannot_open(&error))?,
        })
    }

    /// The model's name, as answers show it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NSFW_MODEL
    }

    /// How many pictures wait for the model, of how many that may.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.pool.counters()
    }

    /// The probabilities of the model's classes, in their order.
    ///
    /// # Errors
    /// As [`Pool::embed_image`].
    pub async fn classify(&self, image: Arc<Image>, call: &Call) -> Result<Arc<[f32]>, Error> {
        self.pool.embed_image(image, call).await
    }

    /// Those of the frame of a picture that is the least safe to show.
    ///
    /// # Errors
    /// As [`Pool::embed_image`].
    pub async fn classify_frames(
        &self,
        frames: &[Arc<Image>],
        call: &Call,
    ) -> Result<Arc<[f32]>, Error> {
        let all = self.pool.embed_frames(frames, call).await?;
        worst(all).ok_or_else(|| Error::internal("the nsfw model was given no frame"))
    }
}

/// The probabilities with the largest score, the first of those that are alike. What are none score
/// nothing here, and are found where the score is told.
fn worst(all: Vec<Arc<[f32]>>) -> Option<Arc<[f32]>> {
    let score = |classes: &Arc<[f32]>| {
        let classes = <[f32; NSFW_CLASSES.len()]>::try_from(&**classes);
        classes.map_or(0.0, |classes| NsfwClasses(classes).score())
    };
    all.into_iter().reduce(|worst, next| {
        if score(&next) > score(&worst) {
            next
        } else {
            worst
        }
    })
}

/// What tells the probabilities of pictures apart: the model with its weights, and how the
/// pictures were prepared. Nothing is opened for it.
///
/// # Errors
/// What is missing, for the operator.
pub fn id(options: &Options) -> Result<Arc<str>, Error> {
    let fingerprint = NsfwNet::fingerprint().map_err(|error| clip::cannot_open(&error))?;
    Ok(clip::prepared_id(
        &clip::key(NSFW_MODEL, fingerprint),
        options,
    ))
}

/// True for what the model can have said under this id: rows may come from elsewhere.
#[must_use]
pub fn is_classes(vector: &[f32]) -> bool {
    let sum: f32 = vector.iter().sum();
    vector.len() == NSFW_CLASSES.len()
        && vector.iter().all(|share| (0.0..=1.0).contains(share))
        && (sum - 1.0).abs() < 1e-3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_that_is_least_safe_is_that_of_all() {
        let of = |unsafe_share: f32| {
            let classes = NSFW_CLASSES.map(|name| match &*name.to_lowercase() {
                "porn" => unsafe_share,
                "neutral" => 1.0 - unsafe_share,
                _ => 0.0,
            });
            Arc::<[f32]>::from(classes.to_vec())
        };
        let worst = worst(vec![of(0.1), of(0.9), of(0.3)]).unwrap();
        assert_eq!(worst, of(0.9));
        assert!(super::worst(Vec::new()).is_none());
    }
}
