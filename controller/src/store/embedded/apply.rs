//! Judges one transaction against the tables and carries it out.
//!
//! All is judged before anything is written, so a refused transaction leaves nothing to take back.

use crate::store::lease::LeaseId;
use crate::store::range::{KeyValue, Revision};
use crate::store::txn::{Compare, Expected, Op, Txn};
use crate::store::watch::{Change, Event};

use super::schema::RowId;
use super::tables::{Head, Tables};

/// What became of one transaction.
#[derive(Debug)]
pub(super) enum Applied {
    /// The compares held. No events: nothing was there to change, and the revision stays.
    Committed(Vec<Event>),
    Refused(Vec<Option<KeyValue>>),
    LeaseGone,
}

/// Carries out `txn` as revision `next` if its compares hold.
pub(super) fn commit(tables: &mut Tables<'_>, next: Revision, txn: Txn) -> rusqlite::Result<Applied> {
    let (compares, ops) = txn.into_parts();
    let compared =
        compares.iter().map(|compare| tables.head(&compare.key)).collect::<rusqlite::Result<Vec<_>>>()?;
    if !compares.iter().zip(&compared).all(|(compare, head)| holds(compare.expected, *head)) {
        return refuse(tables, &compares, &compared);
    }
    for lease in ops.iter().filter_map(lease_of) {
        if !tables.lease_exists(lease)? {
            return Ok(Applied::LeaseGone);
        }
    }
    let mut events = Vec::with_capacity(ops.len());
    for op in ops {
        let known = compares.iter().position(|compare| compare.key == op.key());
        let head = match known {
            Some(index) => compared[index],
            None => tables.head(op.key())?,
        };
        let id = RowId::new(next, events.len());
        match op {
            Op::Put { key, value, lease } => {
                let create_revision = head.map_or(next, |head| head.created);
                let item = KeyValue { key, value, create_revision, mod_revision: next, lease };
                tables.put(id, &item, head)?;
                events.push(Event { change: Change::Put(item), mod_revision: next });
            }
            Op::Delete { key } => {
                if let Some(head) = head {
                    tables.delete(id, &key, head)?;
                    events.push(Event { change: Change::Delete { key }, mod_revision: next });
                }
            }
        }
    }
    Ok(Applied::Committed(events))
}

/// Ends a lease as revision `next`: its keys, in their order, and at last itself. Of a lease with
/// more keys than one revision holds, the rest needs another call.
pub(super) fn end_lease(
    tables: &mut Tables<'_>,
    next: Revision,
    lease: LeaseId,
) -> rusqlite::Result<Vec<Event>> {
    let keys = tables.lease_keys(lease)?;
    if keys.len() < RowId::PLACES {
        tables.remove_lease(lease)?;
    }
    let mut events = Vec::with_capacity(keys.len());
    for (place, (key, head)) in keys.into_iter().enumerate() {
        tables.delete(RowId::new(next, place), &key, head)?;
        events.push(Event { change: Change::Delete { key }, mod_revision: next });
    }
    Ok(events)
}

fn holds(expected: Expected, head: Option<Head>) -> bool {
    match (expected, head) {
        (Expected::Absent, None) | (Expected::Present, Some(_)) => true,
        (Expected::At(revision), Some(head)) => head.id.revision() == revision,
        (Expected::Absent, Some(_)) | (Expected::Present | Expected::At(_), None) => false,
    }
}

fn refuse(
    tables: &mut Tables<'_>,
    compares: &[Compare],
    compared: &[Option<Head>],
) -> rusqlite::Result<Applied> {
    let found = compares
        .iter()
        .zip(compared)
        .map(|(compare, head)| head.map(|head| tables.key_value(&compare.key, head)).transpose())
        .collect::<rusqlite::Result<_>>()?;
    Ok(Applied::Refused(found))
}

fn lease_of(op: &Op) -> Option<LeaseId> {
    match op {
        Op::Put { lease, .. } => *lease,
        Op::Delete { .. } => None,
    }
}
