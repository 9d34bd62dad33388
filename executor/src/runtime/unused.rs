//! Control directories in which a supervisor waits that no attempt has.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use ocelot_core::frame::Offset;
use ocelot_supervisor::control;

use crate::attempt::files::gone;

/// As long as this is there, no start has looked at what waits and taken it over. So an attempt that died
/// before that has no container. It need not survive a power cut: nothing that waits does.
const MARK: &str = "waiting";

pub(crate) fn mark(control: &Path) -> io::Result<()> {
    File::create(control.join(MARK)).map(drop)
}

pub(super) fn is_marked(control: &Path) -> bool {
    control.join(MARK).exists()
}

pub(super) fn unmark(control: &Path) -> io::Result<()> {
    gone(fs::remove_file(control.join(MARK)))
}

/// Takes away what a supervisor left that waited here in vain: it wrote nothing, so it ran nothing.
pub(super) fn clear(control: &Path) -> io::Result<()> {
    let [only] = control::segments(control)?[..] else { return Ok(()) };
    let capture = control.join(control::segment_name(only));
    if only != Offset(0) || capture.metadata()?.len() > 0 {
        return Ok(());
    }
    fs::remove_file(capture)?;
    gone(fs::remove_file(control.join(control::SOCKET)))
}
