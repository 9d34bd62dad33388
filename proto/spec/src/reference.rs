//! The reference page: prose by hand, tables from the same source as the checks.

use std::fmt::Write;

use crate::keys;
use crate::schema::definition_name;
use crate::table::{Form, Kind, Object};

const PROSE: &str = include_str!("reference.template");

const TABLES: [&Object; 18] = [
    &keys::PIPELINE,
    &keys::TASK,
    &keys::WORK,
    &keys::STAGE,
    &keys::SERVICE,
    &keys::READY,
    &keys::SECRET,
    &keys::CACHE,
    &keys::ARTIFACT,
    &keys::CHECKOUT,
    &keys::RESOURCES,
    &keys::RETRY,
    &keys::NEED,
    &keys::APPROVAL,
    &keys::CONCURRENCY,
    &keys::NOTIFY,
    &keys::WHEN,
    &keys::JOB,
];
const JOB_TABLES: [&Object; 2] = [&keys::ARG, &keys::SCHEDULE];

/// Returns `docs/reference/ocelot-yml.md`.
pub fn reference_page() -> String {
    let mut page = PROSE.to_owned();
    for (index, object) in TABLES.into_iter().chain(JOB_TABLES).enumerate() {
        let name = if index == 2 { "work".to_owned() } else { definition_name(object) };
        page = page.replace(&format!("<!-- table: {name} -->"), table(object).trim_end());
    }
    page
}

fn table(object: &Object) -> String {
    let mut text = String::new();
    if !object.about.is_empty() {
        let _ = writeln!(text, "{}\n", object.about);
    }
    text.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
    for key in object.keys {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.name, words(&key.kind), key.default, key.about);
    }
    text
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::One(form) => form_words(*form),
        Kind::OneOrList(form, _) => format!("{}, or a list", form_words(*form)),
        Kind::List(Kind::Either(scalar, map), _) => format!("list: {} or {}", words(scalar), words(map)),
        Kind::List(of, _) => format!("list: {}", words(of)),
        Kind::Map(keys, of) => format!("{} → {}", form_words(*keys), words(of)),
        Kind::Object(object) => match object.keys {
            [one] => format!("`{{{}}}`", one.name),
            _ => format!("[{0}](#{0})", definition_name(object)),
        },
        Kind::Either(scalar, map) => format!("{} or {}", words(scalar), words(map)),
        Kind::Matrix => "axis → list, `include`, `exclude`".to_owned(),
    }
}

fn form_words(form: Form) -> String {
    match form {
        Form::Text | Form::Line => "text".into(),
        Form::Script => "shell commands".into(),
        Form::Replaced | Form::ReplacedLine | Form::Argument | Form::Group => "text with `${...}`".into(),
        Form::Image => "image with `${...}`".into(),
        Form::Directory => "path with `${...}`".into(),
        Form::Label => "label with `${...}`".into(),
        Form::Boolean => "boolean".into(),
        Form::Integer(least, most) if most == i64::from(i32::MAX) => format!("number from {least}"),
        Form::Integer(least, most) => format!("{least} to {most}"),
        Form::Cpus => "number".into(),
        Form::Duration | Form::DurationOrZero => "duration".into(),
        Form::Size => "size".into(),
        Form::Name => "name".into(),
        Form::SecretName | Form::BareSecret => "secret's name".into(),
        Form::SecretPath | Form::Path => "path".into(),
        Form::Variable => "variable".into(),
        Form::PathGlob | Form::RefGlob | Form::TextGlob => "glob".into(),
        Form::Axis => "axis".into(),
        Form::Cron => "cron".into(),
        Form::Zone => "time zone".into(),
        Form::Choice(choices) => {
            let quoted: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
            quoted.join(" ")
        }
        Form::False => "`false`".into(),
    }
}
