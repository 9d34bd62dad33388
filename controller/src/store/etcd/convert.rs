//! The store's words in etcd's, and back.

use bytes::Bytes;
use etcd_client::proto::{PbTxnOpResponse, PbTxnResponse};
use etcd_client::{CompareOp, GetOptions, PutOptions, TxnOp};

use super::fault::BoxError;
use crate::store::{Compare, Expected, KeyValue, LeaseId, Op, RangeRequest, Revision, Txn, Verdict};

/// Returns the key to begin with: etcd's smallest one is a zero byte, not nothing.
pub(super) fn first_key(from: &str) -> &str {
    if from.is_empty() { "\0" } else { from }
}

pub(super) fn get_options(request: &RangeRequest, limit: usize) -> GetOptions {
    let mut options = GetOptions::new().with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
    if let Some(to) = &request.to {
        options = options.with_range(to.as_str());
    }
    if let Some(at) = request.at {
        options = options.with_revision(at.0);
    }
    if request.keys_only {
        options = options.with_keys_only();
    }
    options
}

pub(super) fn key_value(item: etcd_client::KeyValue) -> Result<KeyValue, BoxError> {
    let create_revision = Revision(item.create_revision());
    let mod_revision = Revision(item.mod_revision());
    let lease = (item.lease() != 0).then(|| LeaseId(item.lease()));
    let (key, value) = item.into_key_value();
    let key = String::from_utf8(key)?;
    Ok(KeyValue { key, value: Bytes::from(value), create_revision, mod_revision, lease })
}

/// Returns the transaction that also reads what it compares, if the compares fail.
pub(super) fn txn(txn: &Txn) -> etcd_client::Txn {
    let compares: Vec<_> = txn.compares().iter().map(compare).collect();
    let ops: Vec<_> = txn.ops().iter().map(op).collect();
    let found: Vec<_> = txn.compares().iter().map(|compare| TxnOp::get(compare.key.as_str(), None)).collect();
    etcd_client::Txn::new().when(compares).and_then(ops).or_else(found)
}

/// Returns one transaction in which each of `txns` is judged by its own compares.
///
/// etcd evaluates all compares before it writes anything, so none may touch what another writes.
pub(super) fn shared_txn<'a>(txns: impl Iterator<Item = &'a Txn>) -> etcd_client::Txn {
    let each: Vec<_> = txns.map(|each| TxnOp::txn(txn(each))).collect();
    etcd_client::Txn::new().and_then(each)
}

fn compare(compare: &Compare) -> etcd_client::Compare {
    let key = compare.key.as_str();
    match compare.expected {
        Expected::Absent => etcd_client::Compare::create_revision(key, CompareOp::Equal, 0),
        Expected::Present => etcd_client::Compare::create_revision(key, CompareOp::Greater, 0),
        Expected::At(revision) => etcd_client::Compare::mod_revision(key, CompareOp::Equal, revision.0),
    }
}

fn op(op: &Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key.as_str(), value.as_ref(), options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_str(), None),
    }
}

/// Reads the answer to [`txn`]; `revision` is that of the outermost transaction.
pub(super) fn verdict(answer: PbTxnResponse, revision: Revision) -> Result<Verdict, BoxError> {
    if answer.succeeded {
        return Ok(Verdict::Committed(revision));
    }
    let found = answer.responses.into_iter().map(|response| match response.response {
        Some(PbTxnOpResponse::ResponseRange(mut range)) => range.kvs.pop().map(pb_key_value).transpose(),
        other => Err(format!("a read of a compared key was answered with {other:?}").into()),
    });
    Ok(Verdict::Refused { found: found.collect::<Result<_, _>>()? })
}

/// Reads the answer to [`shared_txn`].
pub(super) fn shared_verdicts(answer: PbTxnResponse, revision: Revision) -> Result<Vec<Verdict>, BoxError> {
    let verdicts = answer.responses.into_iter().map(|response| match response.response {
        Some(PbTxnOpResponse::ResponseTxn(nested)) => verdict(nested, revision),
        other => Err(format!("a transaction was answered with {other:?}").into()),
    });
    verdicts.collect()
}

fn pb_key_value(item: etcd_client::proto::PbKeyValue) -> Result<KeyValue, BoxError> {
    Ok(KeyValue {
        key: String::from_utf8(item.key)?,
        value: Bytes::from(item.value),
        create_revision: Revision(item.create_revision),
        mod_revision: Revision(item.mod_revision),
        lease: (item.lease != 0).then_some(LeaseId(item.lease)),
    })
}
