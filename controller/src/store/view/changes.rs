//! Who is told that something changed: by key, coalesced, bounded.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// Keys held for a reader that does not take them; beyond, it is told to look at everything.
const KEYS_MAX: usize = 10_000;

/// What changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// These keys; what they hold now is in the view.
    Keys(BTreeSet<String>),
    /// Too much to name, or the view was listed anew.
    Everything,
}

/// A reader's share of the news. However far it is behind, each key is told once.
#[derive(Debug)]
pub struct Changes {
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    /// None: everything.
    keys: Mutex<Option<BTreeSet<String>>>,
    news: Notify,
}

/// All readers that still listen.
#[derive(Debug, Default)]
pub(super) struct Readers {
    inboxes: Mutex<Vec<Weak<Inbox>>>,
}

impl Changes {
    /// Waits until something changed since the last call; the first call tells everything. Cancel-safe.
    pub async fn next(&mut self) -> Changed {
        loop {
            let told = self.inbox.news.notified();
            if let Some(changed) = self.take() {
                return changed;
            }
            told.await;
        }
    }

    fn take(&self) -> Option<Changed> {
        let mut keys = self.inbox.lock();
        match keys.as_mut() {
            None => {
                *keys = Some(BTreeSet::new());
                Some(Changed::Everything)
            }
            Some(waiting) if waiting.is_empty() => None,
            Some(waiting) => Some(Changed::Keys(std::mem::take(waiting))),
        }
    }
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BTreeSet<String>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, changed: &[String]) {
        let mut keys = self.lock();
        if let Some(waiting) = keys.as_mut() {
            waiting.extend(changed.iter().cloned());
            if waiting.len() > KEYS_MAX {
                *keys = None;
            }
        }
        drop(keys);
        self.news.notify_one();
    }
}

impl Readers {
    pub(super) fn subscribe(&self) -> Changes {
        let inbox = Arc::new(Inbox { keys: Mutex::new(None), news: Notify::new() });
        self.lock().push(Arc::downgrade(&inbox));
        Changes { inbox }
    }

    pub(super) fn tell(&self, changed: &[String]) {
        if changed.is_empty() {
            return;
        }
        self.lock().retain(|inbox| inbox.upgrade().inspect(|inbox| inbox.add(changed)).is_some());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Inbox>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_key_that_changed_often_is_told_once() {
        let readers = Readers::default();
        let mut changes = readers.subscribe();
        assert_eq!(changes.next().await, Changed::Everything);
        readers.tell(&keys(&["a"]));
        readers.tell(&keys(&["b", "a"]));
        assert_eq!(changes.next().await, Changed::Keys(keys(&["a", "b"]).into_iter().collect()));
    }

    #[tokio::test]
    async fn a_reader_that_is_too_far_behind_is_told_everything() {
        let readers = Readers::default();
        let mut changes = readers.subscribe();
        assert_eq!(changes.next().await, Changed::Everything);
        let many: Vec<_> = (0..=KEYS_MAX).map(|key| key.to_string()).collect();
        readers.tell(&many);
        readers.tell(&keys(&["a"]));
        assert_eq!(changes.next().await, Changed::Everything);
        readers.tell(&keys(&["b"]));
        assert_eq!(changes.next().await, Changed::Keys(keys(&["b"]).into_iter().collect()));
    }

    #[test]
    fn a_reader_that_left_is_forgotten() {
        let readers = Readers::default();
        drop(readers.subscribe());
        readers.tell(&keys(&["a"]));
        assert_eq!(readers.lock().len(), 0);
    }
}
