//! A tree against the tables: unknown keys, missing keys, wrong forms, all of them at once.
//!
//! Only what a table says is judged here. What several keys say together is the readers' matter.

use crate::keys;
use crate::problem::{At, Findings, Wrong, nearest, quote};
use crate::source::{Content, Entry, Node, Scalar};
use crate::table::{Form, Kind, Least, Object};
use crate::value::Shape;

pub(crate) struct Checker<'f> {
    pub(crate) findings: &'f mut Findings,
}

impl Checker<'_> {
    /// Checks a whole file; keys that begin with `x-` are left alone at its top level only.
    pub(crate) fn file(&mut self, node: &Node, object: &'static Object) {
        let is_ours = |entry: &&Entry| !entry.key.starts_with("x-");
        match &node.content {
            Content::Map(entries) => self.entries(node.at, entries.iter().filter(is_ours), object),
            Content::Scalar(_) | Content::List(_) => self.wrong_shape(node, "a map of keys", None),
        }
    }

    fn kind(&mut self, node: &Node, kind: &'static Kind) {
        match kind {
            Kind::One(form) => self.one(node, *form),
            Kind::OneOrList(form, least) => {
                if let Content::List(items) = &node.content {
                    self.count(node, items.len(), *least);
                }
                node.one_or_list().into_iter().for_each(|item| self.one(item, *form));
            }
            Kind::List(of, least) => self.list(node, of, *least),
            Kind::Map(keys, of) => self.map(node, *keys, of),
            Kind::Object(object) => match &node.content {
                Content::Map(entries) => self.entries(node.at, entries.iter(), object),
                Content::Scalar(_) | Content::List(_) => self.wrong_shape(node, "a map of keys", None),
            },
            Kind::Either(scalar, map) => match &node.content {
                Content::Map(_) => self.kind(node, map),
                Content::Scalar(_) | Content::List(_) => self.kind(node, scalar),
            },
            Kind::Matrix => self.matrix(node),
        }
    }

    fn one(&mut self, node: &Node, form: Form) {
        match &node.content {
            Content::Scalar(scalar) => {
                if let Err(wrong) = form.check(scalar) {
                    self.findings.add(node.at, wrong);
                }
            }
            Content::List(_) | Content::Map(_) => self.wrong_shape(node, &form.expects(), None),
        }
    }

    fn list(&mut self, node: &Node, of: &'static Kind, least: Least) {
        match &node.content {
            Content::List(items) => {
                self.count(node, items.len(), least);
                items.iter().for_each(|item| self.kind(item, of));
            }
            Content::Scalar(Scalar { text, .. }) if text.len() <= 40 && !text.is_empty() => {
                self.wrong_shape(node, "a list", Some(format!("write `[{text}]`")));
            }
            Content::Scalar(_) => self.wrong_shape(node, "a list", None),
            Content::Map(_) => self.wrong_shape(node, "a list", Some("begin each item with `- `".into())),
        }
    }

    fn count(&mut self, node: &Node, count: usize, least: Least) {
        if count == 0 && least == Least::One {
            self.findings
                .add(node.at, Wrong::new("this list is empty").hint("give it an item or remove the key"));
        }
    }

    fn map(&mut self, node: &Node, keys: Form, of: &'static Kind) {
        if let Content::List(items) = &node.content
            && keys == Form::Variable
        {
            let hint = env_hint(items.iter().map(|item| &**item));
            return self.wrong_shape(node, "a map of variables", hint);
        }
        let Content::Map(entries) = &node.content else {
            return self.wrong_shape(node, "a map by name", None);
        };
        for entry in entries {
            let key = Scalar { text: entry.key.clone(), plain: false };
            if let Err(wrong) = keys.check(&key) {
                self.findings.add(entry.key_at, wrong);
            }
            self.kind(&entry.value, of);
        }
    }

    fn entries<'n>(&mut self, at: At, entries: impl Iterator<Item = &'n Entry>, object: &'static Object) {
        let mut seen: Vec<&'static str> = Vec::new();
        let mut meant: Vec<String> = Vec::new();
        for entry in entries {
            match object.key(&entry.key) {
                Some(key) => {
                    seen.push(key.name);
                    self.kind(&entry.value, &key.kind);
                }
                None => self.findings.add_with(entry.key_at, || {
                    let wrong = unknown(&entry.key, object);
                    meant.extend(wrong.hint.clone());
                    wrong
                }),
            }
        }
        for key in object.keys.iter().filter(|key| key.required && !seen.contains(&key.name)) {
            if !meant.iter().any(|hint| names(hint, key.name)) {
                let wrong = Wrong::new(format!("{} needs the key `{}`", object.what, key.name));
                self.findings.add(at, wrong.hint(format!("`{}`: {}", key.name, key.about)));
            }
        }
    }

    fn matrix(&mut self, node: &Node) {
        let Content::Map(entries) = &node.content else {
            return self.wrong_shape(node, "a map of axes", Some("write `matrix: {node: [20, 22]}`".into()));
        };
        for entry in entries {
            if matches!(&*entry.key, "include" | "exclude") {
                self.list(&entry.value, &VARIANT, Least::One);
                continue;
            }
            let key = Scalar { text: entry.key.clone(), plain: false };
            if let Err(wrong) = Form::Axis.check(&key) {
                self.findings.add(entry.key_at, wrong);
            }
            self.list(&entry.value, &AXIS_VALUE, Least::One);
        }
    }

    fn wrong_shape(&mut self, node: &Node, needed: &str, hint: Option<String>) {
        let found = match &node.content {
            Content::Map(_) => "a map".to_owned(),
            Content::List(_) => "a list".to_owned(),
            Content::Scalar(scalar) if scalar.shape() == Shape::Null => "nothing".to_owned(),
            Content::Scalar(scalar) => quote(&scalar.text),
        };
        let wrong = Wrong::new(format!("{found} stands where {needed} is needed"));
        let wrong = match hint {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        };
        self.findings.add(node.at, wrong);
    }
}

pub(crate) static AXIS_VALUE: Kind = Kind::One(Form::Line);
pub(crate) static VARIANT: Kind = Kind::Map(Form::Axis, &AXIS_VALUE);

/// Rewrites the first entries of `env: [K=V]` as the map they should be.
fn env_hint<'n>(items: impl Iterator<Item = &'n Node>) -> Option<String> {
    const SHOWN_MAX: usize = 3;
    let pairs: Vec<String> = items
        .take(SHOWN_MAX)
        .filter_map(|item| match &item.content {
            Content::Scalar(scalar) => scalar.text.split_once('='),
            Content::List(_) | Content::Map(_) => None,
        })
        .filter(|(key, value)| key.len() + value.len() <= 60)
        .map(|(key, value)| format!("{key}: \"{value}\""))
        .collect();
    (!pairs.is_empty()).then(|| format!("write `env: {{{}}}`", pairs.join(", ")))
}

/// Says whether an unknown key of this map was probably meant to be one of these, so that it is not
/// reported as missing as well.
pub(crate) fn was_meant(node: &Node, object: &'static Object, keys: &[&str]) -> bool {
    const UNKNOWN_MAX: usize = 20;
    let is_unknown = |key: &str| object.key(key).is_none() && keys::JOB.key(key).is_none();
    let unknowns =
        node.entries().iter().filter(|entry| !entry.key.starts_with("x-") && is_unknown(&entry.key));
    let unknowns = unknowns.take(UNKNOWN_MAX);
    let hints: Vec<String> = unknowns.filter_map(|entry| unknown(&entry.key, object).hint).collect();
    hints.iter().any(|hint| keys.iter().any(|key| names(hint, key)))
}

/// Whether a hint begins its answer with this key.
fn names(hint: &str, key: &str) -> bool {
    hint.split_once('`')
        .is_some_and(|(_, answer)| answer.starts_with(key) && !answer[key.len()..].starts_with('_'))
}

fn unknown(written: &str, object: &'static Object) -> Wrong {
    let wrong = Wrong::new(format!("{} has no key {}", object.what, quote(written)));
    let old = object.old.iter().copied().flatten().find(|(old, _)| *old == written);
    if let Some((_, ours)) = old {
        return wrong.hint(format!("here that is {ours}"));
    }
    let names: Vec<&str> = object.all_keys().iter().map(|key| key.name).collect();
    match nearest(written, names.iter().copied()) {
        Some(near) => wrong.hint(format!("did you mean `{near}`?")),
        None if names.len() <= 12 => wrong.hint(format!("it has {}", names.join(", "))),
        None => wrong,
    }
}
