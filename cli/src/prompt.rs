//! Questions to the person at the terminal; nobody there is an answer of its own.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::error::{Error, Result};

/// Far more than anybody types.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Tells whether somebody can be asked.
pub(crate) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a text; what is typed is shown.
pub(crate) fn text(question: &str) -> Result<String> {
    ask(question)?;
    let mut answer = String::new();
    let most = ANSWER_BYTES_MAX as u64;
    io::BufRead::read_line(&mut io::BufReader::new(io::stdin().lock().take(most)), &mut answer)
        .map_err(gone)?;
    if answer.is_empty() {
        return Err(gone(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks a question whose answer is yes or no; only a clear yes is one.
pub(crate) fn yes(question: &str) -> Result<bool> {
    let answer = text(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a secret; nothing of what is typed is shown.
pub(crate) fn secret(question: &str) -> Result<String> {
    ask(question)?;
    let hidden = Hidden::begin().map_err(gone)?;
    let answer = keys();
    drop(hidden);
    drop(io::stderr().write_all(b"\n"));
    answer
}

fn ask(question: &str) -> Result<()> {
    io::stderr().write_all(question.as_bytes()).and_then(|()| io::stderr().flush()).map_err(gone)
}

fn gone(source: io::Error) -> Error {
    Error::Usage { what: format!("no answer came: {source}"), hint: None }
}

/// Reads keys one by one, because the terminal's own signals are off: they would leave it silent.
fn keys() -> Result<String> {
    let mut typed = Vec::new();
    let mut input = io::stdin().lock();
    loop {
        let mut key = [0];
        if input.read(&mut key).map_err(gone)? == 0 || typed.len() > ANSWER_BYTES_MAX {
            return Err(gone(io::ErrorKind::UnexpectedEof.into()));
        }
        match key[0] {
            b'\n' | b'\r' => break,
            // Ctrl-C, and Ctrl-D on an empty line.
            3 => return Err(Error::Stopped),
            4 if typed.is_empty() => return Err(Error::Stopped),
            8 | 127 => while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            21 => typed.clear(),
            byte => typed.push(byte),
        }
    }
    String::from_utf8(typed).map_err(|_| Error::Usage { what: "that is not text".to_owned(), hint: None })
}

/// A terminal that shows nothing, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nothing to be done for a terminal that is gone.
        let _unseen = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}
