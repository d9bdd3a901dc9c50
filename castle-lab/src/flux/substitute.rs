//! Variables in built objects (`postBuild`), by Flux' strict rule: a variable that
//! nobody gives and that has no default fails the build.

use std::collections::BTreeMap;

use serde_json::Value;

use super::object;

/// What keeps an object's `${..}` as they are.
const DISABLED: &str = "kustomize.toolkit.fluxcd.io/substitute";

/// Fills in an object's variables.
///
/// # Errors
///
/// The variable that is not set, or the form that is not known here.
pub(crate) fn substitute(object: &mut Value, variables: &BTreeMap<String, String>) -> Result<(), String> {
    let is_disabled = ["annotations", "labels"].iter().any(|home| object["metadata"][home][DISABLED] == "disabled");
    if is_disabled {
        return Ok(());
    }
    let subject = object::subject(object);
    walk(object, variables).map_err(|why| format!("envsubst error in {subject}: {why}"))
}

fn walk(value: &mut Value, variables: &BTreeMap<String, String>) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('$') => {
            let filled = fill(text, variables)?;
            *value = typed(text, filled);
            Ok(())
        }
        Value::Object(fields) => {
            if fields.keys().any(|key| key.contains("${")) {
                let old = std::mem::take(fields);
                for (key, inner) in old {
                    fields.insert(fill(&key, variables)?, inner);
                }
            }
            fields.values_mut().try_for_each(|inner| walk(inner, variables))
        }
        Value::Array(list) => list.iter_mut().try_for_each(|inner| walk(inner, variables)),
        _ => Ok(()),
    }
}

/// Variables are filled into the text of the YAML, so a scalar that was plain may
/// turn into a number or a truth value.
fn typed(before: &str, filled: String) -> Value {
    let was_plain = before.starts_with("${") && before.ends_with('}') && !before.contains('\n');
    if was_plain && before != filled {
        // What is no YAML by itself stays the text that it is.
        let read = serde_saphyr::from_str::<Value>(&filled);
        if let Ok(scalar @ (Value::Number(_) | Value::Bool(_) | Value::Null)) = read {
            return scalar;
        }
    }
    Value::String(filled)
}

fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(escaped) = rest.strip_prefix("$$") {
            filled.push('$');
            rest = escaped;
            // `$${X}` is `${X}` afterwards.
            if let Some(inner) = rest.strip_prefix('{') {
                filled.push('{');
                rest = inner;
            }
            continue;
        }
        let Some(inner) = rest.strip_prefix("${") else {
            filled.push('$');
            rest = &rest[1..];
            continue;
        };
        let end = inner.find('}').ok_or("missing closing brace")?;
        filled.push_str(&value(&inner[..end], variables)?);
        rest = &inner[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(expression: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let split = expression.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let (name, operation) = expression.split_at(split.unwrap_or(expression.len()));
    if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(format!("bad substitution: ${{{expression}}}"));
    }
    let given = variables.get(name);
    let default = [":=", ":-", "=", "-"].iter().find_map(|operator| operation.strip_prefix(operator));
    match (given, default) {
        (_, None) if !operation.is_empty() => {
            Err(format!("the function in ${{{expression}}} is not among the features that this house builds"))
        }
        (Some(given), Some(default)) if given.is_empty() && operation.starts_with(':') => Ok(default.to_owned()),
        (Some(given), _) => Ok(given.clone()),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("variable not set (strict mode): {name:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: Result<Value, &str>) {
        let variables =
            [("name", "blue"), ("count", "3"), ("none", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut value = json!(text);
        let found = walk(&mut value, &BTreeMap::from(variables)).map(|()| value);
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_variable_takes_its_value_or_its_default() {
        check("a ${name} b", Ok(json!("a blue b")));
        check("${other:=green}", Ok(json!("green")));
        check("${none:-empty}${none-empty}", Ok(json!("empty")));
        check("$${name} $name $", Ok(json!("${name} $name $")));
    }

    #[test]
    fn a_plain_scalar_may_turn_into_a_number() {
        check("${count}", Ok(json!(3)));
        check("n${count}", Ok(json!("n3")));
    }

    #[test]
    fn a_variable_that_nobody_gives_fails_the_build() {
        check("${other}", Err("variable not set (strict mode): \"other\""));
        check("${name^^}", Err("the function in ${name^^} is not among the features that this house builds"));
        check("${name", Err("missing closing brace"));
    }
}
