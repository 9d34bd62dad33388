//! Asks a controller over an open connection whether it is ready, and what time it has.
//!
//! No token is needed for that, so a doctor can tell a controller that is away from one that refuses.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Finding;
use super::moment::{UnixSeconds, http_date};

const PATIENCE: Duration = Duration::from_secs(8);
/// An answer is a few lines.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// What a controller said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Its time.
    pub date: Option<UnixSeconds>,
    pub body: String,
}

/// Asks for `/readyz`; the connection speaks HTTP/1.1, and ends with the answer.
pub async fn ask<S>(mut stream: S, host: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = async {
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
        match read {
            // Some end without a farewell; what came is what counts.
            Err(error) if answer.is_empty() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| io::Error::other("what answers is no controller of ours"))
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let mut dates = headers.filter(|(name, _)| name.eq_ignore_ascii_case("date"));
    let date = dates.next().and_then(|(_, value)| http_date(value));
    Some(Answer { status, date, body: body.to_owned() })
}

impl Answer {
    /// Judges what was said of the controller at `address`.
    pub fn finding(&self, check: &'static str, address: &str) -> Finding {
        match self.status {
            200 => Finding::ok(check, format!("{address} is ready")),
            503 => Finding::fail(
                check,
                format!("{address} answers, and is not ready: {}", self.body.trim()),
                "ocelot-controller doctor  # on its machine",
            ),
            status => Finding::fail(
                check,
                format!("{address} answers with {status}: it is no controller of ours"),
                "ocelot config show",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        let (near, mut far) = tokio::io::duplex(4096);
        let answered = async {
            let mut asked = [0; 512];
            let count = far.read(&mut asked).await.unwrap();
            assert!(asked[..count].starts_with(b"GET /readyz HTTP/1.1\r\nHost: h\r\n"));
            let answer = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{}";
            far.write_all(answer).await.unwrap();
            drop(far);
        };
        let (answer, ()) = tokio::join!(ask(near, "h"), answered);
        assert_eq!(answer.unwrap(), Answer { status: 200, date: Some(784_111_777), body: "{}".to_owned() });
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_other_tongues_are_no_answer() {
        let (near, _far) = tokio::io::duplex(64);
        assert_eq!(ask(near, "h").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (near, mut far) = tokio::io::duplex(4096);
        let (answer, ()) = tokio::join!(ask(near, "h"), async {
            far.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
            drop(far);
        });
        answer.unwrap_err();
    }
}
