//! Numbers as answers show them.

use serde_json::Value as Json;

/// A number at so many decimals, half away from zero, never minus zero.
#[must_use]
pub fn round(number: f64, decimals: u8) -> f64 {
    // Exact up to 22 decimals, which `powi` does not promise to be on every machine.
    let scale = (0..decimals).fold(1.0_f64, |scale, _| scale * 10.0);
    let rounded = (number * scale).round() / scale;
    // A number without decimals at this scale is its own rounding; a product that overflows is none.
    if rounded.is_finite() {
        rounded + 0.0
    } else {
        number
    }
}

/// Every number of a JSON value that has a fraction, rounded like [`round`].
#[must_use]
pub fn round_json(json: Json, decimals: u8) -> Json {
    match json {
        Json::Number(number) if number.is_f64() => {
            Json::from(round(number.as_f64().unwrap_or_default(), decimals))
        }
        Json::Array(items) => {
            let items = items.into_iter();
            items.map(|item| round_json(item, decimals)).collect()
        }
        Json::Object(fields) => {
            let fields = fields.into_iter();
            let rounded = fields.map(|(name, value)| (name, round_json(value, decimals)));
            Json::Object(rounded.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_rounded_half_away_from_zero_and_minus_zero_is_zero() {
        assert_eq!(round(0.000_000_5, 6), 0.000_001);
        assert_eq!(round(-0.25, 1), -0.3);
        assert!(round(-1e-9, 6).is_sign_positive());
        assert_eq!(round(1e306, 6), 1e306);
        assert_eq!(round(-0.25, u8::MAX), -0.25);
        let rounded = round_json(json!({"a": [0.123_456_78, 3, -1e-9], "b": "1.5"}), 6);
        assert_eq!(rounded.to_string(), r#"{"a":[0.123457,3,0.0],"b":"1.5"}"#);
    }
}
