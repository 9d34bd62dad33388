//! Kinds that several tables share, and the two ways to write a key.

use crate::keys::parts::{EXIT_CODES_ONLY, SECRET};
use crate::table::{Form, Key, Kind, Least};

pub(super) const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, about, required: false }
}

pub(super) const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, default: "required", about, required: true }
}

pub(super) const WHOLE_MAX: i64 = i32::MAX as i64;

pub(super) const TEXT: Kind = Kind::One(Form::Text);
pub(super) const LINE: Kind = Kind::One(Form::Line);
pub(super) const BOOLEAN: Kind = Kind::One(Form::Boolean);
pub(super) const NAME: Kind = Kind::One(Form::Name);
pub(super) const DURATION: Kind = Kind::One(Form::Duration);
pub(super) const DURATION_OR_ZERO: Kind = Kind::One(Form::DurationOrZero);
pub(super) const REF_GLOBS: Kind = Kind::OneOrList(Form::RefGlob, Least::One);
pub(super) const PATH_GLOBS: Kind = Kind::OneOrList(Form::PathGlob, Least::One);
pub(super) const LINES: Kind = Kind::List(&LINE, Least::None);
pub(super) const ENV: Kind = Kind::Map(Form::Variable, &Kind::One(Form::Replaced));
pub(super) const ARGUMENTS: Kind = Kind::List(&Kind::One(Form::Argument), Least::One);
pub(super) const SECRETS: Kind =
    Kind::List(&Kind::Either(&Kind::One(Form::BareSecret), &Kind::Object(&SECRET)), Least::None);
pub(super) const EXIT_CODES: Kind = Kind::List(&Kind::One(Form::Integer(0, 255)), Least::One);
pub(super) const TOLERANCE: Kind = Kind::Either(&BOOLEAN, &Kind::Object(&EXIT_CODES_ONLY));

pub(super) const EVENTS: [&str; 6] = ["push", "tag", "pull_request", "schedule", "manual", "upstream"];
pub(super) const STATUSES: [&str; 3] = ["success", "failure", "always"];
pub(super) const CAUSES: [&str; 7] = ["exit", "signal", "oom", "timeout", "image", "disk", "lost"];
pub(super) const TOOLS: [&str; 7] = ["docker", "ssh-key", "maven", "npm", "pypi", "netrc", "kubeconfig"];
