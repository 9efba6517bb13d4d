//! `hash`: the names of an image. One is made of its bytes and cannot be forged, the
//! other is the one that the client knows it by.

use std::sync::{Arc, LazyLock};

use omnizap_contract::common::digest::{self, Sha256Hex};
use omnizap_contract::typed::{In, Out, Text};
use omnizap_contract::{
    Bytes, Call, Error, ErrorKind, Inputs, Observed, Options, Outputs, Ports, Runner, Stage,
    StageKind, StageSpec,
};

const FILE: In<Bytes> = In::required("file", "the uploaded file");
const ASSET_SHA256: In<Option<Text>> = In::optional(
    "asset_sha256",
    "the name that the client gives the image, 64 hexadecimal digits",
);
const CONTENT_HASH: Out<Text> = Out::new(
    "content_hash",
    "SHA-256 of the bytes, lower-case hexadecimal: what caches are keyed by",
);
const IMAGE_HASH: Out<Text> = Out::new(
    "image_hash",
    "asset_sha256 where it was sent, else the content hash: what feedback refers to",
)
.published("null");

/// The longest file that is hashed where the request is driven, in bytes: in 0.1 ms with the
/// instructions that most processors have for it.
const BRIEF: usize = 128 << 10;

/// The kind `hash`.
pub struct Hash;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "hashes the uploaded bytes and settles the name under which feedback will find them";
    StageSpec::new("hash", doc, []).pure()
});

impl StageKind for Hash {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new(
            [FILE.port(), ASSET_SHA256.port()],
            [CONTENT_HASH.port(), IMAGE_HASH.port()],
        )
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        Ok(Runner::compute(HashBytes))
    }
}

struct HashBytes;

impl Observed for HashBytes {}

impl Stage for HashBytes {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        // The cheap check first: a malformed name costs no pass over the bytes.
        let named = inputs.get(ASSET_SHA256)?;
        let named = named.map(|text| parse_sha256(text)).transpose()?;
        let content_hash: Arc<str> = Sha256Hex::of(inputs.get(FILE)?).as_str().into();
        let image_hash = named.unwrap_or_else(|| content_hash.clone());
        Ok(Outputs::new()
            .with(CONTENT_HASH, content_hash)
            .with(IMAGE_HASH, image_hash))
    }

    fn is_brief(&self, inputs: &Inputs) -> bool {
        inputs.get(FILE).is_ok_and(|file| file.len() <= BRIEF)
    }
}

/// The hash that a client sent, in lower case.
///
/// # Errors
/// [`ErrorKind::Invalid`] where it is not 64 hexadecimal digits.
fn parse_sha256(text: &str) -> Result<Arc<str>, Error> {
    let hash = Sha256Hex::parse(text).ok_or_else(|| {
        let expected = format!(
            "asset_sha256 must be {} hexadecimal digits; leave it out to use the hash of the file",
            digest::DIGITS
        );
        Error::new(ErrorKind::Invalid, expected).with_code("invalid_asset_sha256")
    })?;
    Ok(hash.as_str().into())
}

#[cfg(test)]
mod tests {
    use omnizap_contract::Value;

    use super::*;
    use crate::testing::{call, run};

    fn hashes(file: &'static [u8], named: Option<&str>) -> Result<(String, String), Error> {
        let values = [
            ("file", Some(Value::from(Bytes::from_static(file)))),
            ("asset_sha256", named.map(Value::from)),
        ];
        let outputs = run(&Hash, &HashBytes, values, &call())?;
        let text = |port: &str| outputs.value(port).map(|v| v.to_json()).unwrap();
        let text = |port: &str| text(port).as_str().unwrap().to_owned();
        Ok((text("content_hash"), text("image_hash")))
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hashes(b"abc", None).unwrap(), (abc.into(), abc.into()));
    }

    #[test]
    fn long_files_are_hashed_on_a_thread() {
        for (len, is_brief) in [(0, true), (BRIEF, true), (BRIEF + 1, false)] {
            let file = Bytes::from(vec![7; len]);
            let given = crate::testing::inputs(&Hash, [("file", Some(Value::from(file)))]);
            assert_eq!(HashBytes.is_brief(&given), is_brief, "{len}");
        }
    }

    #[test]
    fn a_name_of_the_client_never_replaces_the_content_hash() {
        let named = "A".repeat(64);
        let (content, image) = hashes(b"abc", Some(&named)).unwrap();
        assert!(content.starts_with("ba7816bf"));
        assert_eq!(image, "a".repeat(64));
    }

    #[test]
    fn a_malformed_name_is_the_clients_error() {
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            let error = hashes(b"abc", Some(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert_eq!(error.code(), "invalid_asset_sha256");
        }
    }
}
