//! What a container is made of, as far as a plan says it.
//!
//! Tasks of one shape may have had the same container. Whether one that waits is what a task would get
//! now is seen at its start, where all that is asked of the engine is compared.

use ocelot_core::plan::{Resources, Runtime, SecretDelivery, SecretUse, TaskPlan};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    runtime: Runtime,
    resources: Resources,
    /// Secrets that come as files: each is bound by itself.
    files: Vec<SecretUse>,
}

impl Shape {
    /// Returns the shape of a task for which a container can wait: one that is alone, and needs nothing
    /// that is made for it only.
    pub(super) fn of(plan: &TaskPlan) -> Option<Self> {
        let environment = &plan.environment;
        let Runtime::Container { engine: false, .. } = &environment.runtime else { return None };
        if !environment.services.is_empty() || plan.resources.gpus.is_some_and(|gpus| gpus > 0) {
            return None;
        }
        let is_file = |used: &&SecretUse| match used.delivery {
            SecretDelivery::File(_) | SecretDelivery::Tool(_) => true,
            SecretDelivery::Env(_) | SecretDelivery::Argument(_) => false,
        };
        Some(Self {
            runtime: environment.runtime.clone(),
            resources: plan.resources.clone(),
            files: plan.secret_uses().filter(is_file).cloned().collect(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
    use ocelot_core::plan::{
        Class, Environment, Gate, Keep, Limits, Pull, Ready, Retry, Service, Tolerance, Work,
    };

    use super::*;
    use crate::attempt::AttemptId;
    use crate::attempt::files::Places;
    use crate::attempt::state::BootTime;
    use crate::runtime::{Launch, Mount};

    pub(in super::super) fn shape(image: &str) -> Shape {
        Shape::of(&plan(image)).unwrap()
    }

    fn plan(image: &str) -> TaskPlan {
        let runtime = Runtime::Container {
            image: image.to_owned(),
            pull: Pull::Missing,
            pull_secret: None,
            engine: false,
        };
        TaskPlan {
            name: "t".to_owned(),
            variant: [].into(),
            base: "t".to_owned(),
            fail_fast: false,
            needs: vec![],
            gate: Gate::OnSuccess,
            class: Class::Normal,
            priority: 0,
            labels: vec![],
            resources: Resources::default(),
            limits: Limits {
                timeout: Duration::ZERO,
                queue_timeout: Duration::ZERO,
                quiet_timeout: None,
                grace: Duration::ZERO,
            },
            retry: Retry { limit: 0, on: vec![], exit_codes: vec![], delay: Duration::ZERO },
            allow_failure: Tolerance::None,
            concurrency: None,
            approval: None,
            keep: Keep::Never,
            environment: Environment {
                runtime,
                checkout: None,
                directory: String::new(),
                user: None,
                env: [].into(),
                secrets: vec![],
                services: vec![],
                caches: vec![],
                artifacts: vec![],
            },
            work: Work::Command(vec![]),
        }
    }

    /// What a task is started with in these places.
    pub(in super::super) fn launch(places: &Places, mounts: Vec<Mount>) -> Launch {
        let plan = plan("a");
        let task = TaskId { run: RunId::from_bytes([1; 16]), index: 0 };
        Launch {
            attempt: AttemptId { task, number: Attempt::FIRST, epoch: Epoch(1) },
            environment: plan.environment,
            resources: plan.resources,
            control: places.control(),
            workspace: places.workspace(),
            mounts,
            login: None,
            deadline: BootTime(0),
        }
    }

    #[test]
    fn what_is_given_to_a_stage_makes_no_other_shape_and_what_the_container_is_made_of_does() {
        let same = plan("a");
        let shape = Shape::of(&same).unwrap();
        let with = |change: &dyn Fn(&mut TaskPlan)| {
            let mut plan = same.clone();
            change(&mut plan);
            Shape::of(&plan)
        };
        let secret = |delivery| SecretUse { name: "s".to_owned(), delivery };
        let env = || secret(SecretDelivery::Env("S".to_owned()));
        let file = || secret(SecretDelivery::File("/run/s".to_owned()));
        for change in [
            &|plan: &mut TaskPlan| plan.name = "other".to_owned(),
            &|plan: &mut TaskPlan| drop(plan.environment.env.insert("A".to_owned(), "b".to_owned())),
            &|plan: &mut TaskPlan| plan.environment.user = Some("nobody".to_owned()),
            &|plan: &mut TaskPlan| plan.environment.directory = "sub".to_owned(),
            &|plan: &mut TaskPlan| plan.environment.secrets.push(env()),
        ] as [&dyn Fn(&mut TaskPlan); 5]
        {
            assert_eq!(with(change), Some(shape.clone()));
        }
        for change in [
            &|plan: &mut TaskPlan| plan.resources.memory_bytes = Some(1),
            &|plan: &mut TaskPlan| plan.environment.secrets.push(file()),
            &|plan: &mut TaskPlan| {
                plan.environment.runtime = Runtime::Container {
                    image: "b".to_owned(),
                    pull: Pull::Missing,
                    pull_secret: None,
                    engine: false,
                };
            },
        ] as [&dyn Fn(&mut TaskPlan); 3]
        {
            assert!(with(change).is_some_and(|other| other != shape));
        }
    }

    #[test]
    fn nothing_waits_for_a_task_with_company_or_without_a_container() {
        let mut alone = plan("a");
        alone.environment.runtime = Runtime::Process;
        assert_eq!(Shape::of(&alone), None);
        let mut device = plan("a");
        device.resources.gpus = Some(1);
        assert_eq!(Shape::of(&device), None);
        let mut company = plan("a");
        company.environment.services.push(Service {
            name: "db".to_owned(),
            image: "b".to_owned(),
            env: [].into(),
            command: vec![],
            secrets: vec![],
            pull_secret: None,
            resources: Resources::default(),
            ready: Ready::Started,
        });
        assert_eq!(Shape::of(&company), None);
    }
}
