//! Text into a tree of nodes with their places: the one module that knows the YAML library.
//!
//! The events of the library's parser are read by hand, for three reasons: a scalar's text is needed as
//! written (`3.10` is not `3.1`), every node needs its place, and one mistake must not hide the next.
//! What a file may cost is counted while it is read: bytes, levels, nodes and text, aliases and merged
//! keys counted as often as they are used. Aliased nodes are shared, so a bomb costs nothing before it
//! is refused.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::problem::{At, Findings, Wrong, quote};

pub const FILE_BYTES_MAX: usize = 1024 * 1024;
pub const LEVELS_MAX: usize = 32;
pub const NODES_MAX: usize = 50_000;
/// Text after aliases are followed; a file without aliases cannot reach it.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) content: Content,
    /// This node and all below it.
    pub(crate) nodes: usize,
    pub(crate) text_bytes: usize,
    levels: usize,
}

#[derive(Debug)]
pub(crate) enum Content {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: Rc<str>,
    /// Written without quotes, so that `true` is a boolean and `20` a number.
    pub(crate) plain: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) key_at: At,
    pub(crate) value: Rc<Node>,
}

impl Node {
    fn scalar(at: At, text: Rc<str>, plain: bool) -> Self {
        let text_bytes = text.len();
        Self { at, content: Content::Scalar(Scalar { text, plain }), nodes: 1, text_bytes, levels: 0 }
    }

    fn list(at: At, items: Vec<Rc<Node>>) -> Self {
        let nodes = 1 + items.iter().map(|item| item.nodes).sum::<usize>();
        let text_bytes = items.iter().map(|item| item.text_bytes).sum();
        let levels = 1 + items.iter().map(|item| item.levels).max().unwrap_or(0);
        Self { at, content: Content::List(items), nodes, text_bytes, levels }
    }

    fn map(at: At, entries: Vec<Entry>) -> Self {
        let nodes = 1 + entries.iter().map(|entry| 1 + entry.value.nodes).sum::<usize>();
        let text_bytes = entries.iter().map(|entry| entry.key.len() + entry.value.text_bytes).sum();
        let levels = 1 + entries.iter().map(|entry| entry.value.levels).max().unwrap_or(0);
        Self { at, content: Content::Map(entries), nodes, text_bytes, levels }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Scalar(_) | Content::List(_) => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// Returns the items of a list, or the node itself where a list of one was meant.
    pub(crate) fn one_or_list(&self) -> Vec<&Node> {
        match &self.content {
            Content::List(items) => items.iter().map(|item| &**item).collect(),
            Content::Scalar(_) | Content::Map(_) => vec![self],
        }
    }
}

/// Ends the reading; the reason has been added to the findings.
struct Stop;

/// Reads a file into its tree; `None` when it cannot be read to its end.
pub(crate) fn read(bytes: &[u8], findings: &mut Findings) -> Option<Rc<Node>> {
    let text = text_of(bytes, findings)?;
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        text_bytes: 0,
        findings,
    };
    reader.document().ok()
}

/// Returns the file's text as far as it can be shown in messages.
pub(crate) fn shown(bytes: &[u8]) -> &str {
    let head = bytes.get(..FILE_BYTES_MAX).unwrap_or(bytes);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn text_of<'b>(bytes: &'b [u8], findings: &mut Findings) -> Option<&'b str> {
    if bytes.len() > FILE_BYTES_MAX {
        let message =
            format!("the file has {} bytes, at most {FILE_BYTES_MAX} (1 MiB) are read", bytes.len());
        findings.add_outside(Wrong::new(message).hint("put large scripts into files of the repository"));
        return None;
    }
    let whole = std::str::from_utf8(bytes);
    let readable = whole.unwrap_or_else(|_| shown(bytes));
    let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some(position) = readable.find(forbidden) {
        let code = readable[position..].chars().next().map_or(0, u32::from);
        let message = format!("control character U+{code:04X} in the file");
        findings.add(place_of(readable, position), Wrong::new(message).hint("write the file as plain text"));
        return None;
    }
    match whole {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(_) => {
            let wrong = Wrong::new("the file is not UTF-8 from here on").hint("save it in UTF-8 encoding");
            findings.add(place_of(readable, readable.len()), wrong);
            None
        }
    }
}

fn place_of(text: &str, position: usize) -> At {
    let before = &text[..position];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    At { line: as_u32(line), column: as_u32(column), length: 1 }
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn place(span: &Span) -> At {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
    At { line: as_u32(start.line()), column: as_u32(start.col() + 1), length: as_u32(length) }
}

struct Reader<'s, 'f> {
    parser: Parser<'s, StrInput<'s>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    text_bytes: usize,
    findings: &'f mut Findings,
}

impl<'s> Reader<'s, '_> {
    fn document(&mut self) -> Result<Rc<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    let wrong = Wrong::new("a second document begins here");
                    return Err(self
                        .stop(place(&span), wrong.hint("one file holds one definition: remove the `---`")));
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?);
                }
                Event::StreamEnd => break,
                _ => return Err(self.stop(place(&span), Wrong::new("the file does not end here"))),
            }
        }
        root.ok_or_else(|| self.stop(At { line: 1, column: 1, length: 1 }, Wrong::new("the file is empty")))
    }

    fn next(&mut self) -> Result<(Event<'s>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let marker = error.marker();
                let at = At { line: as_u32(marker.line()), column: as_u32(marker.col() + 1), length: 1 };
                Err(self.stop(at, syntax(&error)))
            }
            None => {
                Err(self.stop(At { line: 1, column: 1, length: 1 }, Wrong::new("the file ends too early")))
            }
        }
    }

    fn stop(&mut self, at: At, wrong: Wrong) -> Stop {
        self.findings.add(at, wrong);
        Stop
    }

    /// Reads one node; recursion is bounded by [`LEVELS_MAX`].
    fn node(&mut self, event: Event<'s>, span: Span, levels: usize) -> Result<Rc<Node>, Stop> {
        let at = place(&span);
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(at, 1, text.len())?;
                let plain = style == ScalarStyle::Plain && !self.is_text_tag(at, tag.as_deref())?;
                (Node::scalar(at, Rc::from(&*text), plain), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.enter(at, levels, tag.as_deref())?;
                (Node::list(at, self.items(levels + 1)?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.enter(at, levels, tag.as_deref())?;
                (Node::map(at, self.pairs(levels + 1)?), anchor)
            }
            Event::Alias(id) => return self.alias(at, id, levels),
            _ => return Err(self.stop(at, Wrong::new("a value is missing here"))),
        };
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn enter(&mut self, at: At, levels: usize, tag: Option<&Tag>) -> Result<(), Stop> {
        self.is_text_tag(at, tag)?;
        self.spend(at, 1, 0)?;
        self.deepen(at, levels + 1)
    }

    fn deepen(&mut self, at: At, levels: usize) -> Result<(), Stop> {
        if levels > LEVELS_MAX {
            let message = format!("nested deeper than {LEVELS_MAX} levels");
            return Err(self.stop(at, Wrong::new(message)));
        }
        Ok(())
    }

    fn spend(&mut self, at: At, nodes: usize, text_bytes: usize) -> Result<(), Stop> {
        self.nodes += nodes;
        self.text_bytes += text_bytes;
        if self.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} keys and values, aliases counted as often as used");
            return Err(self.stop(at, Wrong::new(message)));
        }
        if self.text_bytes > TEXT_BYTES_MAX {
            let message =
                format!("more than {TEXT_BYTES_MAX} bytes of text, aliases counted as often as used");
            return Err(self.stop(at, Wrong::new(message)));
        }
        Ok(())
    }

    /// Says whether a tag makes a plain scalar a text; tags of one's own mean nothing here.
    fn is_text_tag(&mut self, at: At, tag: Option<&Tag>) -> Result<bool, Stop> {
        let Some(tag) = tag else { return Ok(false) };
        if let Some(core) = tag.core_suffix() {
            return Ok(core == "str");
        }
        let written = quote(&tag.original());
        let message = format!("{written} is a YAML tag, and tags are not used here");
        let hint = "a text that begins with `!` needs quotes: \"!wip/**\"";
        Err(self.stop(at, Wrong::new(message).hint(hint)))
    }

    fn alias(&mut self, at: At, id: usize, levels: usize) -> Result<Rc<Node>, Stop> {
        let Some(node) = self.anchors.get(&id).map(Rc::clone) else {
            return Err(self.stop(at, Wrong::new("this alias stands inside its own anchor")));
        };
        self.spend(at, node.nodes, node.text_bytes)?;
        self.deepen(at, levels + node.levels)?;
        Ok(node)
    }

    fn items(&mut self, levels: usize) -> Result<Vec<Rc<Node>>, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, levels)?),
            }
        }
    }

    fn pairs(&mut self, levels: usize) -> Result<Vec<Entry>, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<Rc<str>, u32> = HashMap::new();
        let mut merged: Option<(At, Rc<Node>)> = None;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key_at = place(&span);
            let key = self.node(event, span, levels)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, levels)?;
            let Content::Scalar(Scalar { text, plain }) = &key.content else {
                self.findings.add(key_at, Wrong::new("a list or map cannot be a key"));
                continue;
            };
            if let Some(line) = lines.insert(Rc::clone(text), key_at.line) {
                let wrong = Wrong::new(format!("{} stands here a second time", quote(text)));
                self.findings
                    .add(key_at, wrong.hint(format!("the first is in line {line}: keep one of them")));
            } else if *plain && &**text == "<<" {
                merged = Some((key_at, value));
            } else {
                entries.push(Entry { key: Rc::clone(text), key_at, value });
            }
        }
        if let Some((at, source)) = merged {
            self.merge(at, &source, &mut entries);
        }
        Ok(entries)
    }

    /// Adds the entries of `<<` that the map does not have itself; of several sources the first wins.
    /// Their cost was counted when the alias was read.
    fn merge(&mut self, at: At, source: &Node, entries: &mut Vec<Entry>) {
        let mut taken: HashSet<Rc<str>> = entries.iter().map(|entry| Rc::clone(&entry.key)).collect();
        for map in source.one_or_list() {
            if !matches!(map.content, Content::Map(_)) {
                let wrong = Wrong::new("`<<` takes a map or a list of maps");
                self.findings.add(at, wrong.hint("name an anchor: `<<: *base`"));
                continue;
            }
            for entry in map.entries() {
                if taken.insert(Rc::clone(&entry.key)) {
                    entries.push(entry.clone());
                }
            }
        }
    }
}

/// Puts the library's words into ours where they are known to mislead.
fn syntax(error: &ScanError) -> Wrong {
    use serde_yaml::granit_parser::ErrorKind;

    let wrong = Wrong::new(format!("not valid YAML: {}", error.info()));
    match error.kind() {
        ErrorKind::UnknownAnchor => Wrong::new("this alias has no anchor above it")
            .hint("a text that begins with `*` needs quotes: \"*.log\""),
        ErrorKind::RecursionLimitExceeded => Wrong::new(format!("nested deeper than {LEVELS_MAX} levels")),
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => {
            Wrong::new("a tab cannot indent YAML").hint("indent with spaces")
        }
        ErrorKind::UnexpectedCharacter { character: '@' | '`' | '%' } => {
            wrong.hint("a text that begins with this character needs quotes")
        }
        _ => wrong,
    }
}
