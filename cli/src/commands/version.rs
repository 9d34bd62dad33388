//! `ocelot version`: of this command, and of the fleet that it talks to if one answers.

use std::fmt::Write;

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args;
use crate::client::{Api, Repeat};
use crate::error::Result;
use crate::shape;
use crate::show::plain;

#[derive(Serialize)]
struct Version {
    version: &'static str,
    fleet: Option<shape::Fleet>,
    /// Why nothing is known of the fleet.
    unknown: Option<String>,
}

pub(crate) async fn run(version: &args::Version, session: &Session) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let mut text = format!("ocelot {own}\n");
    let asked = if version.client { None } else { Some(fleet(session).await) };
    let (fleet, unknown) = match asked {
        None => (None, None),
        Some(Ok(fleet)) => (Some(shape::Fleet::from(&fleet)), None),
        Some(Err(error)) => (None, Some(error.to_string())),
    };
    if let Some(why) = unknown.as_ref().filter(|_| !session.output.is_json()) {
        session.output.note(format_args!("no controller's version: {why}"));
    }
    for controller in fleet.iter().flat_map(|fleet| &fleet.controllers) {
        // Writing to a string cannot fail.
        let _always =
            writeln!(text, "controller {} at {}", plain(&controller.version), plain(&controller.address));
    }
    if let Some(fleet) = &fleet {
        let _always = writeln!(text, "store {}", plain(&fleet.store));
        let _always =
            writeln!(text, "executors {} of {} online", fleet.executors_online, fleet.executors_total);
    }
    session.output.result(text, &Version { version: own, fleet, unknown })
}

async fn fleet(session: &Session) -> Result<wire::GetFleetResponse> {
    let client = session.client()?;
    let call = async |api: Api, request| api.admin().get_fleet(request).await;
    client.call("ask for versions", Repeat::Safe, wire::GetFleetRequest {}, call).await
}
