//! `ocelot config`: which fleets there are, and which one commands go to. A certificate that no
//! authority vouches for is shown once, and from then on it is this one or none.

use std::path::PathBuf;

use serde::Serialize;

use super::Session;
use crate::args::{Config, ConfigAdd, ContextName};
use crate::client::look;
use crate::config::{Context, File, Scheme, Source, Trust, UP, Url, resolve};
use crate::error::{Error, Result};
use crate::prompt;
use crate::show::{Table, Tone, plain};
use crate::up_file::{self, Found};

#[derive(Debug, Serialize)]
struct Listed {
    contexts: Vec<Shown>,
}

/// One context, without its token.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    current: bool,
    servers: Vec<String>,
    fingerprint: Option<String>,
    ca: Option<PathBuf>,
    has_token: bool,
}

/// Where commands go.
#[derive(Debug, Serialize)]
struct Effective {
    servers: Vec<String>,
    /// `server` `context` `up`.
    source: &'static str,
    context: Option<String>,
    trust: &'static str,
    fingerprint: Option<String>,
    has_token: bool,
    file: Option<PathBuf>,
}

pub(crate) async fn run(config: &Config, session: &Session) -> Result<()> {
    match config {
        Config::Add(add) => self::add(add, session).await,
        Config::Use(name) => choose(name, session),
        Config::List => list(session),
        Config::Show => show(session),
        Config::Remove(name) => remove(name, session),
    }
}

fn path(session: &Session) -> Result<PathBuf> {
    session.environment.config_file().ok_or_else(|| Error::Configuration {
        what: "there is no home folder to keep the configuration in".to_owned(),
        hint: "set HOME or XDG_CONFIG_HOME; or say OCELOT_SERVER and OCELOT_TOKEN".to_owned(),
    })
}

async fn add(add: &ConfigAdd, session: &Session) -> Result<()> {
    let path = path(session)?;
    let mut file = File::read(&path)?;
    check_name(&add.name)?;
    let urls = add.url.split(',').map(str::parse).collect::<std::result::Result<Vec<Url>, String>>();
    let urls = urls.map_err(|why| {
        Error::usage(
            format!("{:?} is not the address of a controller: {why}", add.url),
            "it looks like https://ci.example.com:7070",
        )
    })?;
    let fingerprint = fingerprint(add, &urls, session).await?;
    let token = match &add.token {
        Some(token) => Some(token.trim().to_owned()),
        None if prompt::somebody_is_there() => {
            Some(prompt::secret("API token (empty for none): ")?).filter(|token| !token.is_empty())
        }
        None => None,
    };
    let context = Context {
        servers: urls.iter().map(ToString::to_string).collect(),
        fingerprint: fingerprint.map(|bytes| Trust::show_fingerprint(&bytes)),
        ca: add.ca.clone().map(|ca| std::path::absolute(&ca).unwrap_or(ca)),
        token,
    };
    let shown = shown(&add.name, &context, true);
    if context.token.is_none() {
        session
            .output
            .note(format_args!("no token is kept; say it with OCELOT_TOKEN, or add {} again", add.name));
    }
    file.contexts.insert(add.name.clone(), context);
    file.current = Some(add.name.clone());
    file.write(&path)?;
    session.output.result(format_args!("added {}; commands go there from now on\n", add.name), &shown)
}

fn check_name(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
    match name {
        UP => Err(Error::usage("the name `up` is for the `ocelot up` that runs here", "choose another name")),
        _ if good => Ok(()),
        _ => Err(Error::usage(
            format!("{name:?} is no name for a context"),
            "use letters, digits, dots and dashes, as in `staging`",
        )),
    }
}

/// Finds out which certificate to trust; none where authorities vouch or nothing leaves the machine.
async fn fingerprint(add: &ConfigAdd, urls: &[Url], session: &Session) -> Result<Option<[u8; 32]>> {
    if let Some(text) = &add.fingerprint {
        let bytes = Trust::fingerprint(text).ok_or_else(|| {
            Error::usage(
                format!("{text:?} is not a fingerprint"),
                "it is sha256: and 64 letters, as the controller printed it",
            )
        })?;
        return Ok(Some(bytes));
    }
    let encrypted = urls.iter().find(|url| url.scheme == Scheme::Https);
    let Some(url) = encrypted.filter(|_| add.ca.is_none() && !add.system_roots) else { return Ok(None) };
    let seen = look(url).await.map_err(|error| Error::Unavailable {
        what: format!("cannot look at the certificate of {error}"),
        hint: "is a controller running there? with --fingerprint it can be added before it runs".to_owned(),
    })?;
    let shown = Trust::show_fingerprint(&seen);
    if !prompt::somebody_is_there() {
        return Err(Error::usage(
            format!("{url} shows a certificate that nobody here has judged: {shown}"),
            format!("compare it with what the controller printed, then add: --fingerprint {shown}"),
        ));
    }
    session.output.note(format_args!("{url} shows the certificate\n  {shown}"));
    if prompt::yes("Is that what the controller printed?")? {
        Ok(Some(seen))
    } else {
        session.output.note("nothing was added");
        Err(Error::Stopped)
    }
}

fn choose(name: &ContextName, session: &Session) -> Result<()> {
    let path = path(session)?;
    let mut file = File::read(&path)?;
    if name.name != UP && !file.contexts.contains_key(&name.name) {
        return Err(unknown(&name.name, &file));
    }
    file.current = Some(name.name.clone()).filter(|name| name != UP);
    file.write(&path)?;
    let text = format!("commands go to {} from now on\n", name.name);
    session.output.result(text, &serde_json::json!({ "current": name.name }))
}

fn remove(name: &ContextName, session: &Session) -> Result<()> {
    let path = path(session)?;
    let mut file = File::read(&path)?;
    if file.contexts.remove(&name.name).is_none() {
        return Err(unknown(&name.name, &file));
    }
    file.current = file.current.filter(|current| *current != name.name);
    file.write(&path)?;
    let text = format!("removed {}\n", name.name);
    session.output.result(text, &serde_json::json!({ "removed": name.name }))
}

fn unknown(name: &str, file: &File) -> Error {
    let known: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
    let hint = match known[..] {
        [] => format!("add it: ocelot config add {} URL", plain(name)),
        _ => format!("there are: {}", known.join(", ")),
    };
    Error::Configuration { what: format!("there is no context {name:?}"), hint }
}

fn shown(name: &str, context: &Context, current: bool) -> Shown {
    Shown {
        name: name.to_owned(),
        current,
        servers: context.servers.clone(),
        fingerprint: context.fingerprint.clone(),
        ca: context.ca.clone(),
        has_token: context.token.is_some(),
    }
}

fn list(session: &Session) -> Result<()> {
    let file = File::read(&path(session)?)?;
    let is_current = |name: &str| file.current.as_deref() == Some(name);
    let mut contexts: Vec<Shown> =
        file.contexts.iter().map(|(name, context)| shown(name, context, is_current(name))).collect();
    let up = session.environment.state_folder().map(|state| up_file::find(&up_file::path(&state)));
    if let Some(Found::Running(up)) = up {
        contexts.push(Shown {
            name: UP.to_owned(),
            current: file.current.is_none(),
            servers: vec![up.url],
            fingerprint: up.fingerprint,
            ca: None,
            has_token: true,
        });
    }
    let output = &session.output;
    if contexts.is_empty() && !output.is_json() {
        output.note(
            "no contexts yet; add one: ocelot config add NAME URL; or start a controller here: ocelot up",
        );
        return Ok(());
    }
    let mut table = Table::new(["", "CONTEXT", "SERVERS", "TRUST", "TOKEN"], output.style, output.width);
    for context in &contexts {
        let trust = match (&context.fingerprint, &context.ca) {
            (Some(fingerprint), _) => fingerprint.chars().take(19).chain("…".chars()).collect(),
            (None, Some(ca)) => ca.display().to_string(),
            (None, None) => "system".to_owned(),
        };
        table.row([
            (Tone::Good, if context.current { "*" } else { "" }.to_owned()),
            (Tone::Strong, context.name.clone()),
            (Tone::Plain, context.servers.join(", ")),
            (Tone::Dim, trust),
            (Tone::Plain, if context.has_token { "kept" } else { "none" }.to_owned()),
        ]);
    }
    output.result(table, &Listed { contexts })
}

fn show(session: &Session) -> Result<()> {
    let target = resolve(&session.wanted, &session.environment)?;
    let servers: Vec<String> = target.urls.iter().map(ToString::to_string).collect();
    let (source, context, says) = match &target.source {
        Source::Server => ("server", None, "--server or OCELOT_SERVER says so".to_owned()),
        Source::Context(name) => ("context", Some(name.clone()), format!("the context {name}")),
        Source::Up { pid } => ("up", None, format!("the `ocelot up` that runs here, process {pid}")),
    };
    let (trust, fingerprint) = match &target.trust {
        Trust::System => ("system", None),
        Trust::Authorities(_) => ("authorities", None),
        Trust::Fingerprint(bytes) => ("fingerprint", Some(Trust::show_fingerprint(bytes))),
    };
    let token = match (&target.token, &session.environment.token) {
        (_, Some(_)) => "from OCELOT_TOKEN",
        (Some(_), None) => "kept",
        (None, None) => "none",
    };
    let text = format!(
        "servers      {}\nbecause      {says}\ncertificate  {}\ntoken        {token}\n",
        servers.join(", "),
        fingerprint.clone().unwrap_or_else(|| trust.to_owned()),
    );
    let file = session.environment.config_file();
    let has_token = target.token.is_some();
    session.output.result(text, &Effective { servers, source, context, trust, fingerprint, has_token, file })
}
