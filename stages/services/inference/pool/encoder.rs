//! What a pool can run: pictures in, vectors out; some take texts too.

use std::fmt::Display;

use omnizap_contract::{Channels, Image};
use omnizap_models::{Layout, Model, NsfwNet, NsfwPixels, PixelView, Pixels};

/// What becomes of a text before it is embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextForm {
    /// It is embedded as it is.
    Raw,
    /// It is a label: put into each of the model's templates, the embeddings averaged
    /// and normalised again (Radford et al. 2021, section 3.1.4).
    Label,
}

/// Turns pictures, and maybe texts, into vectors. Blocking; called from the pool's own threads only.
pub trait Encoder: Send + Sync + 'static {
    /// A picture made ready.
    type Prepared: Send;
    /// What can go wrong, for the log.
    type Error: Display;

    /// Scales a picture to the input of the encoder.
    ///
    /// # Errors
    /// Where the picture cannot be prepared.
    fn prepare(&self, image: &Image) -> Result<Self::Prepared, Self::Error>;

    /// One vector a picture.
    ///
    /// # Errors
    /// Where the encoder fails; nothing of the batch is done then.
    fn encode_images(&self, batch: &[Self::Prepared]) -> Result<Vec<Vec<f32>>, Self::Error>;

    /// One vector a text, in the space of the pictures. An encoder of pictures alone gives none.
    ///
    /// # Errors
    /// Where the encoder fails; nothing of the batch is done then.
    fn encode_texts(&self, batch: &[&str], form: TextForm) -> Result<Vec<Vec<f32>>, Self::Error> {
        let _ = (batch, form);
        Ok(Vec::new())
    }

    /// What a text of that form costs at most: 1 is a run of the longest text that the encoder reads.
    fn cost(&self, text: &str, form: TextForm) -> f32 {
        let _ = (text, form);
        1.0
    }
}

impl Encoder for Model {
    type Prepared = Pixels;
    type Error = omnizap_models::Error;

    fn prepare(&self, image: &Image) -> Result<Pixels, Self::Error> {
        Ok(self.preprocess(&view(image)?))
    }

    fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, Self::Error> {
        Model::encode_images(self, batch)
    }

    fn encode_texts(&self, batch: &[&str], form: TextForm) -> Result<Vec<Vec<f32>>, Self::Error> {
        match form {
            TextForm::Raw => Model::encode_texts(self, batch),
            TextForm::Label => self.encode_labels(batch),
        }
    }

    fn cost(&self, text: &str, form: TextForm) -> f32 {
        match form {
            TextForm::Raw => self.cost_of_text(text),
            TextForm::Label => self.cost_of_label(text),
        }
    }
}

impl Encoder for NsfwNet {
    type Prepared = NsfwPixels;
    type Error = omnizap_models::Error;

    fn prepare(&self, image: &Image) -> Result<NsfwPixels, Self::Error> {
        Ok(Self::preprocess(&view(image)?))
    }

    /// The probabilities of the classes.
    fn encode_images(&self, batch: &[NsfwPixels]) -> Result<Vec<Vec<f32>>, Self::Error> {
        let classes = self.classify(batch)?;
        Ok(classes.iter().map(|classes| classes.0.to_vec()).collect())
    }
}

fn view(image: &Image) -> Result<PixelView<'_>, omnizap_models::Error> {
    let layout = match image.channels {
        Channels::Gray => Layout::Gray,
        Channels::Rgb => Layout::Rgb,
        Channels::Rgba => Layout::Rgba,
    };
    PixelView::new(
        image.width as usize,
        image.height as usize,
        layout,
        &image.pixels,
    )
}
