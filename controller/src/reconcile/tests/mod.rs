//! Stories: a fleet from `execute` to the end of the run, whatever goes wrong on the way.

mod faults;
mod graphs;
mod life;
mod projects;
mod sessions;
mod world;
