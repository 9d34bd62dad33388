//! `ocelot retry`: a new run of the same plan.

use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;

use super::Session;
use super::execute::to_its_end;
use crate::args::Retry;
use crate::client::{Api, Repeat, new_run_id};
use crate::error::Result;
use crate::follow::{PenKind, Show};
use crate::shape;
use crate::show::plain;
use crate::words;

pub(crate) async fn run(retry: &Retry, session: &Session) -> Result<()> {
    let client = session.client()?;
    let found = session.find(&client, retry.run.run.as_deref()).await?;
    let before = found.run.unwrap_or_default();
    let name = plain(&words::run_name(&before));
    let id = new_run_id(SystemClock.wall())?;
    let request = wire::RetryRunRequest {
        run: Some(wire::RunReference { reference: Some(wire::run_reference::Reference::Id(before.id)) }),
        id: id.as_bytes().to_vec().into(),
        failed_only: retry.failed,
    };
    let call = async |api: Api, request| api.runs().retry_run(request).await;
    let answer = client.call(&format!("retry {name}"), Repeat::Safe, request, call).await?;
    let run = answer.run.unwrap_or_default();
    session.remember(&client, &run);
    let output = &session.output;
    if retry.follow {
        let kind = if output.is_json() { PenKind::Json } else { PenKind::Lines { timestamps: false } };
        return to_its_end(session, &client, run, Show::Log(kind)).await;
    }
    let new = plain(&words::run_name(&run));
    if !output.is_json() {
        output.note(format_args!("follow it: ocelot getlogs -f {new}"));
    }
    output.result(format_args!("{new}\n"), &shape::Run::from(&run))
}
