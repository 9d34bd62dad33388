//! `ocelot execute`: a run of a job. The request keeps one id for all its tries, so however often an
//! answer is lost, it is one run.

use std::collections::HashMap;
use std::path::Path;

use ocelot_core::id::RunId;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use serde::Serialize;

use super::{Session, read_up_to};
use crate::args::Execute;
use crate::client::{Api, Client, Repeat, new_run_id};
use crate::error::{Error, Result, Whose};
use crate::follow::{Followed, Interrupt, PenKind, Show, ending, follow};
use crate::show::{Output, plain};
use crate::words::{self, OutcomeWord};
use crate::{prompt, shape};

/// The most that the values of one execution may be together.
const VALUES_BYTES_MAX: u64 = 1024 * 1024;

/// The last line of a run that was followed, for scripts.
#[derive(Debug, Serialize)]
struct Ended {
    run: shape::Run,
}

pub(crate) async fn run(execute: &Execute, session: &Session) -> Result<()> {
    let client = session.client()?;
    let arguments = arguments(execute)?;
    let env = execute.env.iter().map(|pair| split(pair, "--env")).collect::<Result<HashMap<_, _>>>()?;
    let id = new_run_id(SystemClock.wall())?;
    let request =
        wire::ExecuteRequest { id: id.as_bytes().to_vec().into(), job: execute.job.clone(), arguments, env };
    let run = match send(&client, id, request.clone()).await {
        Err(refused @ Error::Refused { whose: Whose::Request, .. }) if prompt::somebody_is_there() => {
            let asked = ask_for_missing(&client, request, refused).await?;
            send(&client, id, asked).await?
        }
        ended => ended?,
    };
    session.remember(&client, &run);
    let output = &session.output;
    let show = match (execute.follow, execute.wait) {
        (true, _) if output.is_json() => Show::Log(PenKind::Json),
        (true, _) if execute.raw => Show::Log(PenKind::Raw),
        (true, _) => Show::Log(PenKind::Lines { timestamps: execute.timestamps }),
        (_, true) => Show::Outcome,
        (false, false) => {
            let name = plain(&words::run_name(&run));
            if !output.is_json() {
                output.note(format_args!("follow it: ocelot getlogs -f {name}"));
            }
            return output.result(format_args!("{name}\n"), &shape::Run::from(&run));
        }
    };
    to_its_end(session, &client, run, show).await
}

/// Follows a run; its fate is the exit code.
pub(crate) async fn to_its_end(
    session: &Session,
    client: &Client,
    run: wire::RunSummary,
    show: Show,
) -> Result<()> {
    let output = &session.output;
    let followed = follow(client, output, run, show, None, Interrupt::Stops).await?;
    let name = plain(&words::run_name(&followed.run));
    let next = format!("  look closer: ocelot status {name}    again: ocelot retry {name}");
    ended(output, followed, show, &next)
}

/// Tells how a run ended; `next` is what to type after one that did not succeed.
pub(crate) fn ended(output: &Output, followed: Followed, show: Show, next: &str) -> Result<()> {
    let Followed { run, tasks } = followed;
    let whole = shape::Run::whole(&run, &tasks);
    if output.is_json() {
        match show {
            Show::Log(_) => output.json_line(&Ended { run: whole })?,
            Show::Outcome => output.result("", &whole)?,
        }
    } else {
        output.note(ending(&run, &tasks, output));
    }
    let outcome = words::run_outcome(&run).map(words::outcome_word);
    match outcome {
        Some(OutcomeWord::Succeeded | OutcomeWord::Skipped) => Ok(()),
        Some(_) => {
            if !output.is_json() {
                output.note(next);
            }
            Err(Error::RunNotSucceeded)
        }
        None => Err(Error::Stopped),
    }
}

async fn send(client: &Client, id: RunId, request: wire::ExecuteRequest) -> Result<wire::RunSummary> {
    let job = plain(&request.job);
    let doing = format!("execute {job}");
    let call = async |api: Api, request| api.runs().execute(request).await;
    match client.call(&doing, Repeat::Safe, request, call).await {
        Ok(answer) => Ok(answer.run.unwrap_or_default()),
        Err(Error::Refused { what, hint: None, whose: Whose::Request }) => {
            let hint = Some(format!("see what it takes: ocelot describe {job}"));
            Err(Error::Refused { what, hint, whose: Whose::Request })
        }
        Err(error) => Err(error
            .maybe("accepted", format_args!("look before you do it again: ocelot status {id}"))
            .with_hint("see what there is: ocelot list")),
    }
}

/// Collects the values: the file's first, then single files, then the command line's own.
fn arguments(execute: &Execute) -> Result<HashMap<String, String>> {
    let mut values = match &execute.file {
        Some(file) => from_yaml(file)?,
        None => HashMap::new(),
    };
    for pair in &execute.value_file {
        let (name, file) = split(pair, "--value-file")?;
        values.insert(name, text(Path::new(&file))?);
    }
    for pair in &execute.values {
        let (name, value) = split(pair, "an argument")?;
        values.insert(name, value);
    }
    for name in &execute.ask {
        if !prompt::somebody_is_there() {
            let what = format!("nobody is there to be asked for {}", plain(name));
            return Err(Error::usage(
                what,
                format!("give it in a file or through a pipe: --value-file {name}=-"),
            ));
        }
        values.insert(name.clone(), prompt::secret(&format!("{}: ", plain(name)))?);
    }
    Ok(values)
}

/// Splits at the first `=`; the rest is the value, whatever it holds.
pub(crate) fn split(pair: &str, what: &str) -> Result<(String, String)> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(Error::usage(
            format!("{what} is NAME=VALUE, and {:?} is not", pair),
            "all behind the first = is the value, whatever it holds",
        )),
    }
}

fn text(file: &Path) -> Result<String> {
    let bytes = read_up_to(file, VALUES_BYTES_MAX + 1)?;
    let too_long = bytes.len() as u64 > VALUES_BYTES_MAX;
    match String::from_utf8(bytes) {
        Ok(text) if !too_long => Ok(text),
        Ok(_) => Err(Error::Usage { what: format!("{} is longer than 1 MiB", file.display()), hint: None }),
        Err(_) => Err(Error::Usage { what: format!("{} is not text in UTF-8", file.display()), hint: None }),
    }
}

fn from_yaml(file: &Path) -> Result<HashMap<String, String>> {
    serde_yaml::from_str(&text(file)?).map_err(|error| Error::Usage {
        what: format!("{} does not hold values of arguments: {error}", file.display()),
        hint: Some("each line is NAME: VALUE".to_owned()),
    })
}

/// Asks for what is required and was not given; secrets without showing them.
async fn ask_for_missing(
    client: &Client,
    mut request: wire::ExecuteRequest,
    refused: Error,
) -> Result<wire::ExecuteRequest> {
    let job = super::describe::job(client, &request.job, 0).await?;
    let missing = |argument: &&wire::Argument| {
        argument.required && argument.default.is_none() && !request.arguments.contains_key(&argument.name)
    };
    let missing: Vec<wire::Argument> = job.arguments.iter().filter(missing).cloned().collect();
    if missing.is_empty() {
        return Err(refused);
    }
    for argument in missing {
        let name = plain(&argument.name);
        let question = match argument.description.as_str() {
            "" => format!("{name}: "),
            description => format!("{name} ({}): ", plain(description)),
        };
        let value = if argument.secret { prompt::secret(&question)? } else { prompt::text(&question)? };
        request.arguments.insert(argument.name, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_any_character() {
        for value in ["", "a,b", "a=b=c", "two\nlines", "\"'$`\\", "grüße 🐆", "@/etc/passwd"] {
            let pair = format!("NAME={value}");
            assert_eq!(split(&pair, "an argument").unwrap(), ("NAME".to_owned(), value.to_owned()));
        }
        for wrong in ["NAME", "=value", ""] {
            assert!(split(wrong, "an argument").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_values_keeps_them_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("args.yaml");
        std::fs::write(&file, "V: 3.10\nYES: true\nN: 007\nTEXT: |\n  one\n  two=2,3\nQ: 'a, b'\n").unwrap();
        let values = from_yaml(&file).unwrap();
        let value = |name: &str| values[name].as_str();
        assert_eq!(
            [value("V"), value("YES"), value("N"), value("TEXT"), value("Q")],
            ["3.10", "true", "007", "one\ntwo=2,3\n", "a, b"]
        );
        std::fs::write(&file, "LIST: [1, 2]\n").unwrap();
        assert!(from_yaml(&file).is_err());
    }
}
