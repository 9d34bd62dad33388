//! Secrets, without their values.

use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope;
use serde::Serialize;

use super::text;
use crate::show::precise;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Secret {
    /// `job NAME`, `project OWNER/NAME` or `organization NAME`.
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) created: Option<String>,
    pub(crate) updated: Option<String>,
    pub(crate) updated_by: Option<String>,
    pub(crate) last_used: Option<String>,
    pub(crate) last_used_by: Option<String>,
    pub(crate) masked: bool,
}

/// Returns whose it is, in words.
pub(crate) fn place(scope: &Scope) -> String {
    match scope {
        Scope::Job(name) => format!("job {name}"),
        Scope::Project(name) => format!("project {name}"),
        Scope::Organization(name) => format!("organization {name}"),
    }
}

impl From<&wire::Secret> for Secret {
    fn from(secret: &wire::Secret) -> Self {
        let scope = secret.scope.as_ref().and_then(|scope| scope.scope.as_ref());
        Self {
            scope: scope.map(place).unwrap_or_default(),
            name: secret.name.clone(),
            created: precise(secret.created_unix_us),
            updated: precise(secret.updated_unix_us),
            updated_by: text(&secret.updated_by),
            last_used: precise(secret.used_unix_us).filter(|_| secret.used_unix_us > 0),
            last_used_by: text(&secret.used_by),
            masked: !secret.short,
        }
    }
}
