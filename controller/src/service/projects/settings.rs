//! What operators decide about projects: put, shown, listed, removed.

use std::ops::Bound;
use std::time::Duration;

use ocelot_domain::outcome::Actor;
use ocelot_forge::Forge;
use ocelot_git::{Allowed, Kind, Reference, RepositoryUrl};
use ocelot_spec::Glob;
use zeroize::Zeroizing;

use super::facts;
use super::hook::LeftToDo;
use crate::records::{ForgeLink, HookRecord, LookRecord, ProjectName, ProjectRecord, RunRecord, Stored};
use crate::seal::Sealed;
use crate::service::Service;
use crate::service::error::{Error, Result, What};
use crate::service::jobs::{PAGE_MAX, settled};
use crate::store::keys::Folder;
use crate::store::update::Edit;
use crate::store::view::Entry;

/// Looks at a repository are no nearer to each other.
const POLL_LEAST_MS: u64 = 5_000;
/// How long a new project's repository is asked for its default branch.
const ASK: Duration = Duration::from_secs(15);
const NAME_MAX: usize = 63;
/// Branches that are shown with their newest runs.
const BRANCHES_SHOWN: usize = 50;

/// What an operator changes; what is none stays, or takes its default in a new project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectChange {
    pub url: Option<String>,
    /// A forge's word; empty for a plain git host.
    pub forge: Option<String>,
    pub default_branch: Option<String>,
    /// Empty for none; so with the secrets.
    pub group: Option<String>,
    pub enabled: Option<bool>,
    /// 0 for the fleet's.
    pub retention_ms: Option<u64>,
    /// 0 for only when asked.
    pub poll_every_ms: Option<u64>,
    pub git_secret: Option<String>,
    pub forge_secret: Option<String>,
    pub builds_forks: Option<bool>,
}

/// A project as it was put.
#[derive(Debug, Clone)]
pub struct PutProject {
    pub project: ProjectRecord,
    /// It was not so already.
    pub changed: bool,
    /// The webhook's secret, this once, if it was made.
    pub hook_secret: Option<Zeroizing<String>>,
    pub left_to_do: LeftToDo,
}

/// Which projects are wanted.
#[derive(Debug, Clone, Default)]
pub struct ProjectFilter {
    pub name: Option<Glob>,
    pub group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPage {
    pub projects: Vec<ProjectRecord>,
    /// The name after which the next page begins; none on the last.
    pub next: Option<ProjectName>,
}

/// A project with what is shown beside its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenProject {
    pub look: Option<LookRecord>,
    pub trouble: Option<String>,
    /// The newest run of each branch, the newest first.
    pub branches: Vec<RunRecord>,
}

impl Service {
    /// Adds a project or changes one. The same again changes nothing.
    pub async fn put_project(
        &self,
        name: &ProjectName,
        mut change: ProjectChange,
        (create, hook): (bool, bool),
        by: &Actor,
    ) -> Result<PutProject> {
        let known = self.project_if_there(name).await?;
        if let Some(url) = &change.url {
            change.url = Some(self.address(url)?);
        }
        let mut left_to_do = LeftToDo::new();
        if known.is_none() && change.default_branch.is_none() {
            match self.ask_default_branch(name, &change).await {
                Ok(branch) => change.default_branch = branch,
                Err(why) => left_to_do.push(format!("the repository could not be read yet: {why}")),
            }
        }
        let wants_secret = hook && known.as_ref().is_none_or(|known| known.hook.is_none());
        let secret = wants_secret.then(|| self.hook_secret());
        let sealed = secret.as_ref().map(|secret| self.seal_hook(name, secret)).transpose()?;
        let (mut put, mut changed, mut took_secret) = (None, false, false);
        let key = name.key().to_string();
        let updated = self.updater.update(&key, |known: Option<ProjectRecord>| {
            if create && known.is_some() {
                return Err(Error::AlreadyExists { what: What::Project, name: name.to_string() });
            }
            let next = self.changed(name, known.as_ref(), &change, by)?;
            let next = with_hook(next, sealed.as_ref());
            took_secret = sealed.is_some() && known.as_ref().is_none_or(|known| known.hook.is_none());
            changed = known.as_ref() != Some(&next);
            put = Some(next.clone());
            Ok(if changed { Edit::Put(next) } else { Edit::Keep })
        });
        settled(updated.await)?;
        let mut project = put.ok_or(Error::NotNow { why: "the project was not written" })?;
        if hook && project.hook.as_ref().is_some_and(|hook| hook.registered.is_none()) {
            let (is_there, why) = self.register_hook(&project).await;
            left_to_do.extend(why);
            if is_there {
                // The forge has the secret, and nobody else needs it.
                (took_secret, project) = (false, self.project(name).await?);
            } else {
                left_to_do.extend(self.hook_left_to_do(&project, took_secret));
            }
        }
        let hook_secret = secret.filter(|_| took_secret);
        Ok(PutProject { project, changed, hook_secret, left_to_do })
    }

    /// Removes a project; its runs and their logs stay. Returns what is left to do, and none if there
    /// is no such project.
    pub async fn remove_project(&self, name: &ProjectName) -> Result<Option<LeftToDo>> {
        let mut removed = None;
        let key = name.key().to_string();
        let updated = self.updater.update(&key, |known: Option<ProjectRecord>| {
            removed = known;
            Ok::<_, Error>(if removed.is_some() { Edit::Delete } else { Edit::<ProjectRecord>::Keep })
        });
        settled(updated.await)?;
        let Some(project) = removed else { return Ok(None) };
        // What is left over is swept later, if this does not get to its end.
        self.forget_remains(name).await?;
        let is_gone = self.unregister_hook(&project).await;
        let hook = project.hook.as_ref().filter(|_| !is_gone);
        let left = hook.map(|_| {
            format!("remove the webhook to {} from the repository's settings", self.hook_url(&project))
        });
        Ok(Some(left.into_iter().collect()))
    }

    /// Lists projects by name, from the one after `after`, as the view has them.
    pub fn projects(&self, filter: &ProjectFilter, after: Option<&ProjectName>, limit: usize) -> ProjectPage {
        let folder = Folder::Projects.to_string();
        let start = match after {
            Some(name) => Bound::Excluded(name.key().to_string()),
            None => Bound::Included(folder.clone()),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let wanted = |project: &ProjectRecord| {
            filter.name.as_ref().is_none_or(|glob| glob.matches(project.name.as_str()))
                && filter.group.as_ref().is_none_or(|group| project.group.as_ref() == Some(group))
        };
        let mut projects: Vec<ProjectRecord> = self.view.read(|items| {
            let items = items.range((start, Bound::Unbounded));
            let items = items.take_while(|(key, _)| key.starts_with(&folder));
            let projects = items.filter_map(|(_, entry)| entry.known()?.project());
            projects.filter(|project| wanted(project)).take(limit + 1).cloned().collect()
        });
        let more = projects.len() > limit;
        projects.truncate(limit);
        let next = projects.last().filter(|_| more).map(|project| project.name.clone());
        ProjectPage { projects, next }
    }

    /// Returns what is shown beside a project's settings, as the view has it.
    pub fn see_project(&self, name: &ProjectName, with_branches: bool) -> SeenProject {
        let look = self.last_look(name);
        let folder = name.events_folder();
        let waits = self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            items.filter_map(|(_, entry)| trouble_of(entry)).next()
        });
        let trouble = look
            .as_ref()
            .and_then(|look| look.trouble.clone())
            .or(waits)
            .or_else(|| self.word_back_trouble(name));
        let branches = if with_branches { self.newest_of_branches(name) } else { Vec::new() };
        SeenProject { look, trouble, branches }
    }

    fn newest_of_branches(&self, name: &ProjectName) -> Vec<RunRecord> {
        let folder = Folder::Runs.to_string();
        let mut newest: std::collections::BTreeMap<String, RunRecord> = std::collections::BTreeMap::new();
        self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            for run in items.filter_map(|(_, entry)| entry.known()?.run()) {
                if run.subject.name() != name.as_str() {
                    continue;
                }
                let Some(branch) = run.source.as_ref().and_then(|source| source.event.branch()) else {
                    continue;
                };
                let known = newest.get(branch);
                if known.is_none_or(|known| known.number < run.number) {
                    newest.insert(branch.to_owned(), run.clone());
                }
            }
        });
        let mut newest: Vec<RunRecord> = newest.into_values().collect();
        newest.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
        newest.truncate(BRANCHES_SHOWN);
        newest
    }

    /// Returns the record as an operator wants it.
    fn changed(
        &self,
        name: &ProjectName,
        known: Option<&ProjectRecord>,
        change: &ProjectChange,
        by: &Actor,
    ) -> Result<ProjectRecord> {
        let now = self.timestamp();
        let mut next = match (known, &change.url) {
            (Some(known), _) => known.clone(),
            (None, Some(url)) => new_project(name, url, now, by),
            (None, None) => {
                return Err(Error::Invalid { why: format!("{name} is new: say the URL of its repository") });
            }
        };
        apply(&mut next, change)?;
        if known.is_some_and(|known| *known != next) {
            (next.updated_at, next.updated_by) = (now, by.clone());
        }
        Ok(next)
    }

    fn address(&self, url: &str) -> Result<String> {
        let parsed = match self.mirrors() {
            Ok(mirrors) => mirrors.address(url),
            Err(_) => RepositoryUrl::parse_with(url, Allowed::default()),
        };
        Ok(parsed.map_err(Error::invalid)?.as_str().to_owned())
    }

    /// Asks a repository for its default branch.
    async fn ask_default_branch(
        &self,
        name: &ProjectName,
        change: &ProjectChange,
    ) -> std::result::Result<Option<String>, String> {
        let (Some(url), Ok(mirrors)) = (&change.url, self.mirrors()) else { return Ok(None) };
        let now = self.timestamp();
        let mut project = new_project(name, url, now, &Actor(String::new()));
        apply(&mut project, change).map_err(|error| error.to_string())?;
        let asked = async {
            let url = mirrors.address(url).map_err(|error| facts::Trouble::Repository(error.to_string()))?;
            let credentials = self.opens(&project).await?.map(|opens| opens.to_git()).unwrap_or_default();
            Ok::<_, facts::Trouble>(mirrors.ask(&url, &credentials).await?)
        };
        let asked =
            tokio::time::timeout(ASK, asked).await.map_err(|_| "it did not answer in time".to_owned())?;
        let advertised = asked.map_err(|trouble| facts::told_of(name, &trouble))?;
        Ok(advertised.head.and_then(|head| match head.kind() {
            Kind::Branch(branch) => Some(branch.to_owned()),
            Kind::Tag(_) | Kind::PullRequest(_) | Kind::Change(_) => None,
        }))
    }
}

fn new_project(
    name: &ProjectName,
    url: &str,
    now: ocelot_domain::task::state::Timestamp,
    by: &Actor,
) -> ProjectRecord {
    ProjectRecord {
        name: name.clone(),
        url: url.to_owned(),
        forge: forge_of_host(url).map(|kind| ForgeLink { kind, repository: None, api: None }),
        default_branch: "main".into(),
        group: None,
        enabled: true,
        retention_ms: None,
        poll_every_ms: None,
        git_secret: None,
        forge_secret: None,
        builds_forks: false,
        hook: None,
        created_at: now,
        updated_at: now,
        updated_by: by.clone(),
    }
}

/// Returns the forge whose public home a repository is in.
fn forge_of_host(url: &str) -> Option<Forge> {
    let url = RepositoryUrl::parse(url).ok()?;
    match url.host()? {
        "github.com" => Some(Forge::GitHub),
        "gitlab.com" => Some(Forge::GitLab),
        "bitbucket.org" => Some(Forge::Bitbucket),
        "codeberg.org" => Some(Forge::Gitea),
        _elsewhere => None,
    }
}

fn apply(project: &mut ProjectRecord, change: &ProjectChange) -> Result<()> {
    if let Some(url) = &change.url
        && *url != project.url
    {
        project.url.clone_from(url);
        // Another address may be another repository: its id is learnt anew.
        project.forge = project.forge.take().map(|link| ForgeLink { repository: None, ..link });
    }
    if let Some(word) = &change.forge {
        let kind: Option<Forge> =
            if word.is_empty() { None } else { Some(word.parse().map_err(Error::invalid)?) };
        if project.forge.as_ref().map(|link| link.kind) != kind {
            project.forge = kind.map(|kind| ForgeLink { kind, repository: None, api: None });
        }
    }
    if let Some(branch) = &change.default_branch {
        Reference::branch(branch).map_err(Error::invalid)?;
        project.default_branch.clone_from(branch);
    }
    if let Some(enabled) = change.enabled {
        project.enabled = enabled;
    }
    if let Some(builds) = change.builds_forks {
        project.builds_forks = builds;
    }
    if let Some(ms) = change.retention_ms {
        project.retention_ms = (ms > 0).then_some(ms);
    }
    if let Some(ms) = change.poll_every_ms {
        if (1..POLL_LEAST_MS).contains(&ms) {
            let why =
                format!("a repository is looked at every {POLL_LEAST_MS} ms at most, not every {ms} ms");
            return Err(Error::Invalid { why });
        }
        project.poll_every_ms = (ms > 0).then_some(ms);
    }
    for (kept, given) in [
        (&mut project.group, &change.group),
        (&mut project.git_secret, &change.git_secret),
        (&mut project.forge_secret, &change.forge_secret),
    ] {
        if let Some(given) = given {
            *kept = named(given)?;
        }
    }
    Ok(())
}

/// Reads a name that may be empty, which means none.
fn named(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if text.len() <= NAME_MAX && text.chars().all(is_plain) {
        return Ok(Some(text.to_owned()));
    }
    let why = format!("{text:?} is no name: 1 to {NAME_MAX} letters, digits, `.`, `_` or `-`");
    Err(Error::Invalid { why })
}

fn with_hook(project: ProjectRecord, sealed: Option<&Sealed>) -> ProjectRecord {
    let hook = project.hook.clone().or_else(|| {
        let current = sealed?.clone();
        Some(HookRecord { current, previous: None, registered: None, seen_at: None })
    });
    ProjectRecord { hook, ..project }
}

fn trouble_of(entry: &Entry<Stored>) -> Option<String> {
    match &entry.known()?.event()?.decision {
        crate::records::EventDecision::Pending { trouble, .. } => trouble.clone(),
        crate::records::EventDecision::Run { .. }
        | crate::records::EventDecision::Ignored { .. }
        | crate::records::EventDecision::Rejected { .. } => None,
    }
}
