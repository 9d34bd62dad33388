//! Holds the wire contract still: what was once sent stays readable for ever.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};
use std::fmt::Write;

fn files() -> Vec<FileDescriptorProto> {
    let files = ["run", "job", "client", "executor", "admin", "project", "schedule", "secret", "object"];
    let paths = files.map(|file| format!("proto/ocelot/v1/{file}.proto"));
    protox::compile(paths, ["proto"]).unwrap().file
}

/// Every message of `file` with its full name, nested ones too; what a map is made of is left out.
fn messages(file: &FileDescriptorProto) -> Vec<(String, &DescriptorProto)> {
    fn walk<'a>(prefix: &str, message: &'a DescriptorProto, found: &mut Vec<(String, &'a DescriptorProto)>) {
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            return;
        }
        let name = format!("{prefix}{}", message.name());
        for nested in &message.nested_type {
            walk(&format!("{name}."), nested, found);
        }
        found.push((name, message));
    }
    let mut found = Vec::new();
    for message in &file.message_type {
        walk("", message, &mut found);
    }
    found
}

fn enums(file: &FileDescriptorProto) -> Vec<(String, &EnumDescriptorProto)> {
    let top = file.enum_type.iter().map(|item| (item.name().to_owned(), item));
    let nested = messages(file).into_iter().flat_map(|(name, message)| {
        message.enum_type.iter().map(move |item| (format!("{name}.{}", item.name()), item))
    });
    top.chain(nested).collect()
}

#[test]
fn the_contract_changes_only_on_purpose() {
    let mut contract = String::new();
    for file in files() {
        for (name, message) in messages(&file) {
            for field in &message.field {
                let kind = match field.r#type() {
                    Type::Message | Type::Enum => {
                        field.type_name().trim_start_matches(".ocelot.v1.").to_owned()
                    }
                    simple => format!("{simple:?}").to_lowercase(),
                };
                let many = if field.label() == Label::Repeated { "repeated " } else { "" };
                writeln!(contract, "{name}.{} = {} {many}{kind}", field.name(), field.number()).unwrap();
            }
        }
        for (name, item) in enums(&file) {
            for value in &item.value {
                writeln!(contract, "{name}.{} = {}", value.name(), value.number()).unwrap();
            }
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |streams: bool| if streams { "stream " } else { "" };
                writeln!(
                    contract,
                    "{}.{}({}{}) -> {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type().trim_start_matches(".ocelot.v1."),
                    stream(method.server_streaming()),
                    method.output_type().trim_start_matches(".ocelot.v1."),
                )
                .unwrap();
            }
        }
    }
    insta::assert_snapshot!("contract", contract);
}

#[test]
fn the_zero_of_every_enum_means_not_said() {
    for file in files() {
        for (name, item) in enums(&file) {
            let zero = item.value.iter().find(|value| value.number() == 0).unwrap();
            assert!(zero.name().ends_with("_UNSPECIFIED"), "{name}: {}", zero.name());
        }
    }
}

#[test]
fn every_call_message_and_field_says_what_it_is() {
    let mut silent = Vec::new();
    for file in files() {
        let comments = file.source_code_info.clone().unwrap().location;
        let commented = |path: &[i32]| {
            comments.iter().any(|location| location.path == path && location.leading_comments.is_some())
        };
        for (index, service) in file.service.iter().enumerate() {
            for (place, method) in service.method.iter().enumerate() {
                if !commented(&[6, index as i32, 2, place as i32]) {
                    silent.push(format!("{}.{}", service.name(), method.name()));
                }
            }
        }
        for (index, message) in file.message_type.iter().enumerate() {
            let name = message.name();
            let envelope = name.ends_with("Request") || name.ends_with("Response");
            if !envelope && !commented(&[4, index as i32]) {
                silent.push(name.to_owned());
            }
            for (place, field) in message.field.iter().enumerate() {
                let scalar = !matches!(field.r#type(), Type::Message | Type::Enum);
                if scalar && !commented(&[4, index as i32, 2, place as i32]) {
                    silent.push(format!("{name}.{}", field.name()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "not explained: {silent:#?}");
}
