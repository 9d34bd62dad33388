//! `ocelot delete`: a job goes, its runs stay.

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::Delete;
use crate::client::{Api, Repeat};
use crate::error::Result;
use crate::show::plain;

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
}

pub(crate) async fn run(delete: &Delete, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = &delete.job;
    let request = wire::DeleteJobRequest { name: name.clone() };
    let call = async |api: Api, request| api.jobs().delete_job(request).await;
    let doing = format!("delete the job {}", plain(name));
    // Not repeated by itself: the second answer would say that there is no such job.
    let deleted = client.call(&doing, Repeat::Never, request, call).await;
    deleted.map_err(|error| error.with_hint("see what there is: ocelot list"))?;
    session.output.result(format_args!("deleted {}\n", plain(name)), &Deleted { deleted: name })
}
