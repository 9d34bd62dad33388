//! `ocelot project list`: the repositories whose pushes are built.

use serde::Serialize;

use super::Session;
use crate::args::ProjectList;
use crate::error::Result;
use crate::find_project::listed;
use crate::shape;
use crate::show::{Table, Tone, plain};

#[derive(Debug, Serialize)]
struct Projects {
    projects: Vec<shape::Project>,
}

pub(super) async fn run(list: &ProjectList, session: &Session) -> Result<()> {
    let client = session.client()?;
    let pattern = list.pattern.as_deref().unwrap_or_default();
    let projects = listed(&client, pattern, list.group.as_deref().unwrap_or_default()).await?;
    let output = &session.output;
    let shapes = Projects { projects: projects.iter().map(shape::Project::from).collect() };
    if list.names {
        let names: String = projects.iter().map(|project| format!("{}\n", plain(&project.name))).collect();
        return output.result(names, &shapes);
    }
    if projects.is_empty() && !output.is_json() {
        output.note(match (&list.pattern, &list.group) {
            (None, None) => "no projects yet; in a checkout: ocelot project add",
            (Some(_), _) | (_, Some(_)) => "no project fits; see all: ocelot project list",
        });
        return Ok(());
    }
    let head = ["PROJECT", "STATE", "BRANCH", "GROUP", "DELIVERIES", "POLLED"];
    let mut table = Table::new(head, output.style, output.width);
    for project in &projects {
        let state = match (project.enabled, project.trouble.lines().next()) {
            (false, _) => (Tone::Warn, "disabled".to_owned()),
            (true, Some(trouble)) => (Tone::Bad, trouble.to_owned()),
            (true, None) => (Tone::Good, "ok".to_owned()),
        };
        let polled = match project.poll_every_ms {
            0 => (Tone::Dim, "-".to_owned()),
            every => (Tone::Plain, format!("every {}", super::describe::period(every))),
        };
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        table.row([
            (Tone::Strong, project.name.clone()),
            state,
            (Tone::Plain, or_none(&project.default_branch)),
            (Tone::Plain, or_none(&project.group)),
            super::describe::delivered(project, output),
            polled,
        ]);
    }
    output.result(table, &shapes)
}
