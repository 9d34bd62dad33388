//! The parts that a real executor is put together from, by its settings.

use std::sync::Arc;

use ocelot_core::id::ExecutorId;
use ocelot_core::plan::Resources;

use super::logs::machine_logs;
use super::{Parts, RuntimeChoice, Settings, StartError};
use crate::runtime::docker::{self, Docker};
use crate::runtime::process::Process;
use crate::runtime::{self, Runtime};

pub(super) fn standard(settings: &Settings, executor: ExecutorId) -> Result<Parts, StartError> {
    let data = super::own_directory(&settings.data)?;
    let memory = super::memory_directory(executor)?;
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StartError::Runtime(error);
    let supervisor = runtime::install(&data).map_err(|error| failed(Box::new(error)))?;
    let mut runtimes: Vec<Arc<dyn Runtime>> = Vec::new();
    let (docker, process) = match settings.runtime {
        RuntimeChoice::Docker => (true, settings.allow_process),
        RuntimeChoice::Process => (false, true),
        RuntimeChoice::Auto => (settings.engine.exists(), settings.allow_process),
    };
    if docker {
        let settings = docker::Settings {
            engine: Some(format!("unix://{}", settings.engine.display())),
            executor: executor.to_string(),
            data: data.clone(),
            memory: memory.clone(),
            supervisor: supervisor.clone(),
            defaults: Resources::default(),
        };
        let docker = Docker::connect(settings).map_err(|error| failed(Box::new(error)))?;
        runtimes.push(Arc::new(docker));
    }
    if process {
        runtimes.push(Arc::new(Process::new(&data, supervisor, Resources::default())));
    }
    Ok(Parts::new(runtimes, Box::new(|line, tasks| machine_logs(line, memory, tasks))))
}
