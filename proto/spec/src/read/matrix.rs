//! Matrices: which variants a task has and what they are called.
//!
//! Order: the axes as the file has them, the first changing slowest, then `include` as written. The
//! product is bounded before it is made.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::problem::{Findings, Wrong, or_list, quote};
use crate::read::{Fields, text};
use crate::source::{Content, Node};
use crate::value::axis_variable;

pub(crate) const VARIANTS_MAX: usize = 256;

/// Combinations that are made before `exclude` takes some away.
const COMBINATIONS_MAX: usize = 4 * VARIANTS_MAX;

/// One variant: its axes in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant(Vec<(String, String)>);

impl Variant {
    pub(crate) fn get(&self, axis: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }

    /// `node=20,os=linux`
    pub(crate) fn label(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        pairs.join(",")
    }

    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }

    fn matches(&self, pattern: &Variant) -> bool {
        pattern.0.iter().all(|(axis, value)| self.get(axis) == Some(value))
    }
}

/// Expands a task's matrix; empty when it has none or it cannot be expanded.
pub(crate) fn variants(task: &Fields<'_>, findings: &mut Findings) -> Vec<Variant> {
    let Some(matrix) = task.node("matrix").filter(|node| matches!(node.content, Content::Map(_))) else {
        return Vec::new();
    };
    if has_too_many_axes(matrix, findings) {
        return Vec::new();
    }
    let axes = axes(matrix, findings);
    let Some(mut variants) = combinations(matrix, &axes, findings) else { return Vec::new() };
    exclude(matrix, &axes, &mut variants, findings);
    variants.extend(maps(matrix, "include").map(named));
    if variants.is_empty() {
        findings
            .add(matrix.at, Wrong::new("this matrix has no variants").hint("give it an axis, or remove it"));
    }
    if variants.len() > VARIANTS_MAX {
        let message =
            format!("this matrix has {} variants, at most {VARIANTS_MAX} are allowed", variants.len());
        findings.add(matrix.at, Wrong::new(message).hint("split the task, or exclude combinations"));
        return Vec::new();
    }
    let mut seen = HashSet::new();
    variants.retain(|variant| {
        let is_new = seen.insert(variant.label());
        if !is_new {
            let message = format!("two variants are called {}", quote(&variant.label()));
            findings.add(
                matrix.at,
                Wrong::new(message).hint("`include` adds variants; remove the one that is there twice"),
            );
        }
        is_new
    });
    variants
}

/// Axes of one matrix, or of one map of `include` and `exclude`.
const AXES_MAX: usize = 16;

fn has_too_many_axes(matrix: &Node, findings: &mut Findings) -> bool {
    let lists = maps(matrix, "include").chain(maps(matrix, "exclude"));
    let wide = std::iter::once(matrix).chain(lists).find(|node| node.entries().len() > AXES_MAX + 2);
    if let Some(node) = wide {
        let message = format!("a matrix has at most {AXES_MAX} axes, here are {}", node.entries().len());
        findings.add(node.at, Wrong::new(message));
    }
    wide.is_some()
}

type Axis<'n> = (&'n str, Vec<&'n str>);

fn axes<'n>(matrix: &'n Node, findings: &mut Findings) -> Vec<Axis<'n>> {
    let mut axes: Vec<Axis<'n>> = Vec::new();
    let mut variables: HashMap<String, &str> = HashMap::new();
    for entry in matrix.entries().iter().filter(|entry| !matches!(&*entry.key, "include" | "exclude")) {
        let variable = axis_variable(&entry.key);
        if let Some(twin) = variables.insert(variable.clone(), &entry.key) {
            let message = format!("`{twin}` and `{}` are the same variable {variable}", entry.key);
            findings.add(entry.key_at, Wrong::new(message).hint("rename one of them"));
            continue;
        }
        let mut values: Vec<&str> = Vec::new();
        let mut seen = HashSet::new();
        for item in entry.value.one_or_list() {
            let Some(value) = text(item) else { continue };
            if seen.insert(value) {
                values.push(value);
            } else {
                findings.add(item.at, Wrong::new(format!("{} is there twice on this axis", quote(value))));
            }
        }
        axes.push((&entry.key, values));
    }
    axes
}

fn combinations(matrix: &Node, axes: &[Axis<'_>], findings: &mut Findings) -> Option<Vec<Variant>> {
    if axes.is_empty() {
        return Some(Vec::new());
    }
    let count = axes.iter().try_fold(1_usize, |count, (_, values)| count.checked_mul(values.len()));
    if count.is_none_or(|count| count > COMBINATIONS_MAX) {
        let shown = count.map_or_else(|| "too many".to_owned(), |count| count.to_string());
        let message =
            format!("this matrix has {shown} combinations, at most {VARIANTS_MAX} variants are allowed");
        findings
            .add(matrix.at, Wrong::new(message).hint("split the task, or list the variants under `include`"));
        return None;
    }
    let mut variants = vec![Variant(Vec::new())];
    for (axis, values) in axes {
        let longer = |variant: &Variant, value: &str| {
            let mut pairs = variant.0.clone();
            pairs.push(((*axis).to_owned(), value.to_owned()));
            Variant(pairs)
        };
        variants = variants
            .iter()
            .flat_map(|variant| values.iter().map(move |value| longer(variant, value)))
            .collect();
    }
    Some(variants)
}

/// Removes every combination that has all the values of one `exclude`; one that removes nothing is a mistake.
fn exclude(matrix: &Node, axes: &[Axis<'_>], variants: &mut Vec<Variant>, findings: &mut Findings) {
    for node in maps(matrix, "exclude") {
        let names: Vec<&str> = axes.iter().map(|(name, _)| *name).collect();
        for entry in node.entries().iter().filter(|entry| !names.contains(&&*entry.key)) {
            let wrong = Wrong::new(format!("this matrix has no axis {}", quote(&entry.key)));
            findings.add(entry.key_at, wrong.hint(format!("it has {}", or_list(&names))));
        }
        let pattern = named(node);
        let before = variants.len();
        variants.retain(|variant| !variant.matches(&pattern));
        if variants.len() == before && node.entries().iter().all(|entry| names.contains(&&*entry.key)) {
            findings
                .add(node.at, Wrong::new("this excludes nothing").hint("no combination has these values"));
        }
    }
}

fn maps<'n>(matrix: &'n Node, key: &str) -> impl Iterator<Item = &'n Node> + use<'n> {
    Fields::of(matrix).maps(key).map(|fields| fields.own)
}

fn named(node: &Node) -> Variant {
    let pairs = node
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.key.to_string(), text(&entry.value)?.to_owned())));
    Variant(pairs.collect())
}
