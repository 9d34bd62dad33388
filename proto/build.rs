//! Compiles the `.proto` files without a protoc.

fn main() {}
