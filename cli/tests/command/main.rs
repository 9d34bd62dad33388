//! The command against a fleet that does what a test says: whole transcripts.

mod artifacts;
mod configuration;
mod doctor;
mod documents;
mod fleet;
mod following;
mod graphs;
mod projects;
mod schedules;
mod secrets;
mod verbs;
