//! Values of a map by key, with a second map behind it for the keys it does not have.
//!
//! A value that is not what its table says reads as absent: it has been reported already.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::glob::Globs;
use crate::problem::At;
use crate::source::{Content, Entry, Node, Scalar};
use crate::value::{self, Shape};

#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    pub(crate) own: &'n Node,
    pub(crate) defaults: Option<&'n Node>,
}

impl<'n> Fields<'n> {
    pub(crate) fn of(node: &'n Node) -> Self {
        Self { own: node, defaults: None }
    }

    pub(crate) fn at(&self) -> At {
        self.own.at
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.own.entry(key).or_else(|| self.defaults.filter(|_| !self.displaced(key))?.entry(key))
    }

    /// Whether a key of the task itself makes one of the defaults meaningless.
    fn displaced(&self, key: &str) -> bool {
        match key {
            "stages" => self.own.entry("command").is_some(),
            "command" => self.own.entry("stages").is_some(),
            "image" | "pull" | "pull_secret" | "engine" | "services" => {
                Fields::of(self.own).word("runtime") == Some("process")
            }
            _ => false,
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    pub(crate) fn place(&self, key: &str) -> At {
        self.entry(key).map_or(self.own.at, |entry| entry.key_at)
    }

    pub(crate) fn node(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &*entry.value)
    }

    pub(crate) fn fields(&self, key: &str) -> Option<Fields<'n>> {
        self.node(key).filter(|node| matches!(node.content, Content::Map(_))).map(Fields::of)
    }

    pub(crate) fn word(&self, key: &str) -> Option<&'n str> {
        self.node(key).and_then(text)
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.word(key).map(str::to_owned)
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> bool {
        match self.node(key).and_then(scalar).map(Scalar::shape) {
            Some(Shape::Boolean(flag)) => flag,
            Some(_) | None => default,
        }
    }

    pub(crate) fn integer<N: TryFrom<i64>>(&self, key: &str) -> Option<N> {
        self.word(key)?.parse::<i64>().ok().and_then(|number| N::try_from(number).ok())
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        value::duration(self.word(key)?).ok()
    }

    pub(crate) fn size(&self, key: &str) -> Option<u64> {
        value::size(self.word(key)?).ok()
    }

    /// The items of a list that are maps.
    pub(crate) fn maps(&self, key: &str) -> impl Iterator<Item = Fields<'n>> + use<'n> {
        self.items(key).into_iter().filter(|item| matches!(item.content, Content::Map(_))).map(Fields::of)
    }

    pub(crate) fn items(&self, key: &str) -> Vec<&'n Node> {
        self.node(key).map(Node::one_or_list).unwrap_or_default()
    }

    /// The texts of a one-or-list.
    pub(crate) fn words(&self, key: &str) -> Vec<&'n str> {
        self.items(key).into_iter().filter_map(text).collect()
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.words(key).into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn globs(&self, key: &str) -> Option<Globs> {
        self.has(key).then(|| Globs::of(self.words(key)))
    }

    pub(crate) fn entries(&self, key: &str) -> &'n [Entry] {
        self.node(key).map(Node::entries).unwrap_or_default()
    }

    /// Variables: the defaults' first, the map's own over them.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let behind = self.defaults.map(|defaults| Fields::of(defaults).entries("env")).unwrap_or_default();
        let own = Fields::of(self.own).entries("env");
        variables(behind.iter().chain(own))
    }
}

pub(crate) fn variables<'n>(entries: impl Iterator<Item = &'n Entry>) -> BTreeMap<String, String> {
    entries.filter_map(|entry| Some((entry.key.to_string(), text(&entry.value)?.to_owned()))).collect()
}

fn scalar(node: &Node) -> Option<&Scalar> {
    match &node.content {
        Content::Scalar(scalar) => Some(scalar),
        Content::List(_) | Content::Map(_) => None,
    }
}

/// Returns a scalar's text as written; nothing for null.
pub(crate) fn text(node: &Node) -> Option<&str> {
    scalar(node).filter(|scalar| scalar.shape() != Shape::Null).map(|scalar| &*scalar.text)
}
