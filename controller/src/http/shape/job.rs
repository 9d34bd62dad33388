//! Jobs.

use serde::Serialize;
use utoipa::ToSchema;

use super::{stamped, text};
use crate::records::JobRecord;

/// One job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Job {
    name: String,
    version: u32,
    description: Option<String>,
    arguments: Vec<Argument>,
    authorized_groups: Vec<String>,
    created: Option<String>,
    updated: Option<String>,
    updated_by: Option<String>,
}

/// What an execution of a job may be given.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Argument {
    name: String,
    description: Option<String>,
    required: bool,
    default: Option<String>,
    secret: bool,
    choices: Vec<String>,
    pattern: Option<String>,
}

/// One page of jobs, by name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct JobPage {
    pub(in crate::http) jobs: Vec<Job>,
    /// There is another page.
    pub(in crate::http) more: bool,
    /// The `page_token` of the next page.
    pub(in crate::http) next_page_token: Option<String>,
}

impl From<&JobRecord> for Job {
    fn from(job: &JobRecord) -> Self {
        let current = job.current();
        // A text that an older program took and this one does not is shown without its parts.
        let parsed = ocelot_spec::Job::parse(&job.name, current.text.as_bytes()).ok();
        let arguments = parsed.iter().flat_map(|job| &job.args).map(|arg| Argument {
            name: arg.name.clone(),
            description: text(&arg.description),
            required: arg.required,
            default: arg.default.clone(),
            secret: arg.secret,
            choices: arg.choices.clone(),
            pattern: arg.pattern.clone(),
        });
        Self {
            name: job.name.clone(),
            version: current.version,
            description: parsed.as_ref().and_then(|job| text(&job.description)),
            arguments: arguments.collect(),
            created: job.versions.iter().find(|one| one.version == 1).and_then(|one| stamped(one.at)),
            updated: stamped(current.at),
            updated_by: text(&current.by.0),
            authorized_groups: parsed.map(|job| job.authorized_groups).unwrap_or_default(),
        }
    }
}
