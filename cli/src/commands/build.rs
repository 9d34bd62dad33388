//! `ocelot build`: a commit of a project on the fleet. What is not pushed is not there, and that is said
//! before anything starts.

use std::collections::HashMap;
use std::path::Path;

use ocelot_core::id::RunId;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;

use super::execute::{split, to_its_end};
use super::{Session, read};
use crate::args::Build;
use crate::checkout::{Checkout, Pushed};
use crate::client::{Api, Client, Repeat, new_run_id};
use crate::error::{Error, Result, Whose};
use crate::find_project::of_checkout;
use crate::follow::{PenKind, Show};
use crate::shape;
use crate::show::{Tone, plain};
use crate::words::{self, commit};

pub(crate) async fn run(build: &Build, session: &Session) -> Result<()> {
    let env = build.env.iter().map(|pair| split(pair, "--env")).collect::<Result<HashMap<_, _>>>()?;
    let definition = build.config.as_deref().map(text).transpose()?.unwrap_or_default();
    let checkout = Checkout::here();
    let client = session.client()?;
    let project = match &build.project {
        Some(project) => project.clone(),
        None => of_checkout(&client, &checkout).await?.name,
    };
    let own = build.project.is_none() || checkout.project == build.project;
    let wanted = wanted(build, own.then(|| Standing::of(&checkout)).as_ref(), |name| checkout.resolve(name));
    let output = &session.output;
    for warning in &wanted.warnings {
        output.note(format_args!("{} {}", output.notes.paint(Tone::Warn, "note:"), plain(warning)));
    }
    let id = new_run_id(SystemClock.wall())?;
    let request = wire::BuildRequest {
        id: id.as_bytes().to_vec().into(),
        project,
        branch: wanted.branch,
        commit: wanted.commit,
        env,
        definition,
        tag: build.tag.clone().unwrap_or_default(),
    };
    let run = send(&client, id, request).await?;
    session.remember(&client, &run);
    let show = match (build.follow, build.wait) {
        (true, _) if output.is_json() => Show::Log(PenKind::Json),
        (true, _) => Show::Log(PenKind::Lines { timestamps: false }),
        (_, true) => Show::Outcome,
        (false, false) => {
            let name = plain(&words::run_name(&run));
            if !output.is_json() {
                output.note(format_args!("{}\nfollow it: ocelot getlogs -f {name}", of(&run)));
            }
            return output.result(format_args!("{name}\n"), &shape::Run::from(&run));
        }
    };
    if !output.is_json() {
        output.note(of(&run));
    }
    to_its_end(session, &client, run, show).await
}

/// Which run it is, and what of: `acme/shop#7: 1a2b3c4 Mend the cart, by Ada (main)`.
fn of(run: &wire::RunSummary) -> String {
    let name = plain(&words::run_name(run));
    match &run.commit {
        None => name,
        Some(of) => plain(&format!("{name}: {} ({})", commit::line(of), commit::place(of))),
    }
}

/// What the checkout has to say to a build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    branch: Option<String>,
    commit: Option<String>,
    pushed: Pushed,
    uncommitted: usize,
}

impl Standing {
    fn of(checkout: &Checkout) -> Self {
        Self {
            branch: checkout.branch.clone(),
            commit: checkout.commit.clone(),
            pushed: checkout.pushed(),
            uncommitted: checkout.uncommitted(),
        }
    }
}

/// What is asked for; an empty text leaves the choice to the fleet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    branch: String,
    commit: String,
    warnings: Vec<String>,
}

/// Decides what to build. What a person named counts; only what is left open is the checkout's.
fn wanted(
    build: &Build,
    standing: Option<&Standing>,
    resolve: impl FnOnce(&str) -> Option<String>,
) -> Wanted {
    if build.tag.is_some() {
        return Wanted { commit: build.commit.clone().unwrap_or_default(), ..Wanted::default() };
    }
    let own_branch = standing.and_then(|standing| standing.branch.clone());
    if let Some(commit) = &build.commit {
        // An id may be of a commit that is not here.
        let is_id = commit.len() >= 7 && commit.bytes().all(|letter| letter.is_ascii_hexdigit());
        let known = if is_id { None } else { resolve(commit) };
        let branch = build.branch.clone().or(own_branch).unwrap_or_default();
        return Wanted { branch, commit: known.unwrap_or_else(|| commit.clone()), warnings: Vec::new() };
    }
    let Some(standing) = standing else {
        return Wanted { branch: build.branch.clone().unwrap_or_default(), ..Wanted::default() };
    };
    if build.branch.is_some() && build.branch != standing.branch {
        return Wanted { branch: build.branch.clone().unwrap_or_default(), ..Wanted::default() };
    }
    let mut wanted = Wanted { branch: own_branch.unwrap_or_default(), ..Wanted::default() };
    let head = standing.commit.clone().unwrap_or_default();
    let place = match wanted.branch.as_str() {
        "" => "this commit",
        branch => branch,
    };
    match &standing.pushed {
        Pushed::Yes => wanted.commit = head,
        Pushed::Behind { commits, tip } => {
            let count =
                if *commits == 1 { "one commit is".to_owned() } else { format!("{commits} commits are") };
            let tip_short = commit::short(tip);
            wanted.warnings.push(format!(
                "{count} not pushed and not built: {place} stands at {tip_short} there; push first, or run what is here: ocelot local"
            ));
            wanted.commit = tip.clone();
        }
        Pushed::Unknown => {
            wanted.warnings.push(format!(
                "whether {place} was pushed is not known here; if it was not: git push, or run what is here: ocelot local"
            ));
            wanted.commit = head;
        }
    }
    if standing.uncommitted > 0 {
        let count = match standing.uncommitted {
            1 => "one file has changes that are".to_owned(),
            many => format!("{many} files have changes that are"),
        };
        wanted.warnings.push(format!("{count} not committed and not built; run them here: ocelot local"));
    }
    wanted
}

fn text(file: &Path) -> Result<String> {
    String::from_utf8(read(file)?)
        .map_err(|_| Error::Usage { what: format!("{} is not text in UTF-8", file.display()), hint: None })
}

async fn send(client: &Client, id: RunId, request: wire::BuildRequest) -> Result<wire::RunSummary> {
    let project = plain(&request.project);
    let doing = format!("build {project}");
    let call = async |api: Api, request| api.projects().build(request).await;
    match client.call(&doing, Repeat::Safe, request, call).await {
        Ok(answer) => Ok(answer.run.unwrap_or_default()),
        Err(Error::Refused { what, hint: None, whose: Whose::Missing }) => Err(Error::Refused {
            what,
            hint: Some(format!("is it pushed? see the project: ocelot project describe {project}")),
            whose: Whose::Missing,
        }),
        Err(error) => {
            Err(error.maybe("accepted", format_args!("look before you do it again: ocelot status {id}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Build = Build {
        branch: None,
        commit: None,
        tag: None,
        env: Vec::new(),
        config: None,
        project: None,
        follow: false,
        wait: false,
    };

    fn standing(pushed: Pushed, uncommitted: usize) -> Standing {
        Standing { branch: Some("topic".into()), commit: Some("a".repeat(40)), pushed, uncommitted }
    }

    fn said(build: &Build, standing: Option<&Standing>) -> String {
        let wanted = wanted(build, standing, |name| (name == "HEAD~1").then(|| "b".repeat(40)));
        let short = |text: &str| if text.is_empty() { "-".to_owned() } else { commit::short(text) };
        let mut lines = format!("{} {}", short(&wanted.branch), short(&wanted.commit));
        wanted.warnings.iter().for_each(|warning| lines.push_str(&format!("\n  {warning}")));
        lines
    }

    #[test]
    fn what_is_not_named_is_the_checkouts_and_what_is_not_pushed_is_said() {
        let ahead = |commits| Pushed::Behind { commits, tip: "c".repeat(40) };
        let named = |name: &str| Build { branch: Some(name.into()), ..NOTHING };
        let at = |name: &str| Build { commit: Some(name.into()), ..NOTHING };
        let detached = Standing { branch: None, ..standing(Pushed::Yes, 0) };
        let all = [
            said(&NOTHING, Some(&standing(Pushed::Yes, 0))),
            said(&NOTHING, Some(&standing(ahead(1), 1))),
            said(&NOTHING, Some(&standing(ahead(3), 2))),
            said(&NOTHING, Some(&standing(Pushed::Unknown, 0))),
            said(&NOTHING, Some(&detached)),
            said(&NOTHING, None),
            said(&named("topic"), Some(&standing(Pushed::Yes, 1))),
            said(&named("main"), Some(&standing(ahead(3), 2))),
            said(&at("HEAD~1"), Some(&standing(ahead(3), 2))),
            said(&at("deadbeef"), Some(&standing(Pushed::Yes, 0))),
            said(&Build { tag: Some("v1".into()), ..NOTHING }, Some(&standing(ahead(3), 2))),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        topic aaaaaaa
        topic ccccccc
          one commit is not pushed and not built: topic stands at ccccccc there; push first, or run what is here: ocelot local
          one file has changes that are not committed and not built; run them here: ocelot local
        topic ccccccc
          3 commits are not pushed and not built: topic stands at ccccccc there; push first, or run what is here: ocelot local
          2 files have changes that are not committed and not built; run them here: ocelot local
        topic aaaaaaa
          whether topic was pushed is not known here; if it was not: git push, or run what is here: ocelot local
        - aaaaaaa
        - -
        topic aaaaaaa
          one file has changes that are not committed and not built; run them here: ocelot local
        main -
        topic bbbbbbb
        topic deadbee
        - -
        ");
    }
}
