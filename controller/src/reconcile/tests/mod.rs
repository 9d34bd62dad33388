//! Stories: a fleet from `execute` to the end of the run, whatever goes wrong on the way.

mod faults;
mod graphs;
mod life;
mod objects;
mod projects;
mod schedules;
mod sessions;
mod world;
