//! Use cases: what the controller does when it is asked, one file each.

pub mod logs;
