//! `ocelot version`.

use serde::Serialize;

use crate::error::Error;
use crate::output::Output;

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

pub(crate) fn run(output: &Output) -> Result<(), Error> {
    let version = env!("CARGO_PKG_VERSION");
    output.result(format_args!("ocelot {version}\n"), &Version { version })
}
