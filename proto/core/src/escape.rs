//! What jobs and people wrote is hostile: it may hold orders to the terminal.
//!
//! Only colours pass, and only if colours are wanted. Every other control is shown, not obeyed:
//! nothing may move the cursor, rename the window, turn text around or hide it.

/// What becomes of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sgr {
    Keep,
    Drop,
}

/// Makes a stream harmless, in pieces of any size.
#[derive(Debug)]
pub struct Neutral {
    sgr: Sgr,
    /// The front of a letter or of an escape whose rest has not come yet.
    held: Vec<u8>,
    /// A colour is on and was not taken back.
    coloured: bool,
}

/// No colour needs more.
pub const SGR_BYTES_MAX: usize = 64;

/// What the front of some bytes is.
#[derive(Debug, PartialEq, Eq)]
enum Front {
    /// So many bytes that may pass.
    Pass(usize),
    /// A colour of so many bytes.
    Colour(usize),
    /// So many bytes that are shown instead.
    Show(usize),
    /// The rest must come first.
    More,
}

impl Neutral {
    pub fn new(sgr: Sgr) -> Self {
        Self { sgr, held: Vec::new(), coloured: false }
    }

    /// Goes on where another left this behind.
    pub fn after(sgr: Sgr, held: &[u8]) -> Self {
        Self { held: held.to_vec(), ..Self::new(sgr) }
    }

    /// Returns what is held back until more comes.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Appends what of `bytes` can be decided.
    pub fn push(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        if self.held.is_empty() {
            let rest = self.decide(bytes, into);
            self.held.extend_from_slice(&bytes[rest..]);
            return;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let rest = self.decide(&all, into);
        self.held.extend_from_slice(&all[rest..]);
    }

    /// Shows what is held back: nothing follows, or something else comes between.
    pub fn finish(&mut self, into: &mut Vec<u8>) {
        for byte in std::mem::take(&mut self.held) {
            show(&[byte], into);
        }
        if std::mem::take(&mut self.coloured) {
            into.extend_from_slice(b"\x1b[0m");
        }
    }

    fn decide(&mut self, bytes: &[u8], into: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match front(&bytes[at..]) {
                Front::Pass(length) => {
                    into.extend_from_slice(&bytes[at..at + length]);
                    at += length;
                }
                Front::Colour(length) => {
                    if self.sgr == Sgr::Keep {
                        let colour = &bytes[at..at + length];
                        into.extend_from_slice(colour);
                        self.coloured = !matches!(colour, b"\x1b[m" | b"\x1b[0m");
                    }
                    at += length;
                }
                Front::Show(length) => {
                    show(&bytes[at..at + length], into);
                    at += length;
                }
                Front::More => break,
            }
        }
        at
    }
}

/// Makes one text harmless that must stay on its line.
pub fn plain(text: &str) -> String {
    let mut neutral = Neutral::new(Sgr::Drop);
    let mut shown = Vec::with_capacity(text.len());
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' | '\x1b' => show(letter.to_string().as_bytes(), &mut shown),
            other => neutral.push(other.encode_utf8(&mut [0; 4]).as_bytes(), &mut shown),
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

fn is_usual(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\r')
}

fn front(bytes: &[u8]) -> Front {
    let usual = bytes.iter().position(|byte| !is_usual(*byte)).unwrap_or(bytes.len());
    if usual > 0 {
        return Front::Pass(usual);
    }
    match bytes[0] {
        0x1b => escape(bytes),
        0x80.. => letter(bytes),
        _ => Front::Show(1),
    }
}

fn escape(bytes: &[u8]) -> Front {
    match bytes.get(1) {
        None => Front::More,
        Some(b'[') => {
            let parameters = &bytes[2..];
            let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
            match end {
                Some(end) if parameters[end] == b'm' && end + 3 <= SGR_BYTES_MAX => Front::Colour(end + 3),
                None if bytes.len() < SGR_BYTES_MAX => Front::More,
                Some(_) | None => Front::Show(1),
            }
        }
        Some(_) => Front::Show(1),
    }
}

fn letter(bytes: &[u8]) -> Front {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Front::Show(1),
    };
    let piece = &bytes[..length.min(bytes.len())];
    match std::str::from_utf8(piece) {
        Ok(text) => match text.chars().next() {
            Some(letter) if is_control(letter) => Front::Show(length),
            Some(_) | None => Front::Pass(length),
        },
        Err(error) if error.error_len().is_none() && bytes.len() < length => Front::More,
        Err(_) => Front::Show(1),
    }
}

/// Controls beyond ASCII, and letters that turn the direction of text around or hide in it.
fn is_control(letter: char) -> bool {
    matches!(letter,
        '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Shows bytes that are not obeyed.
fn show(bytes: &[u8], into: &mut Vec<u8>) {
    if let [byte @ (0..0x20 | 0x7f)] = bytes {
        into.extend_from_slice(&[b'^', byte ^ 0x40]);
        return;
    }
    let text = match std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()) {
        Some(letter) => format!("<U+{:04X}>", u32::from(letter)),
        None => bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
    };
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neutral(sgr: Sgr, pieces: &[&[u8]]) -> String {
        let (mut neutral, mut shown) = (Neutral::new(sgr), Vec::new());
        pieces.iter().for_each(|piece| neutral.push(piece, &mut shown));
        neutral.finish(&mut shown);
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn only_colours_pass() {
        let cases: [(&[u8], &str); 12] = [
            (b"plain\ttext\r\n", "plain\ttext\r\n"),
            ("grüße 日本 🐆".as_bytes(), "grüße 日本 🐆"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[38;2;1;2;3mrgb\x1b[m", "\x1b[38;2;1;2;3mrgb\x1b[m"),
            (b"\x1b[2J\x1b[H", "^[[2J^[[H"),
            (b"\x1b]0;title\x07", "^[]0;title^G"),
            (b"\x1b]52;c;aGk=\x1b\\", "^[]52;c;aGk=^[\\"),
            (b"\x1bP+q\x1b\\", "^[P+q^[\\"),
            (b"\xc2\x9b2J \x9b2J \xff", "<U+009B>2J \\x9b2J \\xff"),
            ("a\u{202e}b\u{2066}c".as_bytes(), "a<U+202E>b<U+2066>c"),
            (b"\x00\x08\x7f\x0e", "^@^H^?^N"),
            (b"\x1b[?25l\x1b[>4m", "^[[?25l^[[>4m"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(neutral(Sgr::Keep, &[bytes]), shown);
        }
    }

    #[test]
    fn where_bytes_are_cut_changes_nothing() {
        let all = "a\x1b[1;31mré🐆\x1b[0m\x1b[2J\u{9b}\u{202e}z\x1b".as_bytes();
        let whole = neutral(Sgr::Keep, &[all]);
        for cut in 0..=all.len() {
            assert_eq!(neutral(Sgr::Keep, &[&all[..cut], &all[cut..]]), whole, "{cut}");
        }
        let single: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(neutral(Sgr::Keep, &single), whole);
    }

    #[test]
    fn a_colour_that_is_left_on_is_taken_back() {
        assert_eq!(neutral(Sgr::Keep, &[b"\x1b[31mred"]), "\x1b[31mred\x1b[0m");
        assert_eq!(neutral(Sgr::Drop, &[b"\x1b[31mred"]), "red");
    }

    #[test]
    fn an_endless_colour_is_not_held() {
        let mut bytes = b"\x1b[".to_vec();
        bytes.extend([b'1'; 200]);
        let (mut neutral, mut shown) = (Neutral::new(Sgr::Keep), Vec::new());
        neutral.push(&bytes, &mut shown);
        assert!(neutral.held.is_empty());
        assert!(shown.starts_with(b"^[[111"));
    }

    #[test]
    fn a_cell_stays_on_its_line() {
        assert_eq!(plain("a\nb\x1b[31mc\u{202e}"), "a^Jb^[[31mc<U+202E>");
    }
}
