//! Which fleet a command talks to, and what said so.
//!
//! The command line and the environment come first, then the chosen context, then the `up` that this
//! user runs here. A token is never sent to an address that it was not kept for.

use std::path::Path;

use super::{Context, Environment, File, Trust, Url};
use crate::error::{Error, Result};
use crate::up_file::{self, Found};

/// Where to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) urls: Vec<Url>,
    pub(crate) trust: Trust,
    pub(crate) token: Option<String>,
    pub(crate) source: Source,
}

/// What said where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--server` or `OCELOT_SERVER`.
    Server,
    Context(String),
    /// The `up` of this user, of this process.
    Up {
        pid: u32,
    },
}

/// What the command line and the environment ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) server: Option<String>,
    pub(crate) context: Option<String>,
}

/// The context that stands for the `up` that runs here.
pub(crate) const UP: &str = "up";

/// Finds out where a command goes.
pub(crate) fn resolve(wanted: &Wanted, environment: &Environment) -> Result<Target> {
    let path = environment.config_file();
    let file = path.as_deref().map_or_else(|| Ok(File::default()), File::read)?;
    let up = environment.state_folder().map_or(Found::Nothing, |state| up_file::find(&up_file::path(&state)));
    let mut target = match (&wanted.server, wanted.context.as_ref().or(file.current.as_ref())) {
        (Some(server), _) => from_server(server, &file, &up, environment)?,
        (None, Some(name)) if name == UP => from_up(up, path.as_deref())?,
        (None, Some(name)) => from_context(name, &file, environment)?,
        (None, None) => from_up(up, path.as_deref())?,
    };
    if let Some(token) = &environment.token {
        target.token = Some(token.clone());
    } else if let Some(file) = &environment.token_file {
        let read = std::fs::read_to_string(file);
        let text = read.map_err(|source| Error::Unreadable { file: file.clone(), source })?;
        target.token = Some(text.trim().to_owned());
    }
    Ok(target)
}

fn from_server(server: &str, file: &File, up: &Found, environment: &Environment) -> Result<Target> {
    let wrong = |why: String| Error::Configuration {
        what: format!("{server:?} is not the address of a controller: {why}"),
        hint: "an address looks like https://ci.example.com:7070".to_owned(),
    };
    let urls: Vec<Url> =
        server.split(',').map(str::parse).collect::<std::result::Result<_, String>>().map_err(wrong)?;
    let mut target = Target { urls, trust: system(environment), token: None, source: Source::Server };
    let knows = |context: &&Context| {
        context.urls().is_ok_and(|known| target.urls.iter().all(|url| known.contains(url)))
    };
    if let Some(context) = file.contexts.values().find(knows) {
        target.trust = trusted(context, environment).map_err(wrong)?;
        target.token = context.token.clone();
    } else if let Found::Running(up) = up
        && target.urls[..] == [up.url.parse::<Url>().map_err(wrong)?]
    {
        target.token = Some(up.token.clone());
        if let Some(bytes) = up.fingerprint.as_deref().and_then(Trust::fingerprint) {
            target.trust = Trust::Fingerprint(bytes);
        }
    }
    Ok(target)
}

fn from_context(name: &str, file: &File, environment: &Environment) -> Result<Target> {
    let Some(context) = file.contexts.get(name) else {
        let known: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
        let hint = match known[..] {
            [] => format!("add it: ocelot config add {name} URL"),
            _ => format!("there are {}; add another one: ocelot config add {name} URL", known.join(", ")),
        };
        return Err(Error::Configuration { what: format!("there is no context {name:?}"), hint });
    };
    let wrong = |why: String| Error::Configuration {
        what: format!("the context {name:?} cannot be used: {why}"),
        hint: format!("add it anew: ocelot config remove {name}; ocelot config add {name} URL"),
    };
    let urls = context.urls().map_err(wrong)?;
    if urls.is_empty() {
        return Err(wrong("it has no address".to_owned()));
    }
    let trust = trusted(context, environment).map_err(wrong)?;
    Ok(Target { urls, trust, token: context.token.clone(), source: Source::Context(name.to_owned()) })
}

fn from_up(up: Found, config: Option<&Path>) -> Result<Target> {
    let start = "start one here: ocelot up; or name one: ocelot config add NAME URL".to_owned();
    let file = match up {
        Found::Running(file) => file,
        Found::Stale { pid } => {
            let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            let what = format!("the `ocelot up` that ran here{process} is gone");
            return Err(Error::Unavailable { what, hint: "start it again: ocelot up".to_owned() });
        }
        Found::Nothing => {
            let looked = config.map(|path| format!(", and {} chooses none", path.display()));
            let what = format!("no `ocelot up` runs here{}", looked.unwrap_or_default());
            return Err(Error::Unavailable { what, hint: start });
        }
    };
    let url = file.url.parse().map_err(|why: String| Error::Unavailable {
        what: format!("the `ocelot up` that runs here left the address {:?}: {why}", file.url),
        hint: "end it and start it again: ocelot up".to_owned(),
    })?;
    let trust = file.fingerprint.as_deref().and_then(Trust::fingerprint);
    Ok(Target {
        urls: vec![url],
        trust: trust.map_or(Trust::System, Trust::Fingerprint),
        token: Some(file.token),
        source: Source::Up { pid: file.pid },
    })
}

fn system(environment: &Environment) -> Trust {
    environment.ca.clone().map_or(Trust::System, Trust::Authorities)
}

fn trusted(context: &Context, environment: &Environment) -> std::result::Result<Trust, String> {
    context.trust().map(|trust| if trust == Trust::System { system(environment) } else { trust })
}
