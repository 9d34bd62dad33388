//! What the view holds, and what each piece of news does to it. Pure.
//!
//! News may come late, twice or from the past. Each item changes only when its revision grows, and
//! nothing from before a list that is taken in whole counts any more.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use super::super::{Change, Event, KeyValue, LeaseId, Revision, WatchBatch};

/// One record as the view has it.
#[derive(Debug)]
pub struct Entry<T> {
    pub mod_revision: Revision,
    pub create_revision: Revision,
    pub lease: Option<LeaseId>,
    pub record: Record<T>,
}

/// A record that could be read, or why it could not.
#[derive(Debug)]
pub enum Record<T> {
    Known(Arc<T>),
    Unreadable(Arc<str>),
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone(), ..*self }
    }
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Known(record) => Self::Known(Arc::clone(record)),
            Self::Unreadable(why) => Self::Unreadable(Arc::clone(why)),
        }
    }
}

impl<T> Entry<T> {
    /// Returns the record, if it could be read.
    pub fn known(&self) -> Option<&Arc<T>> {
        match &self.record {
            Record::Known(record) => Some(record),
            Record::Unreadable(_) => None,
        }
    }
}

type Decode<T> = Box<dyn Fn(&KeyValue) -> Result<T, String> + Send + Sync>;

pub(super) struct Mirror<T> {
    items: BTreeMap<String, Entry<T>>,
    /// Everything up to here is in.
    applied: Revision,
    /// News up to here is old: a list of that revision was taken in.
    listed: Revision,
    unreadable: usize,
    /// Keys deleted since an audit began, and when.
    buried: Option<BTreeMap<String, Revision>>,
    decode: Decode<T>,
}

/// How the view differs from a list of keys and revisions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Listed, and not here or older here.
    pub(super) behind: Vec<String>,
    /// Here, and not listed.
    pub(super) ghosts: Vec<String>,
}

impl Difference {
    pub(super) fn len(&self) -> usize {
        self.behind.len() + self.ghosts.len()
    }

    /// Adds what another part came to.
    pub(super) fn add(&mut self, other: Self) {
        self.behind.extend(other.behind);
        self.ghosts.extend(other.ghosts);
    }

    fn unlisted<T>(&mut self, key: &str, entry: &Entry<T>, at: Revision) {
        if entry.mod_revision <= at {
            self.ghosts.push(key.to_owned());
        }
    }
}

/// A part of a whole list of keys and revisions, with the keys that it reaches from and to.
#[derive(Debug)]
pub(super) struct Part<'l> {
    listed: &'l [(String, Revision)],
    after: Bound<&'l String>,
    until: Bound<&'l String>,
}

impl<'l> Part<'l> {
    /// Divides a whole list, so that everything lies in one part.
    pub(super) fn all_of(listed: &'l [(String, Revision)], size: usize) -> impl Iterator<Item = Self> {
        (0..listed.len().div_ceil(size).max(1)).map(move |place| {
            let (from, to) = (place * size, listed.len().min((place + 1) * size));
            let after = from.checked_sub(1).map_or(Bound::Unbounded, |last| Bound::Excluded(&listed[last].0));
            let until = match to < listed.len() {
                true => Bound::Included(&listed[to - 1].0),
                false => Bound::Unbounded,
            };
            Self { listed: &listed[from..to], after, until }
        })
    }
}

impl<T> Mirror<T> {
    pub(super) fn new(decode: Decode<T>) -> Self {
        Self {
            items: BTreeMap::new(),
            applied: Revision(0),
            listed: Revision(0),
            unreadable: 0,
            buried: None,
            decode,
        }
    }

    pub(super) fn items(&self) -> &BTreeMap<String, Entry<T>> {
        &self.items
    }

    pub(super) fn applied(&self) -> Revision {
        self.applied
    }

    pub(super) fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Replaces everything by a whole list of revision `at`; returns the keys that changed.
    pub(super) fn replace(&mut self, listed: Vec<KeyValue>, at: Revision) -> Vec<String> {
        let mut old = std::mem::take(&mut self.items);
        self.unreadable = 0;
        let mut changed = Vec::new();
        for item in listed {
            match old.remove(&item.key) {
                Some(entry) if entry.mod_revision == item.mod_revision => {
                    self.unreadable += usize::from(entry.known().is_none());
                    self.items.insert(item.key, entry);
                }
                Some(_) | None => {
                    changed.push(item.key.clone());
                    self.put(item);
                }
            }
        }
        changed.extend(old.into_keys());
        (self.applied, self.listed, self.buried) = (at, at, None);
        changed
    }

    /// Takes in what a watch told; returns the keys that changed.
    pub(super) fn apply(&mut self, batch: WatchBatch) -> Vec<String> {
        let listed = self.listed;
        let news = batch.events.into_iter().filter(|event| event.mod_revision > listed);
        let changed = news.filter_map(|event| self.apply_one(event)).collect();
        self.applied = self.applied.max(batch.revision);
        changed
    }

    fn apply_one(&mut self, event: Event) -> Option<String> {
        let known = self.items.get(event.key()).map(|entry| entry.mod_revision);
        if known.is_some_and(|known| known >= event.mod_revision) {
            return None;
        }
        match event.change {
            Change::Put(item) => {
                let key = item.key.clone();
                self.put(item);
                Some(key)
            }
            Change::Delete { key } => {
                if let Some(buried) = &mut self.buried {
                    buried.insert(key.clone(), event.mod_revision);
                }
                self.remove(&key).then_some(key)
            }
        }
    }

    fn put(&mut self, item: KeyValue) {
        let record = match (self.decode)(&item) {
            Ok(record) => Record::Known(Arc::new(record)),
            Err(why) => {
                tracing::error!(key = item.key, why, "a stored record cannot be read; it is left alone");
                self.unreadable += 1;
                Record::Unreadable(why.into())
            }
        };
        let KeyValue { key, create_revision, mod_revision, lease, .. } = item;
        let old = self.items.insert(key, Entry { mod_revision, create_revision, lease, record });
        self.forget(old.as_ref());
    }

    fn remove(&mut self, key: &str) -> bool {
        let old = self.items.remove(key);
        self.forget(old.as_ref());
        old.is_some()
    }

    fn forget(&mut self, old: Option<&Entry<T>>) {
        self.unreadable -= usize::from(old.is_some_and(|old| old.known().is_none()));
    }

    /// Notes deletions from now on, so that an audit does not take them for losses.
    pub(super) fn begin_audit(&mut self) {
        self.buried = Some(BTreeMap::new());
    }

    /// Compares what is between two keys with that part of a whole list at `at`, which is sorted.
    pub(super) fn compare(&self, part: &Part<'_>, at: Revision) -> Difference {
        let buried = |key: &String| {
            let graves = self.buried.as_ref();
            graves.and_then(|graves| graves.get(key)).is_some_and(|deleted| *deleted > at)
        };
        let mut difference = Difference::default();
        let mut here = self.items.range::<String, _>((part.after, part.until)).peekable();
        for (key, revision) in part.listed {
            while let Some((known, entry)) = here.next_if(|(known, _)| *known < key) {
                difference.unlisted(known, entry, at);
            }
            let is_behind = match here.next_if(|(known, _)| *known == key) {
                Some((_, entry)) => entry.mod_revision < *revision,
                None => !buried(key),
            };
            if is_behind {
                difference.behind.push(key.clone());
            }
        }
        here.for_each(|(known, entry)| difference.unlisted(known, entry, at));
        difference
    }

    /// Takes in what was found to be missing as it was at `at`; returns the keys that changed.
    pub(super) fn mend(&mut self, found: Vec<KeyValue>, ghosts: Vec<String>, at: Revision) -> Vec<String> {
        let mut changed = Vec::new();
        for item in found {
            let known = self.items.get(&item.key).map(|entry| entry.mod_revision);
            if known.is_none_or(|known| known < item.mod_revision) {
                changed.push(item.key.clone());
                self.put(item);
            }
        }
        for key in ghosts {
            if self.items.get(&key).is_some_and(|entry| entry.mod_revision <= at) && self.remove(&key) {
                changed.push(key);
            }
        }
        self.applied = self.applied.max(at);
        self.listed = self.listed.max(at);
        self.buried = None;
        changed
    }
}

impl<T> fmt::Debug for Mirror<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("items", &self.items.len())
            .field("applied", &self.applied)
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn mirror() -> Mirror<String> {
        Mirror::new(Box::new(|item| match std::str::from_utf8(&item.value) {
            Ok("bad") => Err("it is bad".to_owned()),
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        }))
    }

    fn item(key: &str, value: &str, revision: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Bytes::from(value.to_owned()),
            create_revision: Revision(1),
            mod_revision: Revision(revision),
            lease: None,
        }
    }

    fn put(key: &str, value: &str, revision: i64) -> WatchBatch {
        let event =
            Event { change: Change::Put(item(key, value, revision)), mod_revision: Revision(revision) };
        WatchBatch { events: vec![event], revision: Revision(revision) }
    }

    fn delete(key: &str, revision: i64) -> WatchBatch {
        let event =
            Event { change: Change::Delete { key: key.to_owned() }, mod_revision: Revision(revision) };
        WatchBatch { events: vec![event], revision: Revision(revision) }
    }

    fn text(mirror: &Mirror<String>) -> String {
        let entries = mirror.items().iter().map(|(key, entry)| match &entry.record {
            Record::Known(record) => format!("{key}={record}@{}", entry.mod_revision),
            Record::Unreadable(why) => format!("{key}!{why}@{}", entry.mod_revision),
        });
        entries.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_item_counts_only_if_its_revision_grows() {
        let mut mirror = mirror();
        mirror.replace(vec![item("a", "1", 5)], Revision(9));
        assert_eq!(mirror.apply(put("a", "old", 8)), [""; 0]);
        assert_eq!(mirror.apply(put("a", "2", 10)), ["a"]);
        assert_eq!(mirror.apply(put("a", "2", 10)), [""; 0]);
        assert_eq!(mirror.apply(delete("a", 7)), [""; 0]);
        assert_eq!(text(&mirror), "a=2@10");
        assert_eq!(mirror.apply(delete("a", 11)), ["a"]);
        assert_eq!(text(&mirror), "");
    }

    #[test]
    fn a_record_that_cannot_be_read_stays_visible_and_alone() {
        let mut mirror = mirror();
        mirror.replace(vec![item("a", "bad", 1), item("b", "2", 2)], Revision(3));
        assert_eq!(text(&mirror), "a!it is bad@1 b=2@2");
        assert_eq!(mirror.unreadable(), 1);
        mirror.apply(put("a", "good", 4));
        assert_eq!((text(&mirror).as_str(), mirror.unreadable()), ("a=good@4 b=2@2", 0));
        mirror.apply(put("b", "bad", 5));
        mirror.apply(delete("b", 6));
        assert_eq!(mirror.unreadable(), 0);
    }

    #[test]
    fn a_new_list_tells_what_changed() {
        let mut mirror = mirror();
        mirror.replace(vec![item("a", "1", 1), item("b", "1", 2), item("c", "1", 3)], Revision(3));
        let changed =
            mirror.replace(vec![item("a", "1", 1), item("b", "2", 7), item("d", "1", 8)], Revision(9));
        assert_eq!(changed, ["b", "d", "c"]);
        assert_eq!(text(&mirror), "a=1@1 b=2@7 d=1@8");
    }

    #[test]
    fn where_nothing_is_listed_all_that_is_not_news_is_a_ghost() {
        let mut mirror = mirror();
        mirror.replace(vec![item("a", "1", 2), item("b", "1", 30)], Revision(30));
        let parts: Vec<_> = Part::all_of(&[], 7).collect();
        let [all] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!(mirror.compare(all, Revision(20)).ghosts, ["a"]);
    }

    #[test]
    fn an_audit_finds_what_the_watch_lost_and_only_that() {
        let mut mirror = mirror();
        mirror.replace(vec![item("ghost", "1", 2), item("same", "1", 3), item("stale", "1", 4)], Revision(4));
        mirror.begin_audit();
        // Meanwhile, truly: one is deleted and one is put, after the list.
        mirror.apply(put("new", "1", 21));
        mirror.apply(put("goes", "1", 10));
        mirror.apply(delete("goes", 22));
        let list = [("goes", 10), ("missing", 9), ("same", 3), ("stale", 8)]
            .map(|(key, revision)| (key.to_owned(), Revision(revision)));
        let in_parts_of = |size| {
            let mut difference = Difference::default();
            Part::all_of(&list, size).for_each(|part| difference.add(mirror.compare(&part, Revision(20))));
            difference
        };
        let difference = in_parts_of(1_000);
        assert_eq!(difference.behind, ["missing", "stale"]);
        assert_eq!(difference.ghosts, ["ghost"]);
        assert!((1..=list.len()).all(|size| in_parts_of(size) == difference));
        let found = vec![item("missing", "m", 9), item("stale", "s", 8)];
        let changed = mirror.mend(found, difference.ghosts, Revision(20));
        assert_eq!(changed, ["missing", "stale", "ghost"]);
        assert_eq!(text(&mirror), "missing=m@9 new=1@21 same=1@3 stale=s@8");
        // What the watch tells late does not bring back what the list has settled.
        assert_eq!(mirror.apply(put("ghost", "late", 15)), [""; 0]);
    }
}
