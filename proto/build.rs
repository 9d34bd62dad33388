//! Makes Rust of the `.proto` files, without a protoc.

use std::error::Error;

const FILES: [&str; 9] =
    ["run", "job", "client", "executor", "admin", "project", "schedule", "secret", "object"];

/// Messages that hold values which nothing may print; `src/wire.rs` says what is shown of them.
const UNSHOWN: [&str; 5] = [
    ".ocelot.v1.SetSecretRequest",
    ".ocelot.v1.FetchSecretsResponse",
    ".ocelot.v1.AcknowledgeResponse",
    ".ocelot.v1.GitCredentials.Login",
    ".ocelot.v1.GitCredentials.SshKey",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let paths = FILES.map(|file| format!("proto/ocelot/v1/{file}.proto"));
    let descriptors = protox::compile(paths, ["proto"])?;
    tonic_prost_build::configure().bytes(".").skip_debug(UNSHOWN).compile_fds(descriptors)?;
    Ok(())
}
