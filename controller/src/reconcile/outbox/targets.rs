//! Targets of notifications, as the operator has set them up.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_forge::secret::Secret;
use zeroize::Zeroizing;

/// By the name that definitions call them.
pub type Targets = BTreeMap<String, Channel>;

/// How a target is notified. Its address is a secret: who has it can speak there.
#[derive(Clone)]
pub enum Channel {
    /// A chat that reads Slack's form.
    Slack { url: Zeroizing<String> },
    /// Anything that verifies our signature.
    Generic { url: Zeroizing<String>, secret: Secret },
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slack { .. } => "Slack(..)",
            Self::Generic { .. } => "Generic(..)",
        })
    }
}
