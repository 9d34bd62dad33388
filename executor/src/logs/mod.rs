//! The log of an attempt on its way from the machine to the controller.

pub mod spool;
