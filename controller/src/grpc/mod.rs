//! The gRPC services: messages in and out, and nothing decided.

pub mod executor;
