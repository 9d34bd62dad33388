//! The container as it is asked for, and what is refused.

use super::*;

#[test]
fn an_engines_version_is_read_as_numbers() {
    assert!(is_too_old("19.03.15"));
    assert!(is_too_old(""));
    assert!(!is_too_old("20.10.24+dfsg1"));
    assert!(!is_too_old("28.2.2"));
}
