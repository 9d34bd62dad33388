//! The contract on this home, and what only this home promises: its file, its lock, its quota.

use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::store::contract::{self, Home};

const TTL: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct ManualHome {
    directory: TempDir,
    clock: Arc<ManualClock>,
    store: Mutex<Option<Arc<EmbeddedStore>>>,
}

impl ManualHome {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let store = Mutex::new(Some(open(directory.path(), &clock)));
        Self { directory, clock, store }
    }

    fn embedded(&self) -> Arc<EmbeddedStore> {
        Arc::clone(self.store.lock().unwrap().as_ref().unwrap())
    }
}

fn open(directory: &Path, clock: &Arc<ManualClock>) -> Arc<EmbeddedStore> {
    let settings = Settings { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Settings::new(directory) };
    Arc::new(EmbeddedStore::open(settings).unwrap())
}

#[async_trait]
impl Home for ManualHome {
    fn store(&self) -> Arc<dyn Store> {
        self.embedded()
    }

    fn ttl(&self) -> Duration {
        TTL
    }

    async fn wait(&self, time: Duration) {
        self.clock.advance(time);
        self.embedded().nudge().await.unwrap();
    }

    async fn restart(&self) -> Arc<dyn Store> {
        let old = self.store.lock().unwrap().take().unwrap();
        old.stop();
        let new = open(self.directory.path(), &self.clock);
        *self.store.lock().unwrap() = Some(Arc::clone(&new));
        new
    }
}

macro_rules! tests_of_the_contract {
    ($($file:ident::$case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let case = contract::cases().into_iter().find(|case| case.name == stringify!($case));
                case.unwrap().run(Arc::new(ManualHome::new())).await;
            }
        )*
    };
}
crate::store_contract_cases!(tests_of_the_contract);
