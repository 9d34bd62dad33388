//! `ocelot project describe`: its settings, its webhook, the newest run of each branch.

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::ProjectName;
use crate::commands::field;
use crate::error::Result;
use crate::find_project::{described, named};
use crate::shape;
use crate::show::{Output, Table, Tone, duration, plain};
use crate::words::{self, commit};

#[derive(Debug, Serialize)]
struct Described {
    project: shape::Project,
    /// Newest run of each branch.
    branches: Vec<shape::Run>,
}

pub(super) async fn run(name: &ProjectName, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = named(&client, name.project.as_deref()).await?;
    let found = described(&client, &name).await?;
    let project = found.project.unwrap_or_default();
    let output = &session.output;
    let mut text = settings(&project, output);
    text.push_str(&standing(&project, output));
    if !found.branches.is_empty() {
        text.push_str(&format!("\n{}", branches(&found.branches, output)));
    }
    let runs = found.branches.iter().map(shape::Run::from).collect();
    output.result(text, &Described { project: shape::Project::from(&project), branches: runs })?;
    if found.branches.is_empty() && !output.is_json() {
        output.note(format_args!("nothing was built yet: ocelot build --follow --project {}", plain(&name)));
    }
    Ok(())
}

/// Says what an operator decided.
pub(super) fn settings(project: &wire::Project, output: &Output) -> String {
    let field = |title, value| field(title, value, output);
    let mut text = field("Project", output.style.paint(Tone::Strong, plain(&project.name)).to_string());
    let forge = match project.forge.as_str() {
        "" => String::new(),
        forge => format!(", {}", super::hook::forge_name(forge)),
    };
    text += &field("Repository", format!("{}{}", plain(&project.url), plain(&forge)));
    if !project.default_branch.is_empty() {
        text += &field("Branch", plain(&project.default_branch));
    }
    if !project.group.is_empty() {
        text += &field("Group", plain(&project.group));
    }
    if !project.enabled {
        text += &field("State", output.style.paint(Tone::Warn, "disabled: it makes no runs").to_string());
    }
    if !project.hook_url.is_empty() {
        text += &field("Webhook", plain(&project.hook_url));
    }
    let poll = match project.poll_every_ms {
        0 => "only when asked".to_owned(),
        every => format!("every {}", period(every)),
    };
    text += &field("Polled", poll);
    if project.retention_ms > 0 {
        text += &field("Keeps", format!("runs, logs and artifacts for {}", period(project.retention_ms)));
    }
    for (title, secret) in [("Git secret", &project.git_secret), ("Forge token", &project.forge_secret)] {
        if !secret.is_empty() {
            text += &field(title, format!("the secret {}", plain(secret)));
        }
    }
    if project.builds_forks {
        text += &field("Forks", "their pull requests are built, without secrets".to_owned());
    }
    text
}

/// Says how it fares: deliveries, looks, trouble.
fn standing(project: &wire::Project, output: &Output) -> String {
    let field = |title, value| field(title, value, output);
    let times = &output.times;
    let mut text = field("Deliveries", delivered(project, output).1);
    if project.polled_unix_us > 0 {
        text += &field("Looked at", times.ago(project.polled_unix_us));
    }
    if !project.trouble.is_empty() {
        let lines: Vec<String> = project.trouble.lines().map(plain).collect();
        text += &field("Trouble", output.style.paint(Tone::Bad, lines.join("\n            ")).to_string());
    }
    let by = match project.updated_by.as_str() {
        "" => String::new(),
        by => format!(" by {}", plain(by)),
    };
    let mut added = times.ago(project.created_unix_us);
    if project.updated_unix_us > project.created_unix_us {
        added += &format!(", changed {}", times.ago(project.updated_unix_us));
    }
    text + &field("Added", added + &by)
}

/// Says whether the forge tells of pushes, and when it last did.
pub(super) fn delivered(project: &wire::Project, output: &Output) -> (Tone, String) {
    match (project.hook_seen_unix_us, project.hook_registered) {
        (0, _) if project.hook_url.is_empty() => (Tone::Dim, "no webhook".to_owned()),
        (0, true) => (Tone::Warn, "registered, none came yet".to_owned()),
        (0, false) => (Tone::Warn, "none came yet".to_owned()),
        (seen, _) => (Tone::Good, format!("last {}", output.times.ago(seen))),
    }
}

/// Says a period that somebody chose, as they would.
pub(super) fn period(ms: u64) -> String {
    const DAY: u64 = 86_400_000;
    match ms {
        0 => "none".to_owned(),
        ms if ms % DAY == 0 => format!("{}d", ms / DAY),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms => duration(i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX)),
    }
}

fn branches(runs: &[wire::RunSummary], output: &Output) -> Table {
    let head = ["BRANCH", "RUN", "STATE", "ACCEPTED", "COMMIT", "SUBJECT"];
    let mut table = Table::new(head, output.style, output.width);
    for run in runs {
        let (tone, word) = words::run_word(run);
        let of = run.commit.as_ref();
        table.row([
            (Tone::Strong, of.map(commit::place).unwrap_or_default()),
            (Tone::Plain, words::run_name(run)),
            (tone, word.to_owned()),
            (Tone::Plain, output.times.ago(run.accepted_unix_us)),
            (Tone::Dim, of.map(|of| commit::short(&of.id)).unwrap_or_default()),
            (Tone::Plain, of.map(|of| of.subject.clone()).unwrap_or_default()),
        ]);
    }
    table
}
