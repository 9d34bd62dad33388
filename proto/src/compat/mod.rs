//! What each version says, kept in `tests/compat`: today's code must understand all of it as it was meant.
//!
//! A file holds examples of one message, each with its length in front; the text beside it says what they
//! mean. Both are made of the contract itself, and between them the examples set every field, choose every
//! arm and name every value of an enum.

mod fill;
mod messages;
#[path = "../../../tests/compat/versions.rs"]
mod versions;

use std::collections::BTreeSet;

use prost::DecodeError;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost::encoding::{decode_varint, encode_varint};
use protox::prost_reflect::text_format::FormatOptions;
use protox::prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use fill::{Seen, examples, fill, reached};
use messages::MESSAGES;
use versions::{CURRENT, Kept};

const KIND: &str = "messages";

fn contract() -> FileDescriptorSet {
    let files = ["run", "job", "client", "executor", "admin", "project", "schedule", "secret", "object"];
    protox::compile(files.map(|file| format!("proto/ocelot/v1/{file}.proto")), ["proto"]).unwrap()
}

fn pool(contract: FileDescriptorSet) -> DescriptorPool {
    DescriptorPool::from_file_descriptor_set(contract).unwrap()
}

fn message(pool: &DescriptorPool, name: &str) -> MessageDescriptor {
    let found = pool.get_message_by_name(&format!("ocelot.v1.{name}"));
    found.unwrap_or_else(|| panic!("{name} is no message any more"))
}

/// The names of all that is asked and answered.
fn said(pool: &DescriptorPool) -> BTreeSet<String> {
    let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    methods
        .iter()
        .flat_map(|method| [method.input(), method.output()])
        .map(|said| said.name().to_owned())
        .collect()
}

fn made(pool: &DescriptorPool) -> Kept {
    let mut made = Kept::new();
    for name in said(pool) {
        let descriptor = message(pool, &name);
        let mut bytes = Vec::new();
        for example in 0..examples(&descriptor) {
            let encoded = fill(&descriptor, example).encode_to_vec();
            encode_varint(encoded.len() as u64, &mut bytes);
            bytes.extend(encoded);
        }
        let meant = meaning(&descriptor, &bytes, &|encoded| Ok(encoded.to_vec())).unwrap();
        made.insert(format!("{name}.txt"), meant.into_bytes());
        made.insert(format!("{name}.bin"), bytes);
    }
    made
}

/// Reads an encoded message and encodes what was understood.
type Again<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, DecodeError> + 'a;

/// Reads a file's examples by the code that the programs use, and says what it understood.
fn meaning(descriptor: &MessageDescriptor, mut bytes: &[u8], again: &Again<'_>) -> Result<String, String> {
    let mut meant = String::new();
    while !bytes.is_empty() {
        let length = decode_varint(&mut bytes).map_err(|error| error.to_string())? as usize;
        let (example, rest) = bytes.split_at_checked(length).ok_or("it is cut off")?;
        bytes = rest;
        let understood = again(example).map_err(|error| error.to_string())?;
        let shown = DynamicMessage::decode(descriptor.clone(), understood.as_slice());
        let shown = shown.map_err(|error| error.to_string())?;
        let shown = shown.to_text_format_with_options(&FormatOptions::new().pretty(true));
        meant.push_str("---\n");
        meant.push_str(&shown);
        meant.push('\n');
    }
    Ok(meant)
}

#[test]
fn each_message_of_the_contract_is_kept_for_this_version() {
    let pool = pool(contract());
    let listed: BTreeSet<_> = MESSAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, said(&pool), "compat/messages.rs lists what is asked and answered");
    let made = made(&pool);
    versions::assert_kept(KIND, &made);
    let kept = &versions::all(KIND)[CURRENT];
    let over: Vec<_> = kept.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(over.is_empty(), "nobody says {over:?}");
}

#[test]
fn what_any_version_says_is_understood_as_it_was_meant() {
    let pool = pool(contract());
    let mut wrong = Vec::new();
    for (version, kept) in versions::all(KIND) {
        for (file, bytes) in &kept {
            let Some(name) = file.strip_suffix(".bin") else { continue };
            let (_, again) = MESSAGES.iter().find(|(listed, _)| *listed == name).unwrap_or_else(|| {
                panic!("version {version} says {name}, which is not in the contract any more")
            });
            let meant = kept.get(&format!("{name}.txt")).map(|text| String::from_utf8_lossy(text));
            let understood = meaning(&message(&pool, name), bytes, *again);
            if understood.as_deref().ok() != meant.as_deref() {
                wrong.push(format!(
                    "{name} of version {version}: {}",
                    first_difference(meant.as_deref(), &understood)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "what was said once means something else now: {wrong:#?}");
}

fn first_difference(meant: Option<&str>, understood: &Result<String, String>) -> String {
    let (Some(meant), Ok(understood)) = (meant, understood) else {
        return format!("{understood:?}");
    };
    let mut lines = meant.lines().zip(understood.lines());
    let differ = lines.find(|(meant, understood)| meant != understood);
    differ.map_or_else(
        || format!("{} lines are {}", meant.lines().count(), understood.lines().count()),
        |(meant, understood)| format!("{:?} is understood as {:?}", meant.trim(), understood.trim()),
    )
}

#[test]
fn the_examples_have_every_field_every_arm_and_every_value() {
    let pool = pool(contract());
    let (mut all, mut set) = (Seen::new(), Seen::new());
    for name in said(&pool) {
        let descriptor = message(&pool, &name);
        reached(&descriptor, &mut all);
        for example in 0..examples(&descriptor) {
            fill::note(&fill(&descriptor, example), &mut set);
        }
    }
    let missing: Vec<_> = all.difference(&set).collect();
    assert!(missing.is_empty(), "no example has {missing:#?}");
    assert!(all.len() > 500, "only {} are looked for", all.len());
}

#[test]
fn a_field_that_is_renumbered_retyped_swapped_or_forgotten_is_found_out() {
    let kept = &versions::all(KIND)[CURRENT];
    let (bytes, meant) = (&kept["PollRequest.bin"], String::from_utf8_lossy(&kept["PollRequest.txt"]));
    let understood = |change: &dyn Fn(&mut Vec<prost_types::FieldDescriptorProto>)| {
        let mut contract = contract();
        let messages = contract.file.iter_mut().flat_map(|file| &mut file.message_type);
        let poll = messages.into_iter().find(|message| message.name() == "PollRequest").unwrap();
        change(&mut poll.field);
        meaning(&message(&pool(contract), "PollRequest"), bytes, &|encoded| Ok(encoded.to_vec()))
    };
    assert_eq!(understood(&|_| {}).as_deref(), Ok(&*meant));
    let renumbered = understood(&|fields| fields[0].number = Some(4711));
    let forgotten = understood(&|fields| drop(fields.remove(0)));
    let retyped = understood(&|fields| {
        let field = fields.iter_mut().find(|field| field.r#type() == Type::Uint64).unwrap();
        field.set_type(Type::Uint32);
    });
    let swapped = understood(&|fields| {
        let (one, other) = (fields[0].number, fields[1].number);
        (fields[0].number, fields[1].number) = (other, one);
    });
    for changed in [renumbered, forgotten, retyped, swapped] {
        assert_ne!(changed.as_deref().ok(), Some(&*meant));
    }
}
