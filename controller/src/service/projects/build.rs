//! A run that a person asks for: of a branch, a tag or a commit.
//!
//! The request's id is the run's id. Whether the commit is the project's own is found out from its
//! branches: servers give away the commits of forks under their ids, too.

use std::collections::BTreeMap;

use ocelot_core::id::RunId;
use ocelot_forge::event::CommitId as Told;
use ocelot_git::{CommitId, Mirror, Reference, Want};
use ocelot_spec::{Context, Event};

use super::decide::short;
use super::definition::{FILE, Judged, judge};
use super::facts::{self, File, Trouble};
use crate::records::{Digest, ProjectName, ProjectRecord, SourceRecord, Subject, Trigger, Trust};
use crate::service::accept::{Draft, PlanFor};
use crate::service::error::{Error, Result};
use crate::service::secrets::Values;
use crate::service::{Executed, Service};

/// A run that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// Made and kept by the client before it sends.
    pub id: RunId,
    pub project: ProjectName,
    /// None: the default branch.
    pub branch: Option<String>,
    /// The whole id of a commit, or a beginning that fits one; none: the branch's head.
    pub commit: Option<String>,
    /// A tag in the place of a branch.
    pub tag: Option<String>,
    pub env: BTreeMap<String, String>,
    /// A text in the place of the commit's own file.
    pub definition: Option<String>,
    pub trigger: Trigger,
}

/// What a request turned out to mean.
struct Meant {
    commit: CommitId,
    reference: Reference,
    event: Event,
    trust: Trust,
}

impl BuildRequest {
    fn payload(&self) -> Digest {
        let Self { project, branch, commit, tag, env, definition, .. } = self;
        let asked = ("build", project, branch, commit, tag, env, definition);
        Digest::of(&serde_json::to_vec(&asked).expect("texts can be written to memory"))
    }
}

impl Service {
    /// Accepts a run of a project's commit.
    pub async fn build(&self, request: BuildRequest) -> Result<Executed> {
        let payload = request.payload();
        if let Some(run) = self.accepted(request.id, payload).await? {
            return Ok(Executed { run, existed: true });
        }
        self.check_room()?;
        let project = self.project(&request.project).await?;
        if !project.enabled {
            return Err(Error::Conflict { why: format!("{} is disabled", project.name) });
        }
        let mirror = self.mirror_of(&project).await.map_err(refused)?;
        let meant = meant(&mirror, &project, &request).await?;
        let said = mirror.commit(&meant.commit).await.map_err(|error| refused(error.into()))?;
        let mut facts = facts::facts(&mirror, said, async { Ok(None) }).await.map_err(refused)?;
        if let Some(definition) = &request.definition {
            facts.file = File::Text(definition.clone().into_bytes());
        }
        let text = match facts.file {
            File::Text(text) => text,
            File::None => {
                let why = format!("there is no {FILE} at {}", short(facts.commit.as_str()));
                return Err(Error::Invalid { why });
            }
            File::Wrong(why) => return Err(Error::Invalid { why }),
        };
        let head = match meant.event.branch() {
            Some(_) => self.head(&project.name, meant.reference.as_str()).await?,
            None => None,
        };
        let source = SourceRecord {
            url: project.url.clone(),
            commit: facts.commit.to_string(),
            reference: meant.reference.to_string(),
            event: meant.event,
            message: facts.message,
            author: facts.author,
            previous_success: head.and_then(|(head, _)| Some(head.success?.commit)),
            trust: meant.trust,
        };
        let context = Context {
            event: source.event.clone(),
            commit: source.commit.clone(),
            message: source.message.clone(),
            changed: None,
            project: project.name.to_string(),
            run_number: 0,
            env: request.env,
        };
        let group = project.group;
        let plan_for: PlanFor = Box::new(move |run_number| {
            let context = Context { run_number, ..context.clone() };
            match judge(&text, &context, group.as_deref()) {
                Judged::Run(plan) => Ok((plan, Values::new())),
                Judged::NoRun(why) | Judged::Wrong(why) => Err(Error::Invalid { why }),
            }
        });
        let draft = Draft {
            id: request.id,
            payload,
            subject: Subject::Project { name: project.name.to_string() },
            trigger: request.trigger,
            retry: None,
            source: Some(source),
            rejected: None,
        };
        self.accept_with_secrets(draft, plan_for).await
    }
}

/// Finds the commit that a request means.
async fn meant(mirror: &Mirror, project: &ProjectRecord, request: &BuildRequest) -> Result<Meant> {
    let (reference, event) = match (&request.tag, &request.branch) {
        (Some(_), Some(_)) => {
            return Err(Error::Invalid { why: "a run is of a branch or of a tag, not of both".into() });
        }
        (Some(tag), None) => (Reference::tag(tag), Event::Manual { branch: None, tag: Some(tag.clone()) }),
        (None, branch) => {
            let branch = branch.clone().unwrap_or_else(|| project.default_branch.clone());
            (Reference::branch(&branch), Event::Manual { branch: Some(branch), tag: None })
        }
    };
    let reference = reference.map_err(Error::invalid)?;
    let fetched = mirror.fetch(&[Want::Reference(reference.clone())]).await;
    fetched.map_err(|error| refused(error.into()))?;
    let tip = mirror.resolve(&reference).await.map_err(|error| refused(error.into()))?;
    let tip = tip.ok_or_else(|| Error::Conflict { why: format!("there is no {reference}") })?;
    let commit = match &request.commit {
        None => tip.clone(),
        Some(text) => commit_of(mirror, text, &reference).await?,
    };
    let is_own = mirror.is_ancestor(&commit, &tip).await.map_err(|error| refused(error.into()))?;
    let trust = if is_own { Trust::Own } else { Trust::Fork };
    Ok(Meant { commit, reference, event, trust })
}

async fn commit_of(mirror: &Mirror, text: &str, reference: &Reference) -> Result<CommitId> {
    let told = Told::new(text).map_err(Error::invalid)?;
    if told.is_whole() {
        return facts::obtain(mirror, &told, reference).await.map(|said| said.id).map_err(refused);
    }
    let fits = mirror.commits_beginning(told.as_str()).await.map_err(|error| refused(error.into()))?;
    match &fits[..] {
        [commit] => Ok(commit.clone()),
        [] => Err(Error::Conflict { why: format!("no commit of {reference} begins with {told}") }),
        [_, _, ..] => {
            Err(Error::Conflict { why: format!("{told} begins more than one commit; give more of it") })
        }
    }
}

fn refused(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Ours(error) => error,
        Trouble::Repository(why) | Trouble::Branch(why) | Trouble::Gone(why) => Error::Conflict { why },
    }
}
