//! The logit under which no label describes a picture.

use std::sync::Arc;

use omnizap_contract::{Call, Error};
use omnizap_models::NoMatch;
use tokio::sync::OnceCell;

use super::defaults;
use crate::model_pool::TextForm;
use crate::open_model::OpenModel;
use crate::softmax::dot;

/// What the best label must reach, as a function of the picture.
pub(super) enum Floor {
    /// The model says it.
    OfTheModel,
    /// So much over the mean cosine of labels of all sorts.
    OverChance {
        labels: Arc<[Arc<str>]>,
        form: TextForm,
        margin: f64,
        /// The labels' mean, made by the first picture.
        mean: OnceCell<Vec<f64>>,
    },
}

impl Floor {
    /// That of a model.
    ///
    /// # Errors
    /// Where the pack of general labels is malformed: a bug.
    pub(super) fn of(model: &OpenModel, form: TextForm) -> Result<Self, Error> {
        let NoMatch::Margin(margin) = model.confidence().no_match else {
            return Ok(Self::OfTheModel);
        };
        Ok(Self::OverChance {
            // Where no other default labels are set these are the default ones, and known already.
            labels: defaults::general().map_err(Error::internal)?.into(),
            form,
            margin,
            mean: OnceCell::new(),
        })
    }

    /// The logit that one label at least must have.
    ///
    /// # Errors
    /// As [`OpenModel::embed_texts`], for the first picture.
    pub(super) async fn logit(
        &self,
        model: &OpenModel,
        picture: &[f32],
        call: &Call,
    ) -> Result<f64, Error> {
        match self {
            Self::OfTheModel => model.no_match_logit(picture).ok_or_else(|| {
                Error::internal("the model has worlds in its constants and none in its embedding")
            }),
            Self::OverChance {
                labels,
                form,
                margin,
                mean,
            } => {
                let mean = mean.get_or_try_init(|| async {
                    let vectors = model.embed_texts(labels, *form, call).await?;
                    let share = 1.0 / vectors.len().max(1) as f64;
                    let mut mean = vec![0.0; picture.len()];
                    for vector in &vectors {
                        let numbers = mean.iter_mut().zip(vector.iter());
                        numbers.for_each(|(sum, number)| *sum += share * f64::from(*number));
                    }
                    Ok::<_, Error>(mean)
                });
                Ok(model.logit_scale() * (dot(picture, mean.await?) + margin))
            }
        }
    }
}
