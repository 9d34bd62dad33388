//! Images that were looked at while the acknowledgement of their task was under way, so that its start
//! does not wait for the engine.
//!
//! A look is good for a moment: what a name stands for may change. It changes nothing itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::Docker as Engine;
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::Moment;
use tokio::sync::OnceCell;

use super::image::{self, Image};
use crate::attempt::state::Cause;

/// After so many milliseconds the engine is asked anew.
const FRESH_MS: u64 = 5_000;

/// By control directory.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    looks: Mutex<HashMap<PathBuf, Look>>,
}

#[derive(Debug, Clone)]
struct Look {
    begun: Moment,
    found: Arc<OnceCell<Option<Image>>>,
}

impl Look {
    fn is_fresh(&self) -> bool {
        clock::now() < self.begun.after(FRESH_MS)
    }

    /// Whoever comes second waits for the first.
    async fn found(&self, engine: &Engine, image: &str) -> Result<Option<Image>, Cause> {
        self.found.get_or_try_init(|| image::find(engine, image)).await.cloned()
    }
}

impl Ahead {
    pub(super) async fn look(&self, control: &Path, engine: &Engine, image: &str) {
        let look = Look { begun: clock::now(), found: Arc::default() };
        {
            let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            looks.retain(|_, look| look.is_fresh());
            looks.insert(control.to_owned(), look.clone());
        }
        if let Err(cause) = look.found(engine, image).await {
            tracing::debug!(?cause, image, "the engine could not be asked ahead");
        }
    }

    /// Takes what was seen for this attempt; none if nobody looked, or the image was not there.
    pub(super) async fn take(&self, control: &Path, engine: &Engine, image: &str) -> Option<Image> {
        let look = self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(control)?;
        if !look.is_fresh() {
            return None;
        }
        look.found(engine, image).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use bollard::API_DEFAULT_VERSION;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one question about an image.
    async fn answer(listener: &TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        let found = r#"{"Id":"sha256:1"}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let whole = format!("{head}\r\ncontent-length: {}\r\n\r\n{found}", found.len());
        stream.write_all(whole.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_seen_ahead_is_taken_once_and_not_asked_for_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let engine = Engine::connect_with_http(&address, 5, API_DEFAULT_VERSION).unwrap();
        let (ahead, control) = (Ahead::default(), Path::new("/control"));
        tokio::join!(ahead.look(control, &engine, "one:1"), answer(&listener));
        drop(listener);
        let taken = ahead.take(control, &engine, "one:1").await;
        assert_eq!(taken.map(|image| image.id).as_deref(), Some("sha256:1"));
        assert_eq!(ahead.take(control, &engine, "one:1").await, None);
    }

    #[tokio::test]
    async fn an_engine_that_did_not_answer_has_shown_nothing() {
        let engine = Engine::connect_with_http("http://127.0.0.1:1", 5, API_DEFAULT_VERSION).unwrap();
        let (ahead, control) = (Ahead::default(), Path::new("/control"));
        ahead.look(control, &engine, "one:1").await;
        assert_eq!(ahead.take(control, &engine, "one:1").await, None);
    }
}
