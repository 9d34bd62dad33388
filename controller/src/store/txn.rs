//! Transactions, and the limits that make a wrong one fail here, not in production against etcd.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::lease::LeaseId;
use super::range::{KeyValue, Revision};

/// Compares, and what to do if all of them hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    compares: Vec<Compare>,
    ops: Vec<Op>,
}

/// What a key must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub key: String,
    pub expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Absent,
    Present,
    /// Last changed at exactly this revision.
    At(Revision),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put { key: String, value: Bytes, lease: Option<LeaseId> },
    Delete { key: String },
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every put of it now has this `mod_revision`.
    Committed(Revision),
    /// Nothing was changed. What the compared keys held, in the order of the compares.
    Refused { found: Vec<Option<KeyValue>> },
}

/// Why a transaction was not even sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTxn {
    #[error("{count} compares or operations; a transaction holds at most {}", Txn::OPS_MAX)]
    TooManyOps { count: usize },
    #[error("{bytes} bytes; a transaction holds at most {}", Txn::BYTES_MAX)]
    TooLarge { bytes: usize },
    #[error("the key {key} is written twice")]
    WrittenTwice { key: String },
    #[error("{key:?} is no key: keys are 1 to 1024 printable ASCII characters")]
    InvalidKey { key: String },
}

impl Txn {
    /// etcd's default `--max-txn-ops`.
    pub const OPS_MAX: usize = 128;
    /// etcd's default `--max-request-bytes` is 1.5 MiB of encoded request; this leaves it room for
    /// the frame around our keys and values.
    pub const BYTES_MAX: usize = 1536 * 1024 - 16 * 1024;

    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn when(mut self, key: impl Into<String>, expected: Expected) -> Self {
        self.compares.push(Compare { key: key.into(), expected });
        self
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    #[must_use]
    pub fn put_under(mut self, lease: LeaseId, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// Adds all that another one compares and does.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.compares.extend(other.compares);
        self.ops.extend(other.ops);
        self
    }

    pub fn compares(&self) -> &[Compare] {
        &self.compares
    }

    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the compares and the operations, for a home that keeps the values.
    pub(super) fn into_parts(self) -> (Vec<Compare>, Vec<Op>) {
        (self.compares, self.ops)
    }

    /// Returns the bytes of all keys and values.
    pub fn size_bytes(&self) -> usize {
        let compares: usize = self.compares.iter().map(|compare| compare.key.len()).sum();
        let ops: usize = self.ops.iter().map(Op::size_bytes).sum();
        compares + ops
    }

    /// Refuses what etcd would refuse, in every home alike.
    pub fn check(&self) -> Result<(), InvalidTxn> {
        let count = self.compares.len().max(self.ops.len());
        if count > Self::OPS_MAX {
            return Err(InvalidTxn::TooManyOps { count });
        }
        let bytes = self.size_bytes();
        if bytes > Self::BYTES_MAX {
            return Err(InvalidTxn::TooLarge { bytes });
        }
        let mut written = BTreeSet::new();
        for op in &self.ops {
            check_key(op.key())?;
            if !written.insert(op.key()) {
                return Err(InvalidTxn::WrittenTwice { key: op.key().to_owned() });
            }
        }
        self.compares.iter().try_for_each(|compare| check_key(&compare.key))
    }
}

fn check_key(key: &str) -> Result<(), InvalidTxn> {
    let printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if printable && (1..=1024).contains(&key.len()) {
        return Ok(());
    }
    Err(InvalidTxn::InvalidKey { key: key.chars().take(80).collect() })
}

impl Op {
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}
