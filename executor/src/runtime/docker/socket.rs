//! Where the machine's engine listens.

use std::path::{Path, PathBuf};

const DOCKER: &str = "/var/run/docker.sock";

/// Returns the socket of this machine's engine: the one that `DOCKER_HOST` names, as for every tool of
/// engines, else Docker's own. An engine elsewhere is of no use: tasks mount folders of this machine.
pub fn usual_socket(host: Option<&str>) -> PathBuf {
    let socket = host.and_then(|host| host.strip_prefix("unix://")).map(Path::new);
    socket.filter(|socket| socket.is_absolute()).unwrap_or(Path::new(DOCKER)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_where_its_variable_says_if_that_is_on_this_machine() {
        let podman = Path::new("/run/podman/podman.sock");
        assert_eq!(usual_socket(Some("unix:///run/podman/podman.sock")), podman);
        for elsewhere in [None, Some(""), Some("tcp://build.example:2375"), Some("unix://podman.sock")] {
            assert_eq!(usual_socket(elsewhere), Path::new(DOCKER), "{elsewhere:?}");
        }
    }
}
