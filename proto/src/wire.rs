//! The generated messages, clients and servers of package `ocelot.v1`. No logic here.

#[expect(
    clippy::allow_attributes,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    reason = "the code is generated; its shape is decided by its generator"
)]
mod generated {
    tonic::include_proto!("ocelot.v1");
}

pub use generated::*;
