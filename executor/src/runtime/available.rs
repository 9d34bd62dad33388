//! The runtimes of this machine: those that work, and why the others do not.
//!
//! An executor without any takes no work and says why; one whose runtime breaks later finds out by
//! asking again.

use std::sync::Arc;

use ocelot_core::plan;

use super::{Runtime, RuntimeError, Support};

/// A runtime that works, and what it says of itself.
#[derive(Debug, Clone)]
pub struct Working {
    pub runtime: Arc<dyn Runtime>,
    pub support: Support,
}

/// A runtime that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub name: &'static str,
    /// For people, with every cause behind it.
    pub why: String,
}

/// A runtime's name and the runtime, or why it could not be made.
pub type Candidate = (&'static str, Result<Arc<dyn Runtime>, RuntimeError>);

/// What this machine can run.
#[derive(Debug, Clone, Default)]
pub struct Runtimes {
    working: Vec<Working>,
    broken: Vec<Broken>,
}

impl Runtimes {
    /// Tries each, in the order of preference, at the same time. One that could not even be made is
    /// given by its name; it is to be made anew for the next try.
    pub async fn check(candidates: Vec<Candidate>) -> Self {
        let checks = candidates.into_iter().map(|(name, made)| async move {
            let checked = match made {
                Ok(runtime) => runtime.check().await.map(|support| Working { runtime, support }),
                Err(error) => Err(error),
            };
            checked.map_err(|error| Broken { name, why: explain(&error) })
        });
        let mut runtimes = Self::default();
        for checked in futures_util::future::join_all(checks).await {
            match checked {
                Ok(working) => runtimes.working.push(working),
                Err(broken) => runtimes.broken.push(broken),
            }
        }
        runtimes
    }

    pub fn working(&self) -> &[Working] {
        &self.working
    }

    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// Returns the runtime of this name, for what the journal says runs in it.
    pub fn named(&self, name: &str) -> Option<&Working> {
        self.working.iter().find(|working| working.runtime.name() == name)
    }

    /// Returns what runs such a task here.
    pub fn of(&self, environment: &plan::Runtime) -> Option<&Working> {
        match environment {
            plan::Runtime::Container { .. } => {
                self.working.iter().find(|working| working.runtime.name() != PROCESS)
            }
            plan::Runtime::Process => self.named(PROCESS),
        }
    }

    /// Returns why this machine can run nothing at all, if so.
    pub fn quarantine(&self) -> Option<String> {
        if !self.working.is_empty() {
            return None;
        }
        if self.broken.is_empty() {
            return Some("no runtime is allowed here".to_owned());
        }
        let reasons = self.broken.iter().map(|broken| format!("{}: {}", broken.name, broken.why));
        Some(reasons.collect::<Vec<_>>().join("; "))
    }
}

/// The name of the runtime without containers.
pub(super) const PROCESS: &str = "process";

fn explain(error: &RuntimeError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use ocelot_core::plan::Resources;

    use super::*;
    use crate::runtime::docker::{Docker, Settings};
    use crate::runtime::install;
    use crate::runtime::process::Process;

    #[tokio::test]
    async fn a_machine_without_an_engine_still_runs_processes_and_says_why_no_containers() {
        let data = tempfile::tempdir().unwrap();
        let supervisor = install(data.path()).unwrap();
        let process: Arc<dyn Runtime> =
            Arc::new(Process::new(data.path(), supervisor.clone(), Resources::default()));
        let socket = data.path().join("no-engine.sock");
        let settings = Settings {
            engine: Some(format!("unix://{}", socket.display())),
            executor: "e".to_owned(),
            data: data.path().to_owned(),
            supervisor,
            defaults: Resources::default(),
        };
        let docker = || {
            let docker = Docker::connect(settings.clone());
            ("docker", docker.map(|docker| Arc::new(docker) as Arc<dyn Runtime>))
        };
        let runtimes = Runtimes::check(vec![docker(), ("process", Ok(process))]).await;
        assert_eq!(runtimes.quarantine(), None);
        assert!(runtimes.of(&plan::Runtime::Process).is_some());
        let [broken] = runtimes.broken() else { panic!("{runtimes:?}") };
        assert_eq!(broken.name, "docker");
        assert!(broken.why.starts_with("the engine could not be reached: "), "{}", broken.why);
        // A socket without anybody behind it.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let none = Runtimes::check(vec![docker()]).await;
        let why = none.quarantine().unwrap();
        assert!(
            why.starts_with("docker: the engine could not be reached: ") && why.contains("refused"),
            "{why}"
        );
    }
}
