//! A query string to raw fields.

use omnizap_contract::{Error, ErrorKind};

use super::limits::Limits;
use super::raw::{Raw, RawFields};
use super::text::decoded;

/// The fields of a query string (`application/x-www-form-urlencoded`): their names, and their
/// values, still encoded.
pub(super) fn query_fields(query: &str) -> impl Iterator<Item = (String, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = decoded(name, true).and_then(|name| String::from_utf8(name).ok());
        // What cannot be read is no name that a pipeline has.
        (decoded.unwrap_or_else(|| name.to_owned()), value)
    })
}

/// Splits a query string into fields.
///
/// # Errors
/// [`ErrorKind::Invalid`] for too many of them.
pub(super) fn split_query(query: &str, limits: &Limits) -> Result<RawFields, Error> {
    let mut fields = RawFields::default();
    for (index, (name, value)) in query_fields(query).enumerate() {
        if index == limits.max_parts {
            let many = format!("the query has more than {} fields", limits.max_parts);
            return Err(Error::new(ErrorKind::Invalid, many).with_code("too_many_fields"));
        }
        fields.add(name, Raw::Query(value.to_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        let fields = |query: &str| -> Vec<(String, String)> {
            let fields = query_fields(query);
            let text = |value: &str| String::from_utf8(decoded(value, true).unwrap()).unwrap();
            fields.map(|(name, value)| (name, text(value))).collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields(""), []);
        assert_eq!(
            fields("&a=b+c&&d%20e=%C3%A9%2B=&f&a=%25"),
            [
                pair("a", "b c"),
                pair("d e", "é+="),
                pair("f", ""),
                pair("a", "%")
            ]
        );
        let (name, _) = query_fields("%zz=1").next().unwrap();
        assert_eq!(name, "%zz", "no name that a pipeline has");
        for bad in ["%", "%a", "%zz", "a%2"] {
            assert_eq!(decoded(bad, true), None, "{bad}");
        }
        assert_eq!(decoded("a+b", false).unwrap(), b"a+b");
    }
}
