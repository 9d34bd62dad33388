//! The runtimes that this executor may use, and whether each works just now.
//!
//! A runtime that failed is looked at again by itself, with growing waits; until it works, nothing
//! that needs it is taken. A session tells of those that work when it is opened, so one that works
//! only later makes it be opened anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ocelot_core::plan::Runtime as Wanted;
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use tokio::sync::Notify;

use crate::runtime::{PROCESS, Runtime, Support};

/// A check that takes longer has failed.
const CHECK: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Runtimes {
    all: Vec<Kept>,
    suspect: Notify,
    /// What the controllers were told last.
    told: Mutex<Vec<wire::RuntimeSupport>>,
}

#[derive(Debug)]
struct Kept {
    runtime: Arc<dyn Runtime>,
    standing: Mutex<Result<Support, String>>,
}

impl Runtimes {
    pub fn new(runtimes: Vec<Arc<dyn Runtime>>) -> Self {
        let unknown = || Mutex::new(Err("it was not looked at yet".to_owned()));
        let all = runtimes.into_iter().map(|runtime| Kept { runtime, standing: unknown() });
        Self { all: all.collect(), suspect: Notify::new(), told: Mutex::default() }
    }

    /// Returns the runtime for a task.
    pub fn for_task(&self, wanted: &Wanted) -> Option<Arc<dyn Runtime>> {
        self.kept(wanted).map(|kept| Arc::clone(&kept.runtime))
    }

    /// Returns why a task's runtime cannot be used now.
    pub fn broken(&self, wanted: &Wanted) -> Option<String> {
        match self.kept(wanted) {
            None => Some(match wanted {
                Wanted::Process => "this executor does not run processes without a container".to_owned(),
                Wanted::Container { .. } => "this executor has no container engine".to_owned(),
            }),
            Some(kept) => kept.why(),
        }
    }

    /// Returns why nothing at all can be run.
    pub fn refusing(&self) -> Option<String> {
        let why: Option<Vec<String>> = self
            .all
            .iter()
            .map(|kept| kept.why().map(|why| format!("runtime {}: {why}", kept.runtime.name())))
            .collect();
        why.map(|why| if why.is_empty() { "it has no runtime".to_owned() } else { why.join("; ") })
    }

    /// Returns those that work, for a session that tells of them.
    pub fn tell(&self) -> Vec<wire::RuntimeSupport> {
        let support = self.support();
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&support);
        support
    }

    /// Whether one works that the controllers were not told of.
    pub fn has_news(&self) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        self.support().iter().any(|support| !told.contains(support))
    }

    fn support(&self) -> Vec<wire::RuntimeSupport> {
        let working = self.all.iter().filter_map(|kept| {
            let support = kept.standing.lock().unwrap_or_else(PoisonError::into_inner).clone().ok()?;
            let name = kept.runtime.name().to_owned();
            Some(wire::RuntimeSupport { name, version: support.version, whole_kill: support.whole_kill })
        });
        working.collect()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Runtime>> {
        self.all.iter().map(|kept| &kept.runtime)
    }

    /// Something went wrong with one: looks again soon.
    pub fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Looks at every runtime once. Returns whether any standing changed between working and not.
    pub async fn check(&self) -> bool {
        let mut changed = false;
        for kept in &self.all {
            let checked = tokio::time::timeout(CHECK, kept.runtime.check()).await;
            let standing = match checked {
                Ok(Ok(support)) => Ok(support),
                Ok(Err(error)) => Err(chain(&error).to_string()),
                Err(_) => Err(format!("it did not answer within {CHECK:?}")),
            };
            let name = kept.runtime.name();
            let mut known = kept.standing.lock().unwrap_or_else(PoisonError::into_inner);
            changed |= known.is_ok() != standing.is_ok();
            match (&*known, &standing) {
                (Err(_), Ok(support)) => {
                    tracing::info!(runtime = name, version = support.version, "runtime {name} works");
                }
                (Err(before), Err(why)) if before == why => {}
                (_, Err(why)) => tracing::error!(runtime = name, why, "runtime {name} does not work: {why}"),
                (Ok(_), Ok(_)) => {}
            }
            *known = standing;
        }
        changed
    }

    /// Looks again whenever one is suspected, and until it works; calls `changed` after a change.
    pub async fn watch(&self, clock: Arc<dyn Clock>, changed: impl Fn()) {
        let pace = Policy::new(Duration::from_secs(1), Duration::from_secs(60), 0.2)
            .expect("the pace is written down here");
        let mut failures = 0;
        loop {
            let all_work = self.all.iter().all(|kept| kept.why().is_none());
            failures = if all_work { 0 } else { failures + 1 };
            tokio::select! {
                () = self.suspect.notified() => {}
                () = clock.sleep(pace.wait(failures, 0.5)), if !all_work => {}
            }
            if self.check().await {
                changed();
            }
        }
    }

    fn kept(&self, wanted: &Wanted) -> Option<&Kept> {
        let is_process = *wanted == Wanted::Process;
        self.all.iter().find(|kept| (kept.runtime.name() == PROCESS) == is_process)
    }
}

impl Kept {
    fn why(&self) -> Option<String> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone().err()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use ocelot_core::plan::{Pull, Resources};

    use super::*;
    use crate::runtime::docker::{Docker, Settings};
    use crate::runtime::install;
    use crate::runtime::process::Process;

    fn container() -> Wanted {
        Wanted::Container {
            image: "alpine:3".to_owned(),
            pull: Pull::Never,
            pull_secret: None,
            engine: false,
        }
    }

    #[tokio::test]
    async fn a_machine_without_an_engine_still_runs_processes_and_says_why_no_containers() {
        let data = tempfile::tempdir().unwrap();
        let supervisor = install(data.path()).unwrap();
        let socket = data.path().join("no-engine.sock");
        let settings = Settings {
            engine: Some(format!("unix://{}", socket.display())),
            executor: "e".to_owned(),
            data: data.path().to_owned(),
            memory: data.path().join("memory"),
            supervisor: supervisor.clone(),
            defaults: Resources::default(),
        };
        // A socket without anybody behind it.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let docker: Arc<dyn Runtime> = Arc::new(Docker::connect(settings).unwrap());
        let process: Arc<dyn Runtime> = Arc::new(Process::new(data.path(), supervisor, Resources::default()));
        let runtimes = Runtimes::new(vec![Arc::clone(&docker), process]);
        assert!(runtimes.check().await);
        assert_eq!(runtimes.refusing(), None);
        assert_eq!(runtimes.broken(&Wanted::Process), None);
        let why = runtimes.broken(&container()).unwrap();
        assert!(why.starts_with("the engine could not be reached: ") && why.contains("refused"), "{why}");
        let alone = Runtimes::new(vec![docker]);
        assert!(!alone.check().await);
        let why = alone.refusing().unwrap();
        assert!(why.starts_with("runtime docker: the engine could not be reached: "), "{why}");
        assert_eq!(
            alone.broken(&Wanted::Process).unwrap(),
            "this executor does not run processes without a container"
        );
    }
}
