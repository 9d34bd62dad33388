//! The generated messages, clients and servers of package `ocelot.v1`. No logic here.

#[expect(
    clippy::allow_attributes,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    reason = "the code is generated; its shape is decided by its generator"
)]
mod generated {
    tonic::include_proto!("ocelot.v1");
}

pub use generated::*;

/// What may be told of messages that hold values which nothing may print.
mod unshown {
    use std::fmt;

    use super::{AcknowledgeResponse, FetchSecretsResponse, SetSecretRequest, git_credentials};

    impl fmt::Debug for SetSecretRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SetSecretRequest")
                .field("scope", &self.scope)
                .field("name", &self.name)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for FetchSecretsResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("FetchSecretsResponse")
                .field("names", &self.values.keys())
                .field("withheld", &self.withheld)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for AcknowledgeResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("AcknowledgeResponse").field("masks", &self.mask.len()).finish_non_exhaustive()
        }
    }

    impl fmt::Debug for git_credentials::Login {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
        }
    }

    impl fmt::Debug for git_credentials::SshKey {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SshKey").finish_non_exhaustive()
        }
    }
}
