//! The environment, read here and nowhere else.

use std::path::PathBuf;

use ocelot_executor::runtime::docker::usual_socket;

use crate::show::Surroundings;

#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(crate) home: Option<PathBuf>,
    pub(crate) config_home: Option<PathBuf>,
    pub(crate) state_home: Option<PathBuf>,
    pub(crate) data_home: Option<PathBuf>,
    pub(crate) token: Option<String>,
    /// A file that holds it, where it is not said itself.
    pub(crate) token_file: Option<PathBuf>,
    /// Authorities to trust in place of the machine's.
    pub(crate) ca: Option<PathBuf>,
    /// The container engine, as its own tools call it.
    pub(crate) engine: Option<String>,
    pub(crate) around: Surroundings,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let text = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| text(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            home: path("HOME"),
            config_home: path("XDG_CONFIG_HOME"),
            state_home: path("XDG_STATE_HOME"),
            data_home: path("XDG_DATA_HOME"),
            token: text("OCELOT_TOKEN"),
            token_file: path("OCELOT_TOKEN_FILE"),
            ca: path("OCELOT_CA_FILE"),
            engine: text("DOCKER_HOST"),
            around: Surroundings {
                no_color: text("NO_COLOR").is_some(),
                columns: text("COLUMNS")
                    .and_then(|columns| columns.parse().ok())
                    .filter(|columns| *columns > 0),
                dumb: text("TERM").is_some_and(|term| term == "dumb"),
            },
        }
    }

    /// Where this machine's container engine listens.
    pub(crate) fn engine_socket(&self) -> PathBuf {
        usual_socket(self.engine.as_deref())
    }

    /// Where contexts are kept.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        let base = self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(base.join("ocelot/config.yaml"))
    }

    /// Where `up` keeps everything, if it is not told otherwise.
    pub(crate) fn data_folder(&self) -> Option<PathBuf> {
        let base = self.data_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/share")))?;
        Some(base.join("ocelot"))
    }

    /// Where this command and `up` remember things of this user.
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        let base = self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")))?;
        Some(base.join("ocelot"))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
