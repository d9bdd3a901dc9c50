//! Quantities: `1000m` and `1` are one amount, which the server writes in its own
//! way.
//!
//! A text does not show whether it is one: `1.10` may be a version. Whoever asks here
//! knows from the field's name.

use serde_json::Value;

/// The suffixes and the power of ten, or of 1024, that they stand for.
const DECIMAL: [(&str, i32); 9] =
    [("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];

/// Whether both are quantities of one amount.
pub(crate) fn are_equal(one: &Value, other: &Value) -> bool {
    match (nanos(one), nanos(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// The amount in billionths.
fn nanos(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let suffix = |suffixes: &[&'static str]| suffixes.iter().find(|suffix| text.ends_with(**suffix)).copied();
    let (number, factor) = if let Some((unit, power)) = BINARY.iter().find(|(unit, _)| text.ends_with(unit)) {
        (text.strip_suffix(unit)?, 1024_i128.checked_pow(*power)?.checked_mul(1_000_000_000)?)
    } else if suffix(&DECIMAL.map(|(unit, _)| unit)).is_some() {
        let (unit, power) = DECIMAL.iter().find(|(unit, _)| text.ends_with(unit))?;
        (text.strip_suffix(unit)?, 10_i128.checked_pow(u32::try_from(power + 9).ok()?)?)
    } else {
        (text.as_str(), 1_000_000_000)
    };
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || (whole.is_empty() && part.is_empty()) || part.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part: i128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let amount = whole.checked_mul(factor)?.checked_add(part.checked_mul(factor)?.checked_div(scale)?)?;
    amount.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_equal_however_they_are_written() {
        for (one, other, expected) in [
            (json!("1000m"), json!("1"), true),
            (json!("1000m"), json!(1), true),
            (json!("0.1"), json!("100m"), true),
            (json!("1Gi"), json!("1024Mi"), true),
            (json!("1G"), json!("1Gi"), false),
            (json!("-1"), json!("1"), false),
            (json!("a1"), json!("a1000m"), false),
            (json!("v1.0"), json!("v1"), false),
            (json!(""), json!("0"), false),
            (json!(true), json!("1"), false),
        ] {
            assert_eq!(are_equal(&one, &other), expected, "{one} {other}");
        }
    }
}
