//! `ocelot cancel`: asks for the end of a run, and says truly how far that is.

use ocelot_proto::wire;

use super::Session;
use crate::args::Cancel;
use crate::client::{Api, Repeat};
use crate::error::Result;
use crate::find::{by_text, spelled_out};
use crate::shape;
use crate::show::plain;
use crate::words::{self, OutcomeWord};

pub(crate) async fn run(cancel: &Cancel, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = spelled_out(&client, &cancel.run).await?;
    let request = wire::CancelRunRequest {
        run: Some(by_text(&name)),
        force: cancel.force,
        reason: cancel.reason.clone().unwrap_or_default(),
    };
    let call = async |api: Api, request| api.runs().cancel_run(request).await;
    let doing = format!("cancel {}", plain(&name));
    let answer = client.call(&doing, Repeat::Safe, request, call).await;
    let answer = answer.map_err(|error| error.with_hint("see what runs: ocelot runs"))?;
    let run = answer.run.unwrap_or_default();
    let name = plain(&words::run_name(&run));
    let text = match words::run_outcome(&run) {
        Some(outcome) if words::outcome_word(outcome) != OutcomeWord::Cancelled => {
            format!("{name} was over already: {}\n", plain(&words::outcome(outcome)))
        }
        Some(outcome) => format!("{name} {}\n", plain(&words::outcome(outcome))),
        None => format!("{name} is being cancelled\n"),
    };
    session.output.result(text, &shape::Run::from(&run))?;
    if words::run_outcome(&run).is_none() && !session.output.is_json() {
        session.output.note(format_args!(
            "see it end: ocelot getlogs -f {name}    without the executor's consent: ocelot cancel --force {name}"
        ));
    }
    Ok(())
}
