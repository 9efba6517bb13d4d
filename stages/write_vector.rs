//! `write-vector`: an embedding as a client asks for it, a list of numbers or base64 of their bytes.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use omnizap_contract::typed::{In, Out, Text};
use omnizap_contract::{
    Call, Embedding, Error, ErrorKind, Inputs, Observed, Options, Outputs, Ports, Runner, Stage,
    StageKind, StageSpec,
};
use serde_json::Value as Json;

const EMBEDDING: In<Embedding> = In::required("embedding", "the embedding");
const ENCODING_FORMAT: In<Option<Text>> = In::optional(
    "encoding_format",
    "`float` for a list of numbers, `base64` for that of their bytes, 32-bit and little-endian; \
     without it `float`",
);
const DIMENSIONS: In<Option<i64>> = In::optional(
    "dimensions",
    "how many numbers it is to have: as many as the model gives, others are refused",
);
const VECTOR: Out<Json> =
    Out::new("vector", "its numbers, in the form that is asked for").published("null");

/// The kind `write-vector`.
pub struct WriteVector;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    StageSpec::new(
        "write-vector",
        "writes an embedding as a client asks for it",
        [],
    )
    .pure()
});

impl StageKind for WriteVector {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new(
            [EMBEDDING.port(), ENCODING_FORMAT.port(), DIMENSIONS.port()],
            [VECTOR.port()],
        )
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        Ok(Runner::inline(Writer))
    }
}

struct Writer;

impl Observed for Writer {}

impl Stage for Writer {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        let vector = &*inputs.get(EMBEDDING)?.vector;
        if let Some(asked) = inputs.get(DIMENSIONS)?
            && usize::try_from(asked) != Ok(vector.len())
        {
            let given = vector.len();
            let fault = format!(
                "dimensions: the model gives {given} numbers and no other count, found {asked}; \
                 leave it out"
            );
            return Err(Error::new(ErrorKind::Invalid, fault).with_code("unsupported_dimensions"));
        }
        let format = inputs.get(ENCODING_FORMAT)?.map(|format| &**format);
        let json = match format {
            None | Some("float") => vector.iter().copied().map(Json::from).collect(),
            Some("base64") => {
                let bytes = vector.iter().flat_map(|number| number.to_le_bytes());
                Json::from(BASE64_STANDARD.encode(bytes.collect::<Vec<u8>>()))
            }
            Some(_) => {
                let fault = "encoding_format: expected float or base64";
                let error = Error::new(ErrorKind::Invalid, fault);
                return Err(error.with_code("unsupported_encoding_format"));
            }
        };
        Ok(Outputs::new().with(VECTOR, json))
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::Value;
    use serde_json::json;

    use super::*;
    use crate::testing::{call, run};

    fn written(format: Option<&str>, dimensions: Option<i64>) -> Result<Json, Error> {
        let embedding = Embedding {
            model: "m@1".into(),
            vector: [0.5, -2.0].into(),
        };
        let values = [
            ("embedding", Some(embedding.into())),
            ("encoding_format", format.map(Value::from)),
            ("dimensions", dimensions.map(Value::from)),
        ];
        let outputs = run(&WriteVector, &Writer, values, &call())?;
        Ok(Json::clone(outputs.get(VECTOR).unwrap()))
    }

    #[test]
    fn a_vector_is_a_list_or_the_base64_of_its_bytes() {
        for format in [None, Some("float")] {
            assert_eq!(written(format, None).unwrap(), json!([0.5, -2.0]));
        }
        // 0.5 is 0000003f, -2 is 000000c0.
        assert_eq!(written(Some("base64"), Some(2)).unwrap(), "AAAAPwAAAMA=");
    }

    #[test]
    fn what_there_is_not_is_refused_by_its_name() {
        for (format, dimensions, names) in [
            (Some("int8"), None, "encoding_format: "),
            (None, Some(1), "dimensions: "),
            (None, Some(-2), "dimensions: "),
        ] {
            let error = written(format, dimensions).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().starts_with(names), "{error}");
        }
    }
}
