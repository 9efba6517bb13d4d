//! Everything that can go wrong between a model's name and an embedding.

use std::path::PathBuf;

/// What failed, what it was about, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No preset has this name.
    #[error("unknown model '{name}'{}; `omnizap models list` shows all", suggestion(.nearest))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The closest name that exists, when one is close.
        nearest: Option<String>,
    },
    /// The preset exists, the tag does not, and no file has this path.
    #[error("'{tag}' is neither a file nor a tag of {model} (its tags: {tags}){}", suggestion(.nearest))]
    UnknownTag {
        /// The preset's name.
        model: String,
        /// The tag or path that was asked for.
        tag: String,
        /// The tags that exist, comma separated.
        tags: String,
        /// The closest tag, when one is close.
        nearest: Option<String>,
    },
    /// A checkpoint was named without the preset that it belongs to.
    #[error(
        "pretrained weights '{0}' are set without a model name; set CLIP_MODEL_NAME to the preset they belong to"
    )]
    ModelNameMissing(String),
    /// The weights of a preset are not on this machine.
    #[error(
        "{model}:{tag} is not on this machine (looked in {looked_in}); run `omnizap models pull {model}:{tag}` or give a path"
    )]
    NotPulled {
        /// The preset's name.
        model: String,
        /// The tag.
        tag: String,
        /// The folder that was searched.
        looked_in: PathBuf,
    },
    /// This program was built without the embedded model.
    #[error(
        "this build has no embedded model; set CLIP_MODEL_NAME to a preset (`omnizap models list` shows them)"
    )]
    NoEmbeddedModel,
    /// This program was built without the classifier of unsafe pictures.
    #[error(
        "this build has no nsfw model; set the option `mode` of the stage nsfw to contrast or label"
    )]
    NoNsfwModel,
    /// This program was built without what the device needs.
    #[error(
        "this build has no device '{device}'; build it with `cargo build --release --features {device}`, or set CLIP_DEVICE=cpu"
    )]
    DeviceNotBuilt {
        /// The device's name, which is its feature's, too.
        device: &'static str,
    },
    /// The device computes in single precision alone.
    #[error(
        "the device '{device}' does not compute in {precision}; unset CLIP_PRECISION, or set CLIP_DEVICE=cpu"
    )]
    PrecisionOfDevice {
        /// The device's name.
        device: &'static str,
        /// The precision's.
        precision: &'static str,
    },
    /// No driver gives the device.
    #[error(
        "cannot open the device '{device}' ({reason}); it takes a GPU that this process may use and its \
         Vulkan driver (Debian: mesa-vulkan-drivers, or NVIDIA's own), which `vulkaninfo --summary` \
         shows, or set CLIP_DEVICE=cpu"
    )]
    NoDevice {
        /// The device's name.
        device: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// The device failed at its work: it was lost, or its memory is full.
    #[error("the device '{device}' failed: {reason}")]
    DeviceFailed {
        /// The device's name.
        device: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// The preset's weights are not published where open_clip finds them.
    #[error("{model}:{tag} has no published download; get the file by hand and give its path")]
    NotPublished {
        /// The preset's name.
        model: String,
        /// The tag.
        tag: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file's ending names no checkpoint format.
    #[error("{0} is no checkpoint: expected .safetensors, .pt, .pth or .bin")]
    UnknownFormat(PathBuf),
    /// The file is truncated, corrupted or of another format than its ending says.
    #[error("{path} is damaged or not a checkpoint ({reason}); fetch it again")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A tensor that the architecture needs is not in the checkpoint.
    #[error("checkpoint lacks '{key}'{}: is it a {model}?", suggestion(.nearest))]
    MissingKey {
        /// The key, as open_clip spells it.
        key: String,
        /// A left-over key that looks like it.
        nearest: Option<String>,
        /// The architecture it was read as.
        model: String,
    },
    /// The checkpoint has tensors that the architecture has no place for.
    #[error("checkpoint has {count} tensor(s) that {model} has no place for, first '{key}'")]
    UnusedKeys {
        /// The first of them.
        key: String,
        /// How many there are.
        count: usize,
        /// The architecture it was read as.
        model: String,
    },
    /// A tensor has another shape than the architecture wants.
    #[error("'{key}' has shape {found:?}, {model} wants {expected:?}")]
    WrongShape {
        /// The key, as open_clip spells it.
        key: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that was expected.
        expected: Vec<usize>,
        /// The architecture it was read as.
        model: String,
    },
    /// A tensor holds numbers that no trained model has.
    #[error("'{0}' holds infinite or undefined values; the checkpoint is damaged")]
    NotFinite(String),
    /// A model configuration contradicts itself.
    #[error("bad model configuration: {0}")]
    BadConfig(String),
    /// The tokenizer beside the weights is missing, or is none that can be used.
    #[error(
        "cannot use the tokenizer {path} ({reason}); it belongs beside the weights, and `omnizap models pull` fetches both"
    )]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An image cannot be preprocessed.
    #[error("bad image: {0}")]
    BadImage(String),
    /// Pixels prepared for one model were given to another.
    #[error(
        "pixels are {found}x{found}, {model} wants {expected}x{expected}; prepare them with the same model"
    )]
    WrongPixels {
        /// The side of the pixels.
        found: usize,
        /// The side that the model wants.
        expected: usize,
        /// The model.
        model: String,
    },
    /// The model gave a vector without length: the weights are broken.
    #[error(
        "{0} gave an embedding of zero or undefined length; verify it with `omnizap models verify`"
    )]
    DegenerateEmbedding(String),
    /// The classifier of unsafe pictures gave no probabilities: its weights are broken.
    #[error("{0} gave undefined probabilities; its weights are damaged")]
    DegenerateClasses(&'static str),
}

impl Error {
    /// Whether the device that was asked for cannot be had, whatever model it is for.
    pub fn is_of_device(&self) -> bool {
        matches!(
            self,
            Self::DeviceNotBuilt { .. } | Self::PrecisionOfDevice { .. } | Self::NoDevice { .. }
        )
    }
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!(" (did you mean '{name}'?)"))
        .unwrap_or_default()
}
