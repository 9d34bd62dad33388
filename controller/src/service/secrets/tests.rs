//! Secrets on a store in memory's place: what is kept, who is given it, and keys that change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::placement::Limits;
use tempfile::TempDir;

use super::super::testing::{DigestSigned, ManualClock, MemoryPlans, Sequence, TestLogs};
use super::super::{Parts, Service};
use super::arguments::Values;
use super::*;
use crate::records::BareSecrets;
use crate::seal::SealKey;
use crate::store::codec::encode;
use crate::store::embedded::{EmbeddedStore, Settings};
use crate::store::keys::{Folder, Key, SecretScope};
use crate::store::view::Follower;
use crate::store::{RangeRequest, Store, Txn};

const CANARY: &str = "canary-7f1d0c2e-value";

struct Bench {
    directory: TempDir,
    store: Arc<EmbeddedStore>,
    clock: Arc<ManualClock>,
    service: Arc<Service>,
    _view: tokio::task::JoinSet<()>,
}

fn ana() -> Actor {
    Actor("ana".into())
}

fn deploy() -> SecretScope {
    SecretScope::Job("deploy".into())
}

fn key(number: u8) -> SealKey {
    SealKey::new([number; 32])
}

fn made(
    clock: &Arc<ManualClock>,
    store: &Arc<EmbeddedStore>,
) -> (Arc<Service>, Follower<crate::records::Stored>) {
    let chance = Arc::new(Sequence::new(7));
    Service::new(Parts {
        name: "a".into(),
        store: Arc::clone(store) as _,
        clock: Arc::clone(clock) as _,
        chance: Arc::clone(&chance) as _,
        unguessable: chance,
        verify: Arc::new(DigestSigned),
        logs: Arc::new(TestLogs::default()),
        plans: Arc::new(MemoryPlans::default()),
        limits: Limits::default(),
    })
}

async fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let settings = Settings { clock: Arc::clone(&clock) as _, ..Settings::new(directory.path()) };
    let store = Arc::new(EmbeddedStore::open(settings).unwrap());
    let (service, follower) = made(&clock, &store);
    let mut view = tokio::task::JoinSet::new();
    view.spawn(follower.run());
    service.view.loaded().await;
    service.set_seal(key(1));
    Bench { directory, store, clock, service, _view: view }
}

fn new(scope: SecretScope, name: &str, value: &str) -> NewSecret {
    NewSecret {
        scope,
        name: name.into(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        allow_short: false,
    }
}

impl Bench {
    async fn set(&self, scope: SecretScope, name: &str, value: &str) -> bool {
        self.service.set_secret(new(scope, name, value), &ana()).await.unwrap().1
    }

    async fn listed(&self, scope: Option<&SecretScope>) -> Vec<String> {
        self.service.see_latest().await;
        let page = self.service.secrets(scope, None, 500).unwrap();
        page.secrets.iter().map(|one| format!("{} {}", one.scope, one.name)).collect()
    }

    async fn value(&self, scope: SecretScope, name: &str) -> Result<Vec<u8>> {
        let key = Key::Secret(scope, name.into()).to_string();
        let item = self.service.read(&key).await?.unwrap();
        let record: crate::records::SecretRecord = crate::store::codec::decode(&item.value)?;
        Ok(self.service.open(&key, &record.sealed)?.to_vec())
    }
}

#[tokio::test]
async fn a_secret_is_replaced_listed_and_removed_and_no_file_of_the_store_shows_it() {
    let bench = bench().await;
    assert!(!bench.set(deploy(), "token", CANARY).await);
    bench.clock.advance(Duration::from_secs(60));
    assert!(bench.set(deploy(), "token", &CANARY.repeat(2)).await);
    assert!(!bench.set(SecretScope::Organization("acme".into()), "token", CANARY).await);
    let all = bench.listed(None).await;
    assert_eq!(all, ["job deploy token", "organization acme token"]);
    assert_eq!(bench.listed(Some(&deploy())).await, ["job deploy token"]);
    let page = bench.service.secrets(Some(&deploy()), None, 1).unwrap();
    let about = &page.secrets[0].about;
    assert_eq!(about.updated_at.unix_ms - about.created_at.unix_ms, 60_000);
    assert_eq!(bench.value(deploy(), "token").await.unwrap(), CANARY.repeat(2).as_bytes());
    assert!(bench.service.remove_secret(&deploy(), "token", &ana()).await.unwrap());
    assert!(!bench.service.remove_secret(&deploy(), "token", &ana()).await.unwrap());
    assert_eq!(bench.listed(None).await, ["organization acme token"]);
    for entry in std::fs::read_dir(bench.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let shows = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
            assert!(!shows, "{} shows it", path.display());
        }
    }
}

#[tokio::test]
async fn pages_of_a_list_neither_repeat_nor_skip() {
    let bench = bench().await;
    for number in 0..7 {
        bench.set(deploy(), &format!("s{number}"), CANARY).await;
    }
    bench.service.see_latest().await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = bench.service.secrets(None, after.as_deref(), 3).unwrap();
        seen.extend(page.secrets.into_iter().map(|one| one.name));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
    assert!(bench.service.secrets(Some(&deploy()), Some("/ocelot/v1/tokens/x"), 3).is_err());
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_in_words() {
    let bench = bench().await;
    let refused =
        async |new: NewSecret| bench.service.set_secret(new, &ana()).await.map(drop).unwrap_err().to_string();
    let told = [
        refused(new(deploy(), "to ken", CANARY)).await,
        refused(new(deploy(), "token", "")).await,
        refused(new(deploy(), "token", " hunter2\n\n\n")).await,
        refused(new(deploy(), "token", &"x".repeat(SECRET_BYTES_MAX + 1))).await,
        refused(new(SecretScope::Job(String::new()), "token", CANARY)).await,
    ];
    insta::assert_snapshot!(told.join("\n"), @r#"
    a secret's name has 1 to 63 letters, digits, `-` and `_`, not "to ken"
    the value of "token" is empty
    the value of "token" has fewer than 8 bytes, so logs could not mask it; if it must be so, say --allow-short
    the value of "token" has 65537 bytes; a secret has at most 65536
    a secret is of a job, a project owner/name or an organization
    "#);
    let short = NewSecret { allow_short: true, ..new(deploy(), "pin", "1234") };
    assert!(!format!("{short:?}").contains("1234"));
    let (listed, _) = bench.service.set_secret(short, &ana()).await.unwrap();
    assert!(listed.about.short);
    let longest = "x".repeat(SECRET_BYTES_MAX);
    bench.set(deploy(), "longest", &longest).await;
    assert_eq!(bench.value(deploy(), "longest").await.unwrap(), longest.as_bytes());
}

#[tokio::test]
async fn a_record_moved_to_another_name_does_not_open() {
    let bench = bench().await;
    bench.set(deploy(), "token", CANARY).await;
    let item = bench.service.read(&Key::Secret(deploy(), "token".into()).to_string()).await.unwrap().unwrap();
    let elsewhere = Key::Secret(SecretScope::Organization("acme".into()), "token".into());
    bench.store.commit(Txn::new().put(elsewhere, item.value)).await.unwrap();
    assert!(bench.value(SecretScope::Organization("acme".into()), "token").await.is_err());
}

#[tokio::test]
async fn a_runs_secrets_of_the_version_before_are_read_and_sealed_anew() {
    let bench = bench().await;
    let run = RunId::from_parts(1, [1; 10]);
    // Sealed by the version before, right with the key of sevens, a nonce of ones.
    let stored: BareSecrets = {
        use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
        let mut bytes = br#"{"password":"hunter2-hunter2"}"#.to_vec();
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        key.seal_in_place_append_tag(nonce, Aad::from(run.as_bytes()), &mut bytes).unwrap();
        BareSecrets { nonce: [1; 12], bytes }
    };
    bench.store.commit(Txn::new().put(Key::RunSecrets(run), encode(&stored, None))).await.unwrap();
    bench.service.set_seal(SealKeys::new([key(1), key(7)]).unwrap());
    let values = Values::from([("password".to_owned(), "hunter2-hunter2".to_owned())]);
    assert_eq!(bench.service.secrets_of(run).await.unwrap(), values);
    assert_eq!(bench.service.reseal_all().await.unwrap(), Resealed { anew: 1, left: 0, closed: 0 });
    bench.service.set_seal(key(1));
    assert_eq!(bench.service.secrets_of(run).await.unwrap(), values);
}

#[tokio::test]
async fn keys_change_under_readers_and_writers_and_every_value_opens_throughout() {
    let bench = bench().await;
    const SECRETS: usize = 250;
    for number in 0..SECRETS {
        bench.set(deploy(), &format!("s{number}"), &format!("{CANARY}{number}")).await;
    }
    let before = SealKeys::from(key(1));
    assert_eq!(bench.service.seal_standing(&before).await.unwrap(), SealStanding::Ours);
    bench.service.set_seal(SealKeys::new([key(2), key(1)]).unwrap());
    let reads = async {
        for number in (0..SECRETS).cycle().take(2 * SECRETS) {
            let value = bench.value(deploy(), &format!("s{number}")).await.unwrap();
            assert!(value.starts_with(CANARY.as_bytes()));
        }
    };
    let writes = async {
        for number in 0..20 {
            bench.set(deploy(), &format!("s{number}"), &format!("{CANARY}-again")).await;
        }
    };
    let rotates = async {
        loop {
            if bench.service.reseal_all().await.unwrap().left == 0 {
                break;
            }
        }
    };
    tokio::join!(reads, writes, rotates);
    assert_eq!(bench.service.reseal_all().await.unwrap(), Resealed::default(), "a repeat finds nothing");
    // The older key is forgotten: all opens, and who has it alone is told.
    bench.service.set_seal(key(2));
    for number in 0..SECRETS {
        bench.value(deploy(), &format!("s{number}")).await.unwrap();
    }
    let others = SealStanding::Others(key(2).id());
    assert_eq!(bench.service.seal_standing(&before).await.unwrap(), others);
    assert_eq!(bench.service.seal_standing(&SealKeys::from(key(2))).await.unwrap(), SealStanding::Ours);
}

#[tokio::test]
async fn a_secret_that_no_key_opens_is_counted_and_the_fleets_key_stays() {
    let bench = bench().await;
    let first = SealKeys::from(key(1));
    assert_eq!(bench.service.seal_standing(&first).await.unwrap(), SealStanding::Ours);
    bench.service.set_seal(key(3));
    bench.set(deploy(), "lost", CANARY).await;
    bench.service.set_seal(SealKeys::new([key(2), key(1)]).unwrap());
    bench.set(deploy(), "kept", CANARY).await;
    assert_eq!(bench.service.reseal_all().await.unwrap(), Resealed { anew: 0, left: 0, closed: 1 });
    assert_eq!(bench.service.seal_standing(&first).await.unwrap(), SealStanding::Ours, "it is still needed");
    assert!(matches!(bench.value(deploy(), "lost").await, Err(Error::NotNow { .. })));
    let page = bench.store.range(RangeRequest::prefix(Folder::Secrets.to_string())).await.unwrap();
    assert_eq!(page.items.len(), 2, "nothing is dropped");
}
