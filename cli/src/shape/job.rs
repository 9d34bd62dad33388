//! Jobs.

use ocelot_proto::wire;
use serde::Serialize;

use super::text;
use crate::show::precise;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) description: Option<String>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) authorized_groups: Vec<String>,
    pub(crate) created: Option<String>,
    pub(crate) updated: Option<String>,
    pub(crate) updated_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) definition: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) required: bool,
    pub(crate) default: Option<String>,
    pub(crate) secret: bool,
    pub(crate) choices: Vec<String>,
    pub(crate) pattern: Option<String>,
}

impl From<&wire::Job> for Job {
    fn from(job: &wire::Job) -> Self {
        Self {
            name: job.name.clone(),
            version: job.version,
            description: text(&job.description),
            arguments: job.arguments.iter().map(Argument::from).collect(),
            authorized_groups: job.authorized_groups.clone(),
            created: precise(job.created_unix_us),
            updated: precise(job.updated_unix_us),
            updated_by: text(&job.updated_by),
            definition: None,
        }
    }
}

impl From<&wire::Argument> for Argument {
    fn from(argument: &wire::Argument) -> Self {
        Self {
            name: argument.name.clone(),
            description: text(&argument.description),
            required: argument.required,
            default: argument.default.clone(),
            secret: argument.secret,
            choices: argument.choices.clone(),
            pattern: text(&argument.pattern),
        }
    }
}
