//! Castle's protobuf files against the facts of Talos' own descriptors.

use castle_talos::wire;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::Value;

use super::{Tally, same};

/// Every message, enum and method that castle compiles: one comparison each.
pub fn compare(facts: &Value, tally: &mut Tally) {
    let set = match FileDescriptorSet::decode(wire::DESCRIPTORS) {
        Ok(set) => set,
        Err(error) => return tally.check("wire", Err(error.to_string())),
    };
    for file in &set.file {
        let package = file.package();
        if package == "google.protobuf" {
            continue; // protobuf's own
        }
        for message in &file.message_type {
            self::message(facts, package, message, tally);
        }
        for found in &file.enum_type {
            enumeration(facts, package, found, tally);
        }
        for service in &file.service {
            for method in &service.method {
                let name = format!("{package}.{}/{}", service.name(), method.name());
                let wanted = &facts["services"][format!("{package}.{}", service.name())][method.name()];
                let found = format!(
                    "{} {} {} {}",
                    method.client_streaming(),
                    method.server_streaming(),
                    method.input_type().trim_start_matches('.'),
                    method.output_type().trim_start_matches('.')
                );
                let outcome = match wanted.as_object() {
                    None => Err("Talos has no such method".to_owned()),
                    Some(wanted) => {
                        let text = |key: &str| wanted[key].as_str().unwrap_or_default();
                        let flag = |key: &str| wanted[key].as_bool().unwrap_or_default();
                        let (client, server) = (flag("client_streaming"), flag("server_streaming"));
                        same(&found, &format!("{client} {server} {} {}", text("request"), text("reply")))
                    }
                };
                tally.check(&name, outcome);
            }
        }
    }
}

fn message(facts: &Value, scope: &str, found: &DescriptorProto, tally: &mut Tally) {
    let name = format!("{scope}.{}", found.name());
    if !found.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry) {
        let outcome = match facts["messages"][&name]["fields"].as_object() {
            None => Err("Talos has no such message".to_owned()),
            Some(_) => found.field.iter().try_for_each(|field| {
                let wanted = &facts["messages"][&name]["fields"][field.name()];
                if wanted.is_null() {
                    return Err(format!("Talos has no field `{}`", field.name()));
                }
                same(&described(found, field), &expected(wanted)).map_err(|why| format!("`{}`: {why}", field.name()))
            }),
        };
        tally.check(&name, outcome);
    }
    for inner in &found.nested_type {
        message(facts, &name, inner, tally);
    }
    for inner in &found.enum_type {
        enumeration(facts, &name, inner, tally);
    }
}

/// Number, type and label of a field, as one text.
fn described(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let entry = message.nested_type.iter().find(|inner| {
        inner.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
            && field.type_name().ends_with(&format!(".{}", inner.name()))
    });
    if let Some(entry) = entry {
        let half = |at: usize| entry.field.get(at).map(type_of).unwrap_or_default();
        return format!("{} map<{}, {}>", field.number(), half(0), half(1));
    }
    let repeated = field.label() == Label::Repeated;
    let oneof = field
        .oneof_index
        .filter(|_| !field.proto3_optional())
        .and_then(|at| message.oneof_decl.get(usize::try_from(at).ok()?))
        .map(|oneof| format!(" oneof {}", oneof.name()))
        .unwrap_or_default();
    let label = match (repeated, field.proto3_optional()) {
        (true, _) => " repeated",
        (false, true) => " optional",
        (false, false) => "",
    };
    format!("{} {}{label}{oneof}", field.number(), type_of(field))
}

fn expected(fact: &Value) -> String {
    let flag = |key: &str| fact[key].as_bool().unwrap_or_default();
    let kind = fact["type"].as_str().unwrap_or_default();
    let label = match (flag("repeated"), flag("optional")) {
        _ if kind.starts_with("map<") => "",
        (true, _) => " repeated",
        (false, true) => " optional",
        (false, false) => "",
    };
    let oneof = fact["oneof"].as_str().map(|name| format!(" oneof {name}")).unwrap_or_default();
    format!("{} {kind}{label}{oneof}", fact["number"])
}

fn type_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    }
}

fn enumeration(facts: &Value, scope: &str, found: &EnumDescriptorProto, tally: &mut Tally) {
    let name = format!("{scope}.{}", found.name());
    let outcome = match facts["enums"][&name].as_object() {
        None => Err("Talos has no such enum".to_owned()),
        Some(wanted) => {
            found.value.iter().try_for_each(|value| match wanted.get(value.name()).and_then(Value::as_i64) {
                Some(number) if number == i64::from(value.number()) => Ok(()),
                Some(number) => Err(format!("`{}` is {number}, not {}", value.name(), value.number())),
                None => Err(format!("Talos has no `{}`", value.name())),
            })
        }
    };
    tally.check(&name, outcome);
}
