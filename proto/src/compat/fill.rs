//! Examples of a message: which there are, and what stands in them.
//!
//! A value tells where it stands, so that one which turns up elsewhere is seen: texts are the way to
//! their field, numbers are made of it.

use std::collections::BTreeSet;

use protox::prost_reflect::prost::bytes::Bytes;
use protox::prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

/// Fields of messages and values of enums, by their full names.
pub(super) type Seen = BTreeSet<String>;

/// Returns how many examples have every field, every arm and every value of an enum between them.
pub(super) fn examples(message: &MessageDescriptor) -> usize {
    examples_below(message, &[])
}

fn examples_below(message: &MessageDescriptor, above: &[&str]) -> usize {
    let above = [above, &[message.full_name()]].concat();
    let plain = plain(message).into_iter().map(|field| choices(&field, &above));
    let arms = message.oneofs().filter(|oneof| !oneof.is_synthetic());
    let arms = arms.map(|oneof| oneof.fields().map(|field| choices(&field, &above).max(1)).sum());
    let flags = plain_flags(message).len();
    plain.chain(arms).chain([flags, 1]).max().unwrap_or(1)
}

/// Returns how many values a field goes through; none for a message that is within itself already.
fn choices(field: &FieldDescriptor, above: &[&str]) -> usize {
    let inner = if field.is_map() { map_value(field).kind() } else { field.kind() };
    match inner {
        Kind::Message(message) if above.iter().filter(|name| **name == message.full_name()).count() > 1 => 0,
        Kind::Message(message) => examples_below(&message, above),
        Kind::Enum(values) => said(&values).len(),
        _scalar => 1,
    }
}

/// Fields that stand in no choice.
fn plain(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let is_plain =
        |field: &FieldDescriptor| field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic());
    message.fields().filter(is_plain).collect()
}

/// Of these only one is set at a time, or nobody would see two of them change places.
fn plain_flags(message: &MessageDescriptor) -> Vec<u32> {
    let flags = plain(message).into_iter().filter(|field| field.kind() == Kind::Bool && !field.is_list());
    flags.map(|field| field.number()).collect()
}

fn said(values: &EnumDescriptor) -> Vec<i32> {
    values.values().map(|value| value.number()).filter(|number| *number != 0).collect()
}

fn map_value(field: &FieldDescriptor) -> FieldDescriptor {
    match field.kind() {
        Kind::Message(entry) => entry.map_entry_value_field(),
        other => panic!("a map is of entries, not {other:?}"),
    }
}

/// Makes one of the examples.
pub(super) fn fill(message: &MessageDescriptor, example: usize) -> DynamicMessage {
    fill_below(message, example, message.name(), &[])
}

fn fill_below(message: &MessageDescriptor, example: usize, way: &str, above: &[&str]) -> DynamicMessage {
    let above = [above, &[message.full_name()]].concat();
    let mut filled = DynamicMessage::new(message.clone());
    let flags = plain_flags(message);
    for (place, field) in plain(message).into_iter().enumerate() {
        let choices = choices(&field, &above);
        if choices == 0 {
            continue;
        }
        let is_next = flags.iter().position(|number| *number == field.number());
        if is_next.is_some_and(|place| example % flags.len() != place) {
            continue;
        }
        // Two enums of one kind never say the same.
        let shift = if matches!(field.kind(), Kind::Enum(_)) { place } else { 0 };
        set(&mut filled, &field, (example + shift) % choices, way, &above);
    }
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let arms: Vec<_> = oneof.fields().map(|arm| (choices(&arm, &above).max(1), arm)).collect();
        let mut at = example % arms.iter().map(|(choices, _)| choices).sum::<usize>();
        for (choices, arm) in arms {
            if at < choices {
                set(&mut filled, &arm, at, way, &above);
                break;
            }
            at -= choices;
        }
    }
    filled
}

fn set(filled: &mut DynamicMessage, field: &FieldDescriptor, choice: usize, way: &str, above: &[&str]) {
    let way = format!("{way}.{}", field.name());
    let value = if field.is_map() {
        let inner = value(&map_value(field).kind(), choice, &way, above);
        Value::Map([(MapKey::String(format!("{way}.key")), inner)].into())
    } else if field.is_list() {
        let another = (!matches!(field.kind(), Kind::Message(_) | Kind::Enum(_)))
            .then(|| value(&field.kind(), choice, &format!("{way}.2"), above));
        Value::List([value(&field.kind(), choice, &way, above)].into_iter().chain(another).collect())
    } else {
        value(&field.kind(), choice, &way, above)
    };
    filled.set_field(field, value);
}

fn value(kind: &Kind, choice: usize, way: &str, above: &[&str]) -> Value {
    let number = digest(way);
    let large = (1 << 40) + u64::from(number);
    let positive = (number >> 1) as i32;
    match kind {
        Kind::Double => Value::F64(f64::from(number) + 0.5),
        Kind::Float => Value::F32(f32::from(number as u16) + 0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(-positive),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(-(large as i64)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(large),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String(way.to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::from(way.to_owned())),
        Kind::Message(message) => Value::Message(fill_below(message, choice, way, above)),
        Kind::Enum(values) => Value::EnumNumber(said(values)[choice]),
    }
}

/// FNV-1a.
fn digest(way: &str) -> u32 {
    way.bytes().fold(0x811c_9dc5, |digest, byte| (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Adds all that can stand in a message, at any depth.
pub(super) fn reached(message: &MessageDescriptor, all: &mut Seen) {
    for field in message.fields() {
        if !all.insert(field.full_name().to_owned()) {
            continue;
        }
        match field.kind() {
            Kind::Message(inner) => reached(&inner, all),
            Kind::Enum(values) => all.extend(said(&values).into_iter().map(|number| named(&values, number))),
            _scalar => {}
        }
    }
}

fn named(values: &EnumDescriptor, number: i32) -> String {
    values.get_value(number).map_or_else(|| number.to_string(), |value| value.full_name().to_owned())
}

/// Adds all that stands in an example.
pub(super) fn note(example: &DynamicMessage, set: &mut Seen) {
    for (field, value) in example.fields() {
        set.insert(field.full_name().to_owned());
        note_value(&field, value, set);
    }
}

fn note_value(field: &FieldDescriptor, value: &Value, set: &mut Seen) {
    match value {
        Value::Message(message) => note(message, set),
        Value::List(values) => values.iter().for_each(|value| note_value(field, value, set)),
        Value::Map(entries) => {
            let Kind::Message(entry) = field.kind() else { return };
            set.extend(
                [entry.map_entry_key_field(), entry.map_entry_value_field()]
                    .map(|of| of.full_name().to_owned()),
            );
            let inner = entry.map_entry_value_field();
            entries.values().for_each(|value| note_value(&inner, value, set));
        }
        Value::EnumNumber(number) => {
            if let Kind::Enum(values) = field.kind() {
                set.insert(named(&values, *number));
            }
        }
        _scalar => {}
    }
}
