//! Makes Rust of the `.proto` files, without a protoc.

use std::error::Error;

const FILES: [&str; 8] = ["run", "job", "client", "executor", "admin", "project", "secret", "object"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let paths = FILES.map(|file| format!("proto/ocelot/v1/{file}.proto"));
    let descriptors = protox::compile(paths, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
