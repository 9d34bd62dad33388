//! The JSON schemas of both files, made from the tables that check them, for editors.
//!
//! A schema accepts what the checks accept as far as JSON schema can say it; it never refuses a right file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::keys;
use crate::table::{Form, Kind, Least, Object};

/// Returns the schema of `ocelot.yml`.
pub fn pipeline_schema() -> String {
    let one_of = json!([
        {"required": ["tasks"]},
        {"required": ["stages"]},
        {"required": ["command"]},
    ]);
    document("ocelot.yml", &keys::PIPELINE, one_of)
}

/// Returns the schema of a job file.
pub fn job_schema() -> String {
    document("Ocelot job", &keys::JOB, json!([{"required": ["stages"]}, {"required": ["command"]}]))
}

fn document(title: &str, object: &'static Object, one_of: Value) -> String {
    let mut definitions = BTreeMap::new();
    let mut root = properties(object, &mut definitions);
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!(title));
    root.insert("patternProperties".into(), json!({"^x-": true}));
    root.insert("oneOf".into(), one_of);
    root.insert("$defs".into(), json!(definitions));
    let text = serde_json::to_string_pretty(&Value::Object(root)).unwrap_or_default();
    text + "\n"
}

/// The name of an object in `$defs` and in the reference: `a task` is `task`.
pub(crate) fn definition_name(object: &Object) -> String {
    let bare = object.what.trim_start_matches("an ").trim_start_matches("a ");
    bare.trim_matches('`').replace(' ', "_")
}

type Definitions = BTreeMap<String, Value>;

fn properties(object: &'static Object, definitions: &mut Definitions) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in object.all_keys() {
        let mut schema = kind_schema(&key.kind, definitions);
        if let Value::Object(map) = &mut schema {
            let default = if key.required {
                String::new()
            } else {
                format!(" Default: {}.", key.default.replace('`', ""))
            };
            map.insert("description".into(), json!(format!("{}{default}", key.about.replace('`', ""))));
        }
        properties.insert(key.name.into(), schema);
    }
    let required: Vec<&str> = object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("additionalProperties".into(), json!(false));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema
}

fn kind_schema(kind: &'static Kind, definitions: &mut Definitions) -> Value {
    match kind {
        Kind::One(form) => form_schema(*form),
        Kind::OneOrList(form, least) => {
            json!({"anyOf": [form_schema(*form), list_schema(form_schema(*form), *least)]})
        }
        Kind::List(of, least) => list_schema(kind_schema(of, definitions), *least),
        Kind::Map(keys, of) => {
            json!({"type": "object", "propertyNames": form_schema(*keys), "additionalProperties": kind_schema(of, definitions)})
        }
        Kind::Object(object) => {
            let name = definition_name(object);
            if !definitions.contains_key(&name) {
                definitions.insert(name.clone(), Value::Null);
                let made = Value::Object(properties(object, definitions));
                definitions.insert(name.clone(), made);
            }
            json!({"$ref": format!("#/$defs/{name}")})
        }
        Kind::Either(scalar, map) => {
            json!({"anyOf": [kind_schema(scalar, definitions), kind_schema(map, definitions)]})
        }
        Kind::Matrix => {
            let values = list_schema(form_schema(Form::Line), Least::One);
            let variant = json!({"type": "object", "additionalProperties": form_schema(Form::Line)});
            let variants = list_schema(variant, Least::One);
            json!({
                "type": "object",
                "properties": {"include": variants, "exclude": variants},
                "additionalProperties": values,
            })
        }
    }
}

fn list_schema(items: Value, least: Least) -> Value {
    match least {
        Least::None => json!({"type": "array", "items": items}),
        Least::One => json!({"type": "array", "items": items, "minItems": 1}),
    }
}

fn form_schema(form: Form) -> Value {
    let text = json!({"type": ["string", "integer", "boolean"]});
    match form {
        Form::Boolean => json!({"type": "boolean"}),
        Form::False => json!({"const": false}),
        Form::Integer(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Form::Cpus => json!({"type": "number", "exclusiveMinimum": 0}),
        Form::Duration | Form::DurationOrZero => json!({"type": "string", "pattern": "^[0-9]+[smhd]$"}),
        Form::Size => json!({"type": "string", "pattern": "^[0-9]+[KMGT]iB$"}),
        Form::Name => json!({"type": ["string", "integer"], "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"}),
        Form::Variable => json!({"type": "string", "pattern": "^(?!OCELOT_)[A-Za-z_][A-Za-z0-9_]*$"}),
        Form::Choice(["1"]) => json!({"enum": [1, "1"]}),
        Form::Choice(words) => json!({"enum": words}),
        Form::Text
        | Form::Line
        | Form::Script
        | Form::Replaced
        | Form::ReplacedLine
        | Form::Image
        | Form::Argument
        | Form::Directory
        | Form::Label
        | Form::Group
        | Form::SecretName
        | Form::BareSecret
        | Form::SecretPath
        | Form::Path
        | Form::PathGlob
        | Form::RefGlob
        | Form::TextGlob
        | Form::Axis
        | Form::Cron
        | Form::Zone => text,
    }
}
