//! `ocelot doctor`: what this command needs, from its configuration to the fleet's versions.

use std::path::Path;

use ocelot_executor::doctor::engine;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::kit::doctor::judge::{self, Rights};
use ocelot_proto::kit::doctor::moment;
use ocelot_proto::kit::doctor::{Finding, Report, Verdict};
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;

use super::Session;
use crate::client::{Api, Client, Repeat, ask_ready};
use crate::config::{Source, Target, Trust, Url, resolve};
use crate::error::{Error, Result};
use crate::show::{Tone, plain};

/// Nobody else may read a token.
const ALL: u32 = 0o077;

pub(crate) async fn run(session: &Session) -> Result<()> {
    let mut report = Report::default();
    configuration(&mut report, session);
    match resolve(&session.wanted, &session.environment) {
        Ok(target) => fleet(&mut report, target, session).await,
        Err(error) => {
            let mend = error.hint().unwrap_or_else(|| "ocelot up".to_owned());
            report.add(Finding::fail("fleet", error.to_string(), mend));
        }
    }
    let git = ocelot_git::Git::installed().await;
    let git = git.map(|git| (git.to_string(), git.advice())).map_err(|error| chain(&error).to_string());
    report.add(judge::git(git));
    report.add(Box::pin(containers(&session.environment.engine_socket())).await);
    let output = &session.output;
    output.result(coloured(&report, session), &report)?;
    if report.has_failed() { Err(Error::Sick) } else { Ok(()) }
}

/// Gives each verdict its colour.
fn coloured(report: &Report, session: &Session) -> String {
    let tone = |verdict| match verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Warn => Tone::Busy,
        Verdict::Fail => Tone::Bad,
    };
    let all = [Verdict::Ok, Verdict::Warn, Verdict::Fail];
    let paint = |line: &str| {
        let verdict = all.into_iter().find(|verdict| line.starts_with(&format!("{:<4}  ", verdict.word())));
        match verdict {
            Some(verdict) => {
                let word = session.output.style.paint(tone(verdict), verdict.word());
                let room = " ".repeat(4 - verdict.word().len());
                format!("{word}{room}{}\n", &line[4..])
            }
            None => format!("{line}\n"),
        }
    };
    report.to_string().lines().map(paint).collect()
}

/// The file with the contexts holds tokens.
fn configuration(report: &mut Report, session: &Session) {
    use std::os::unix::fs::MetadataExt;
    let Some(file) = session.environment.config_file() else {
        let says = "no home directory is known: contexts cannot be kept";
        return report.add(Finding::warn("configuration", says, "export HOME=~"));
    };
    let shown = file.display().to_string();
    report.add(match std::fs::metadata(&file) {
        Ok(found) => {
            let rights = Rights { mode: found.mode(), owner: found.uid() };
            judge::private("configuration", &shown, rights, rustix::process::geteuid().as_raw(), ALL)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok("configuration", format!("no contexts are kept in {shown}"))
        }
        Err(error) => Finding::fail("configuration", format!("{shown}: {error}"), format!("ls -l {shown}")),
    });
}

async fn fleet(report: &mut Report, target: Target, session: &Session) {
    let said = match &target.source {
        Source::Server => "--server or OCELOT_SERVER".to_owned(),
        Source::Context(name) => format!("the context {name}"),
        Source::Up { pid } => format!("the `ocelot up` that runs here, process {pid}"),
    };
    let urls: Vec<String> = target.urls.iter().map(Url::to_string).collect();
    report.add(Finding::ok("fleet", format!("{}, says {said}", urls.join(", "))));
    let mut answered = false;
    for url in &target.urls {
        answered |= controller(report, url, &target.trust, !answered).await;
    }
    if !answered {
        return;
    }
    match versions(target, session).await {
        Ok(fleet) => of_versions(report, &fleet),
        Err(error) => {
            let mend = error.hint().unwrap_or_else(|| "ocelot config show".to_owned());
            report.add(Finding::fail("token", error.to_string(), mend));
        }
    }
}

/// Looks at one controller; the first that answers also tells the time. Returns whether it answered.
async fn controller(report: &mut Report, url: &Url, trust: &Trust, first: bool) -> bool {
    let asked = SystemClock.monotonic();
    let looked = match ask_ready(url, trust).await {
        Ok(looked) => looked,
        Err(error) => {
            let mend = format!("curl -kv {url}/readyz");
            report.add(Finding::fail("controller", format!("{error}"), mend).or("ocelot config show"));
            return false;
        }
    };
    let way = (SystemClock.monotonic() - asked).as_secs();
    report.add(looked.answer.finding("controller", &url.to_string()));
    let now = i64::try_from(SystemClock.wall().0 / 1_000_000).unwrap_or(i64::MAX);
    if let Some(there) = looked.answer.date.filter(|_| first) {
        report.add(judge::clock(&url.to_string(), now, there, way));
    }
    if let Some(certificate) = &looked.certificate {
        // One that is pinned counts by its fingerprint, whatever its dates say.
        report.add(match trust {
            Trust::Fingerprint(_) => {
                Finding::ok("certificate", format!("that of {url} is the one that is trusted"))
            }
            Trust::System | Trust::Authorities(_) => {
                let renew = "# renew the files of --certificate and --key on the controller's machine";
                judge::certificate(&format!("that of {url}"), moment::validity(certificate), now, renew)
            }
        });
    }
    true
}

async fn versions(target: Target, session: &Session) -> Result<wire::GetFleetResponse> {
    let client = Client::new(target, session.output.notes)?;
    let call = async |api: Api, request| api.admin().get_fleet(request).await;
    client.call("ask for versions", Repeat::Safe, wire::GetFleetRequest {}, call).await
}

fn of_versions(report: &mut Report, fleet: &wire::GetFleetResponse) {
    let own = env!("CARGO_PKG_VERSION");
    let others: Vec<String> = fleet
        .controllers
        .iter()
        .filter(|controller| controller.version.split('+').next() != Some(own))
        .map(|controller| format!("{} at {}", plain(&controller.version), plain(&controller.address)))
        .collect();
    report.add(match others.is_empty() {
        true => Finding::ok("version", format!("{own}, as every controller of the fleet")),
        false => Finding::warn(
            "version",
            format!("this command is {own}, and there are controllers of {}", others.join(", ")),
            "deploy/install.sh ARCHIVE  # the same version everywhere; newer controllers serve older commands",
        ),
    });
    let (online, total) = (fleet.executors_online, fleet.executors_total);
    let says = format!("{online} of {total} online");
    report.add(match online {
        0 => Finding::warn(
            "executors",
            says,
            "ocelot executor token  # on a new machine; or: ocelot executor list",
        ),
        _ => Finding::ok("executors", says),
    });
}

/// `ocelot local` and `ocelot up` run tasks in containers, if they can.
async fn containers(socket: &Path) -> Finding {
    if !socket.exists() {
        let says =
            format!("{} is not there: `ocelot local` and `ocelot up` run no containers", socket.display());
        return Finding::warn("engine", says, "apt-get install docker.io");
    }
    let finding = match tempfile::Builder::new().prefix("ocelot-doctor-").tempdir() {
        Ok(folder) => Box::pin(engine(folder.path(), socket)).await,
        Err(error) => return Finding::fail("engine", format!("no folder to try it in: {error}"), "df -h"),
    };
    // Only two of its verbs need one.
    match finding.verdict {
        Verdict::Fail => Finding { verdict: Verdict::Warn, ..finding },
        Verdict::Ok | Verdict::Warn => finding,
    }
}
