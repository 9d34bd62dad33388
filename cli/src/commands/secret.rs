//! `ocelot secret`: values go in, and never come out again.

use std::io::IsTerminal;
use std::path::Path;

use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope as Of;
use serde::Serialize;

use super::Session;
use crate::args::{Scope, Secret, SecretList, SecretRemove, SecretSet};
use crate::checkout::Checkout;
use crate::client::{Api, Repeat};
use crate::error::{Error, Result};
use crate::prompt;
use crate::shape;
use crate::show::{Table, Tone, plain};

/// One more than the longest value: enough to refuse it for its length.
const READ_MAX: u64 = 64 * 1024 + 1;

#[derive(Debug, Serialize)]
struct Secrets {
    secrets: Vec<shape::Secret>,
}

#[derive(Debug, Serialize)]
struct Set {
    secret: Option<shape::Secret>,
    replaced: bool,
}

#[derive(Debug, Serialize)]
struct Removed<'a> {
    removed: &'a str,
    scope: String,
}

pub(crate) async fn run(secret: &Secret, session: &Session) -> Result<()> {
    match secret {
        Secret::Set(set) => self::set(set, session).await,
        Secret::List(list) => self::list(list, session).await,
        Secret::Remove(remove) => self::remove(remove, session).await,
    }
}

async fn set(set: &SecretSet, session: &Session) -> Result<()> {
    let name = &set.name;
    let of = scope(&set.scope)?;
    let place = shape::place(&of);
    let client = session.client()?;
    let request = wire::SetSecretRequest {
        scope: Some(wire::SecretScope { scope: Some(of) }),
        name: name.clone(),
        value: value(set)?.into(),
        allow_short: set.allow_short,
    };
    let call = async |api: Api, request| api.secrets().set_secret(request).await;
    let doing = format!("set the secret {}", plain(name));
    // The same value again is the same secret.
    let answer = client.call(&doing, Repeat::Safe, request, call).await?;
    let short = answer.secret.as_ref().is_some_and(|secret| secret.short);
    if short {
        session.output.note("its value is too short: logs will show it where a task prints it");
    }
    let done = if answer.replaced { "replaced" } else { "set" };
    let text = format!("{done} {} of {}\n", plain(name), plain(&place));
    let secret = answer.secret.as_ref().map(shape::Secret::from);
    session.output.result(text, &Set { secret, replaced: answer.replaced })
}

/// Returns the value: of a file as it is; of standard input or a person without the line break at its
/// end, which nobody means.
fn value(set: &SecretSet) -> Result<Vec<u8>> {
    match &set.file {
        Some(file) => super::read_up_to(file, READ_MAX),
        None if std::io::stdin().is_terminal() => {
            let first = prompt::secret(&format!("value of {}: ", plain(&set.name)))?;
            let again = prompt::secret("once more: ")?;
            if first == again {
                return Ok(first.into_bytes());
            }
            Err(Error::usage("the two values are not the same", "type it again, or give a file with --file"))
        }
        None => {
            let mut value = super::read_up_to(Path::new("-"), READ_MAX)?;
            // Of a value with several lines, such as a key, the last line's end belongs to it.
            if value.iter().filter(|byte| **byte == b'\n').count() == 1 && value.ends_with(b"\n") {
                value.pop();
                if value.ends_with(b"\r") {
                    value.pop();
                }
            }
            Ok(value)
        }
    }
}

async fn list(list: &SecretList, session: &Session) -> Result<()> {
    let of = if list.all { None } else { Some(scope(&list.scope)?) };
    let client = session.client()?;
    let scope = of.clone().map(|of| wire::SecretScope { scope: Some(of) });
    let mut request = wire::ListSecretsRequest { scope, page_size: 500, page_token: String::new() };
    let mut secrets = Vec::new();
    loop {
        let call = async |api: Api, request| api.secrets().list_secrets(request).await;
        let page = client.call("list secrets", Repeat::Safe, request.clone(), call).await?;
        secrets.extend(page.secrets);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let output = &session.output;
    let shapes = Secrets { secrets: secrets.iter().map(shape::Secret::from).collect() };
    if secrets.is_empty() && !output.is_json() {
        match &of {
            Some(of) => output.note(format_args!(
                "no secrets of {}; set one: ocelot secret set NAME",
                plain(&shape::place(of))
            )),
            None => output.note("no secrets yet; set one: ocelot secret set NAME --job JOB"),
        }
        return Ok(());
    }
    let mut table =
        Table::new(["SCOPE", "SECRET", "SET", "BY", "LAST USED", "BY RUN"], output.style, output.width);
    for (secret, shape) in secrets.iter().zip(&shapes.secrets) {
        let used = match secret.used_unix_us {
            0 => (Tone::Dim, "never".to_owned()),
            moment => (Tone::Plain, output.times.ago(moment)),
        };
        table.row([
            (Tone::Plain, shape.scope.clone()),
            (Tone::Strong, secret.name.clone()),
            (Tone::Plain, output.times.ago(secret.updated_unix_us)),
            (Tone::Dim, secret.updated_by.clone()),
            used,
            (Tone::Dim, if secret.used_by.is_empty() { "-".to_owned() } else { secret.used_by.clone() }),
        ]);
    }
    output.result(table, &shapes)
}

async fn remove(remove: &SecretRemove, session: &Session) -> Result<()> {
    let name = &remove.name;
    let of = scope(&remove.scope)?;
    let place = shape::place(&of);
    let scope = Some(wire::SecretScope { scope: Some(of) });
    let request = wire::RemoveSecretRequest { scope, name: name.clone() };
    let call = async |api: Api, request| api.secrets().remove_secret(request).await;
    let doing = format!("remove the secret {}", plain(name));
    // Not repeated by itself: the second answer would say that there is no such secret.
    let removed = session.client()?.call(&doing, Repeat::Never, request, call).await;
    removed.map_err(|error| error.with_hint("see what there is: ocelot secret list --all"))?;
    let text = format!("removed {} of {}\n", plain(name), plain(&place));
    session.output.result(text, &Removed { removed: name, scope: place })
}

/// Returns whose secrets are meant.
fn scope(scope: &Scope) -> Result<Of> {
    match (&scope.job, &scope.project, &scope.organization) {
        (Some(job), _, _) => Ok(Of::Job(job.clone())),
        (None, Some(project), _) => Ok(Of::Project(project.clone())),
        (None, None, Some(name)) => Ok(Of::Organization(name.clone())),
        (None, None, None) => Checkout::here().project.map(Of::Project).ok_or_else(|| {
            Error::usage(
                "this is no checkout of a project, so it is not clear whose secret is meant",
                "say --job JOB, --project OWNER/NAME or --organization NAME",
            )
        }),
    }
}
