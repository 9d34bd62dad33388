//! `ocelot completion`: what a shell reads to complete what is typed.

use clap::CommandFactory;

use crate::args::{Args, Completion};
use crate::error::Result;
use crate::show::Output;

pub(crate) fn run(completion: &Completion, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(completion.shell, &mut Args::command(), "ocelot", &mut script);
    output.bytes(&script)
}
