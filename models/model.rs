//! A model that is ready to run: towers, tokenizer and preprocessing of one source.

mod inputs;
mod opened;

use std::sync::Arc;

use burn::tensor::Tensor;
use omnizap_contract::common::digest::Sha256Hex;

use crate::confidence::{Confidence, NoMatch};
use crate::config::{ModelConfig, Tower};
use crate::device::Device;
use crate::embedded;
use crate::error::Error;
use crate::files::beside;
use crate::files::cache::Cache;
use crate::files::mapping::Mapping;
use crate::input::pixels::{PixelView, Pixels};
use crate::input::preprocess;
use crate::input::tokenizer::{Tokenizer, Tokens};
use crate::net::ops;
use crate::net::towers::Towers;
use crate::precision::Precision;
use crate::source::Source;
use inputs::Normalised;
use opened::{CheckpointFile, Opened};

/// The largest factor on cosines, as CLIP clamps it.
const MOST_LOGIT_SCALE: f32 = 100.0;
/// SigLIP's is some 112. A file that holds anything above this is damaged, and a logit must stay a
/// number.
const MOST_BIASED_LOGIT_SCALE: f32 = 1000.0;

/// Images that are computed at once; more come in several goes, so that memory stays bounded.
const MOST_IMAGES_AT_ONCE: usize = 16;
/// Texts that are tokens at once. The tower makes batches of them, those that begin alike together.
const MOST_TEXTS_AT_ONCE: usize = 1024;

/// A model on a device. It is shared freely between threads; every call computes on its caller's
/// thread and on rayon's pool, or on a GPU while that thread waits, and takes from milliseconds to
/// seconds: call it off async threads.
pub struct Model {
    config: ModelConfig,
    fingerprint: Sha256Hex,
    device: Device,
    precision: Precision,
    /// The device, open.
    open: burn::tensor::Device,
    towers: Towers,
    /// Where their weights are, unless in memory of their own.
    mapping: Option<Mapping>,
    tokenizer: Arc<Tokenizer>,
    /// For each image tower what it takes.
    inputs: Vec<Normalised>,
    manifest: embedded::Manifest,
}

impl Model {
    /// Opens a model in single precision: from its kept record when there is one, else by importing
    /// its checkpoint, whose record is then kept for the next start.
    ///
    /// # Errors
    /// [`Error::NotPulled`] when the weights are not on this machine, the errors of reading and
    /// importing a checkpoint otherwise, those of [`Device::check`], [`Error::NoDevice`] and
    /// [`Error::DeviceFailed`] where the device cannot be had. That a record cannot be kept is logged
    /// and no error.
    pub fn open(source: &Source, cache: &Cache, device: Device) -> Result<Self, Error> {
        Self::open_in(source, cache, device, Precision::F32)
    }

    /// The same in a precision.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_in(
        source: &Source,
        cache: &Cache,
        device: Device,
        precision: Precision,
    ) -> Result<Self, Error> {
        let kept = |file| Opened::kept(file, cache);
        let model = Self::build(source, cache, device, precision, kept)?;
        model.warm_up()?;
        // In bfloat16 and on a GPU most weights have been copied, and are not read again.
        model.rest();
        Ok(model)
    }

    /// Weights that are mapped no longer count among the process's memory, until they are read again.
    /// For when much was read that will not be for a while, such as those of the text tower.
    pub fn rest(&self) {
        if let Some(mapping) = &self.mapping {
            mapping.rest();
        }
    }

    /// Has a GPU's kernels made, which takes seconds: whoever measures the first run would believe that
    /// all others take as long.
    fn warm_up(&self) -> Result<(), Error> {
        if self.device == Device::Cpu {
            return Ok(());
        }
        let nothing = PixelView::rgb(1, 1, &[0; 3])?;
        let picture = self.preprocess(&nothing);
        let failed = |done: Result<Vec<Vec<f32>>, Error>| match done {
            Err(error @ Error::DeviceFailed { .. }) => Err(error),
            // What else is wrong with a model, those are told who ask it something.
            _ => Ok(()),
        };
        failed(self.encode_images(&[picture]))?;
        failed(self.encode_texts(&["a"]))?;
        failed(self.encode_texts(&["a"; 16]))
    }

    /// Opens a model from its checkpoint, as if no record were kept; none is written either.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub(crate) fn open_afresh(
        source: &Source,
        cache: &Cache,
        device: Device,
    ) -> Result<Self, Error> {
        Self::build(source, cache, device, Precision::F32, Opened::afresh)
    }

    fn build(
        source: &Source,
        cache: &Cache,
        device: Device,
        precision: Precision,
        open: impl FnOnce(CheckpointFile) -> Result<Opened, Error>,
    ) -> Result<Self, Error> {
        let on = device.open(precision)?;
        let file = CheckpointFile::of(source, cache)?;
        let beside = file
            .as_ref()
            .and_then(|file| beside::tokenizer(&file.path, &file.config));
        let beside = beside.as_deref();
        // The vocabulary takes a while to index, so it is done beside the weights.
        std::thread::scope(|scope| {
            let tokenizer = scope.spawn(move || match beside {
                Some(path) => Tokenizer::from_file(path),
                None => Ok(Tokenizer::new()),
            });
            let opened = file.map_or_else(Opened::embedded, open)?;
            let towers = Towers::new(&opened.config, opened.weights, &on, precision)?;
            device.finish(&on)?;
            let tokenizer = tokenizer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            if let Some(path) = beside
                && tokenizer.size() > opened.config.text.vocab_size
            {
                return Err(Error::BadTokenizer {
                    path: path.to_owned(),
                    reason: format!(
                        "it has {} entries, {} knows {}",
                        tokenizer.size(),
                        opened.config.name,
                        opened.config.text.vocab_size
                    ),
                });
            }
            let fingerprint = match tokenizer.file_sha256() {
                Some(own) => Sha256Hex::of(format!("{}{own}", opened.fingerprint).as_bytes()),
                None => opened.fingerprint,
            };
            // Vectors of two precisions are near to each other and not the same.
            let fingerprint = match precision {
                Precision::F32 => fingerprint,
                other => Sha256Hex::of(format!("{fingerprint}{}", other.name()).as_bytes()),
            };
            Ok(Self {
                inputs: opened
                    .config
                    .inputs()
                    .into_iter()
                    .map(Normalised::new)
                    .collect(),
                config: opened.config,
                fingerprint,
                device,
                precision,
                open: on,
                towers,
                mapping: opened.mapping,
                tokenizer: Arc::new(tokenizer),
                manifest: opened.manifest,
            })
        })
    }

    /// The model's name, as answers show it, such as `MobileCLIP-S1`.
    pub fn id(&self) -> &str {
        &self.config.name
    }

    /// Identifies the weights: the SHA-256 of their checkpoint in hexadecimal, or of that and the
    /// tokenizer's where one lies beside it, and of the precision where that is not single.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// In which numbers it computes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether the processor multiplies numbers of its precision. Where it does not, they are widened
    /// first: the weights take less memory all the same, and the work as long as in single precision.
    pub fn has_native_precision(&self) -> bool {
        match self.precision {
            Precision::F32 => true,
            Precision::Bf16 => ops::multiplies_bf16(),
        }
    }

    /// Length of its embeddings.
    pub fn dim(&self) -> usize {
        self.config.embed_dim
    }

    /// Side of the square image that it takes, in pixels.
    pub fn image_size(&self) -> usize {
        self.config.vision.image.size
    }

    /// Its sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The factor on cosines: exponentiated, at most 100 where there is no bias.
    pub fn logit_scale(&self) -> f32 {
        let scale = self.towers.logit_scale.exp();
        match self.towers.logit_bias {
            Some(_) => scale.min(MOST_BIASED_LOGIT_SCALE),
            None => scale.min(MOST_LOGIT_SCALE),
        }
    }

    /// What is added to a scaled cosine before a sigmoid makes a label's own probability of it, which
    /// need not sum to 1 with those of others. None: the model was not trained for that.
    pub fn logit_bias(&self) -> Option<f32> {
        self.towers.logit_bias
    }

    /// Sentences around a label, `{}` being the label. None: the label is encoded as it is.
    pub fn templates(&self) -> &[String] {
        &self.manifest.templates
    }

    /// The labels that it was made for, if it was made for some.
    pub fn default_labels(&self) -> Option<&[String]> {
        (!self.manifest.labels.is_empty()).then_some(&self.manifest.labels)
    }

    /// Labels among its own that it was never taught: their scores say nothing.
    pub fn unknown_labels(&self) -> &[String] {
        &self.manifest.unknown_labels
    }

    /// How its logits become confidences.
    pub fn confidence(&self) -> Confidence {
        self.manifest.confidence
    }

    /// The logit under which no label describes an image, given its embedding of [`Model::dim`]
    /// numbers. [`None`] for a model that does not know drawings and photographs apart.
    ///
    /// A photograph that might show many things is near to each of them by a little: what its half
    /// is long counts, and not how sure the gate is of the world alone.
    ///
    /// # Panics
    /// Where the embedding has another length.
    pub fn no_match_logit(&self, image: &[f32]) -> Option<f64> {
        let NoMatch::Worlds { drawn, seen } = self.manifest.confidence.no_match else {
            return None;
        };
        let Tower::Joined(towers) = &self.config.vision.tower else {
            return None;
        };
        assert_eq!(image.len(), self.dim(), "an embedding of this model");
        let worlds = towers.text_dim() - 2;
        let as_drawn = f64::from(image[worlds] / towers.photographs.world_share);
        let halves = image[towers.drawn_dim..worlds].iter();
        let as_seen = halves.map(|&number| f64::from(number).powi(2)).sum::<f64>();
        Some(drawn * as_drawn + seen * as_seen.sqrt())
    }

    /// Whether prompts about unsafe content mean something to it.
    pub fn knows_nsfw(&self) -> bool {
        self.manifest.knows_nsfw
    }

    /// Resizes and crops an image for [`Model::encode_images`]. The work is bounded by the image's
    /// pixels, whatever its shape.
    pub fn preprocess(&self, image: &PixelView) -> Pixels {
        let mut second = None;
        for input in self.config.inputs().into_iter().rev() {
            let pixels = preprocess::cut(input.image, input.edge, image);
            second = Some(Pixels {
                second: second.map(Box::new),
                ..pixels
            });
        }
        second.expect("a model has an input")
    }

    /// Embeds images: one vector of length 1 each, [`Model::dim`] numbers.
    ///
    /// # Errors
    /// [`Error::WrongPixels`] for pixels prepared by a model of another size,
    /// [`Error::DegenerateEmbedding`] for broken weights, [`Error::DeviceFailed`].
    pub fn encode_images(&self, images: &[Pixels]) -> Result<Vec<Vec<f32>>, Error> {
        let sides: Vec<usize> = self.inputs.iter().map(Normalised::side).collect();
        for pixels in images {
            let found: Vec<usize> = pixels.of_towers().map(Pixels::side).collect();
            if found != sides {
                return Err(Error::WrongPixels {
                    found: pixels.side(),
                    expected: self.image_size(),
                    model: self.id().to_owned(),
                });
            }
        }
        let mut embeddings = Vec::with_capacity(images.len());
        for images in images.chunks(MOST_IMAGES_AT_ONCE) {
            let outputs = self.device.for_pictures(images.len(), |some| {
                let maps = self.inputs.iter().enumerate();
                let maps =
                    maps.map(|(tower, input)| input.map(&images[some.clone()], tower, &self.open));
                self.towers.embed_images(maps.collect())
            });
            for output in outputs {
                self.unit_rows(output, &mut embeddings)?;
            }
        }
        Ok(embeddings)
    }

    /// Embeds texts as they are, without a template: one vector of length 1 each.
    ///
    /// # Errors
    /// [`Error::DegenerateEmbedding`] for broken weights, [`Error::DeviceFailed`].
    pub fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let context = self.config.text.context_length;
        let mut embeddings = Vec::with_capacity(texts.len());
        for texts in texts.chunks(MOST_TEXTS_AT_ONCE) {
            let tokens: Vec<_> = texts
                .iter()
                .map(|text| self.tokenizer.encode(text, context))
                .collect();
            let texts: Vec<_> = tokens.iter().map(inputs::text).collect();
            let output = self.device.run(|| self.towers.embed_texts(&texts));
            self.unit_rows(output, &mut embeddings)?;
        }
        Ok(embeddings)
    }

    /// Embeds labels: each in every template, the mean of those made a vector of length 1 again.
    /// Without templates it is [`Model::encode_texts`].
    ///
    /// # Errors
    /// As [`Model::encode_texts`].
    pub fn encode_labels(&self, labels: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let templates = self.templates();
        if templates.is_empty() {
            return self.encode_texts(labels);
        }
        let prompts: Vec<String> = labels
            .iter()
            .flat_map(|label| {
                templates
                    .iter()
                    .map(move |template| template.replace("{}", label))
            })
            .collect();
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let embeddings = self.encode_texts(&prompts)?;
        embeddings
            .chunks(templates.len())
            .map(|of_label| {
                let sum = (0..self.dim())
                    .map(|i| of_label.iter().map(|embedding| embedding[i]).sum())
                    .collect();
                self.unit(sum)
            })
            .collect()
    }

    /// What embedding a text costs at most, where 1 is what a text as long as the context costs.
    /// Less only where the tower reads no more than there is.
    pub fn cost_of_text(&self, text: &str) -> f32 {
        // A token is of a byte at least; two stand around them.
        self.cost_of_bytes(text.len())
    }

    /// The same of a label, in every template.
    pub fn cost_of_label(&self, label: &str) -> f32 {
        match self.templates() {
            [] => self.cost_of_text(label),
            templates => {
                let bytes = templates
                    .iter()
                    .map(|template| label.len() + template.len());
                bytes.map(|bytes| self.cost_of_bytes(bytes)).sum()
            }
        }
    }

    fn cost_of_bytes(&self, bytes: usize) -> f32 {
        match self.config.text.reads_to_the_end_only() {
            true => ((bytes + 2) as f32 / self.config.text.context_length as f32).min(1.0),
            false => 1.0,
        }
    }

    /// Tokens of a label that the text tower reads whatever they are, in every template.
    pub fn room_for_labels(&self) -> usize {
        let longest = self.templates().iter().map(String::len).max();
        let around = longest.unwrap_or(0) + 2;
        self.config.text.context_length.saturating_sub(around)
    }

    /// True where the text tower reads all of a label, in every template.
    pub fn reads_whole_label(&self, label: &str) -> bool {
        let reads = |text: &str| !self.tokenize(text).is_cut();
        match self.templates() {
            [] => reads(label),
            templates => templates
                .iter()
                .all(|template| reads(&template.replace("{}", label))),
        }
    }

    /// The tokens of a text, as this model sees it.
    pub fn tokenize(&self, text: &str) -> Tokens {
        self.tokenizer.encode(text, self.config.text.context_length)
    }

    fn unit_rows(&self, rows: Tensor<2>, embeddings: &mut Vec<Vec<f32>>) -> Result<(), Error> {
        let values = self.device.read(rows)?;
        for row in values.chunks_exact(self.dim()) {
            embeddings.push(self.unit(row.to_vec())?);
        }
        Ok(())
    }

    /// The vector of length 1 in the same direction.
    fn unit(&self, mut vector: Vec<f32>) -> Result<Vec<f32>, Error> {
        let length = vector
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt();
        if !length.is_normal() {
            return Err(Error::DegenerateEmbedding(self.id().to_owned()));
        }
        vector
            .iter_mut()
            .for_each(|value| *value = (f64::from(*value) / length) as f32);
        Ok(vector)
    }
}

/// Stages share one model between threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Model>();
};

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("id", &self.id())
            .field("device", &self.device)
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}
