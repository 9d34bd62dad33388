//! An Aho-Corasick automaton that can say what a stream needs: how many of the last bytes may still
//! begin a pattern, and how many of them just completed one.
//!
//! It is our own because a state must be told to another process without telling the bytes: a state
//! here is a prefix of a numbered pattern. The crate of the name hands out states that mean nothing
//! outside one automaton, and does not say their depth.
//!
//! Nodes are numbered level by level, so a node's children stand side by side and need no pointers.

use zeroize::Zeroizing;

use super::skip::Skip;
use super::variants::Pattern;

/// The most nodes of one automaton: about 100 MB.
pub(super) const NODES_MAX: usize = 4 << 20;

/// A state: the longest end of what was read that begins a pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Node(u32);

impl Node {
    pub(super) const ROOT: Self = Self(0);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The patterns need more nodes than [`NODES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

pub(super) struct Automaton {
    /// Sorted, each once.
    patterns: Vec<Pattern>,
    /// The byte that leads to a node.
    label: Zeroizing<Vec<u8>>,
    /// A node's children are those from here to the next node's entry.
    children: Vec<u32>,
    fail: Vec<u32>,
    depth: Vec<u32>,
    /// Length of the longest pattern that ends here; 0 is none.
    longest: Vec<u32>,
    /// A pattern that begins with what the node stands for.
    pattern: Vec<u32>,
    root: [u32; 256],
    skip: Option<Skip>,
}

impl Automaton {
    pub(super) fn new(mut patterns: Vec<Pattern>) -> Result<Self, TooLarge> {
        patterns.sort_unstable_by(|one, other| one.as_slice().cmp(other));
        patterns.dedup();
        patterns.retain(|pattern| !pattern.is_empty());
        let mut automaton = Self {
            skip: Skip::new(&patterns),
            patterns,
            label: Zeroizing::new(vec![0]),
            children: vec![1],
            fail: vec![0],
            depth: vec![0],
            longest: vec![0],
            pattern: vec![0],
            root: [0; 256],
        };
        automaton.grow()?;
        automaton.link();
        Ok(automaton)
    }

    /// Makes the nodes, level by level. A node is a range of the sorted patterns with a common front.
    fn grow(&mut self) -> Result<(), TooLarge> {
        let mut ranges = vec![(0, self.patterns.len())];
        let mut node = 0;
        while node < ranges.len() {
            let (mut low, high) = ranges[node];
            let depth = self.depth[node] as usize;
            // The shortest sorts first: it is the one that may end here.
            if low < high && self.patterns[low].len() == depth {
                self.longest[node] = depth as u32;
                low += 1;
            }
            while low < high {
                let byte = self.patterns[low][depth];
                let same = self.patterns[low..high].partition_point(|pattern| pattern[depth] == byte);
                if ranges.len() == NODES_MAX {
                    return Err(TooLarge);
                }
                if node == 0 {
                    self.root[usize::from(byte)] = ranges.len() as u32;
                }
                self.label.push(byte);
                self.depth.push(depth as u32 + 1);
                self.longest.push(0);
                self.pattern.push(low as u32);
                ranges.push((low, low + same));
                low += same;
            }
            self.children.push(ranges.len() as u32);
            node += 1;
        }
        Ok(())
    }

    fn link(&mut self) {
        self.fail = vec![0; self.label.len()];
        for node in 0..self.label.len() {
            for child in self.children[node]..self.children[node + 1] {
                let fail = match node {
                    0 => Node::ROOT,
                    _ => self.step(Node(self.fail[node]), self.label[child as usize]),
                };
                let child = child as usize;
                self.fail[child] = fail.0;
                if self.longest[child] == 0 {
                    self.longest[child] = self.longest[fail.index()];
                }
            }
        }
    }

    pub(super) fn step(&self, node: Node, byte: u8) -> Node {
        let mut node = node.0;
        while node != 0 {
            let (from, to) = (self.children[node as usize], self.children[node as usize + 1]);
            let labels = &self.label[from as usize..to as usize];
            if let Some(place) = labels.iter().position(|label| *label == byte) {
                return Node(from + place as u32);
            }
            node = self.fail[node as usize];
        }
        Node(self.root[usize::from(byte)])
    }

    /// Returns how many of the last bytes may belong to a pattern that is not complete yet, or is.
    pub(super) fn depth(&self, node: Node) -> usize {
        self.depth[node.index()] as usize
    }

    /// Returns the length of the longest pattern that the last byte completed; 0 if none.
    pub(super) fn longest(&self, node: Node) -> usize {
        self.longest[node.index()] as usize
    }

    /// Returns the number of a pattern that begins with the bytes `node` stands for.
    pub(super) fn pattern_of(&self, node: Node) -> u32 {
        self.pattern[node.index()]
    }

    /// Returns the first `length` bytes of a pattern.
    pub(super) fn prefix(&self, pattern: u32, length: usize) -> Option<&[u8]> {
        self.patterns.get(pattern as usize)?.get(..length)
    }

    /// Whether it has no pattern at all.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    pub(super) fn skip(&self) -> Option<&Skip> {
        self.skip.as_ref()
    }
}

impl std::fmt::Debug for Automaton {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Automaton({} patterns, {} nodes)", self.patterns.len(), self.label.len())
    }
}
