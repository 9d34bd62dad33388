//! The one list of the places in a task where `${...}` is replaced.
//!
//! Checking and replacing both walk it, so neither can forget one. A script is not on it.

use ocelot_core::plan::{Ready, Runtime, TaskPlan, Work};

/// A key whose text is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Image,
    Labels,
    Env,
    Command,
    Directory,
    Concurrency,
    Cache,
    Artifacts,
    Services,
    Stages,
    /// A directory of a stage.
    StageDirectory,
}

impl Field {
    pub(crate) const ALL: [Self; 10] = [
        Self::Image,
        Self::Labels,
        Self::Env,
        Self::Command,
        Self::Directory,
        Self::Concurrency,
        Self::Cache,
        Self::Artifacts,
        Self::Services,
        Self::Stages,
    ];

    /// The task's key under which it stands.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Labels => "labels",
            Self::Env => "env",
            Self::Command => "command",
            Self::Directory => "directory",
            Self::Concurrency => "concurrency",
            Self::Cache => "cache",
            Self::Artifacts => "artifacts",
            Self::Services => "services",
            Self::Stages | Self::StageDirectory => "stages",
        }
    }
}

/// Visits each text of a task in which `${...}` is replaced.
pub(crate) fn each(task: &mut TaskPlan, visit: &mut dyn FnMut(Field, &mut String)) {
    if let Runtime::Container { image, .. } = &mut task.environment.runtime {
        visit(Field::Image, image);
    }
    task.labels.iter_mut().for_each(|label| visit(Field::Labels, &mut label.key));
    let environment = &mut task.environment;
    environment.env.values_mut().for_each(|value| visit(Field::Env, value));
    visit(Field::Directory, &mut environment.directory);
    environment.caches.iter_mut().for_each(|cache| visit(Field::Cache, &mut cache.key));
    environment.artifacts.iter_mut().for_each(|artifact| visit(Field::Artifacts, &mut artifact.name));
    for service in &mut environment.services {
        visit(Field::Services, &mut service.image);
        service.env.values_mut().chain(&mut service.command).for_each(|text| visit(Field::Services, text));
        if let Ready::Command { command, .. } = &mut service.ready {
            command.iter_mut().for_each(|text| visit(Field::Services, text));
        }
    }
    if let Some(concurrency) = &mut task.concurrency {
        visit(Field::Concurrency, &mut concurrency.group);
    }
    match &mut task.work {
        Work::Command(command) => command.iter_mut().for_each(|text| visit(Field::Command, text)),
        Work::Stages { stages, .. } => {
            for stage in stages {
                stage.env.values_mut().for_each(|value| visit(Field::Stages, value));
                stage.directory.iter_mut().for_each(|directory| visit(Field::StageDirectory, directory));
            }
        }
    }
}
