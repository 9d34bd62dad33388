//! One block of 512 bytes that precedes an entry.

/// Everything in the format is rounded up to this.
pub(crate) const BLOCK: usize = 512;

/// Of the GNU dialect: names are bytes, sizes beyond octal are binary, and there is no prefix field.
const GNU: &[u8; 8] = b"ustar  \0";
const POSIX: &[u8; 6] = b"ustar\0";

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
}

impl Header {
    /// Reads a block that is not all zeros.
    pub(crate) fn decode(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        let told = number(&block[148..156]).ok_or("the checksum is no number")?;
        if told != u64::from(checksum(block)) {
            return Err("the checksum of a header is wrong");
        }
        let posix = &block[257..263] == POSIX;
        if !posix && &block[257..265] != GNU {
            return Err("a header is not of a known dialect");
        }
        let mut name = text(&block[..100])?;
        let prefix = if posix { text(&block[345..500])? } else { Vec::new() };
        if !prefix.is_empty() {
            name = [prefix.as_slice(), b"/", &name].concat();
        }
        let mode = number(&block[100..108]).ok_or("a mode is no number")?;
        Ok(Self {
            name,
            mode: u32::try_from(mode & 0o7777).unwrap_or_default(),
            size: number(&block[124..136]).ok_or("a size is no number")?,
            // A time before 1970 is legal and of no use: it counts as not told.
            mtime: number(&block[136..148]).unwrap_or_default(),
            kind: block[156],
            link: text(&block[157..257])?,
        })
    }

    /// Writes the block; a name or target of over 100 bytes is cut, and `longname` told it whole.
    pub(crate) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put(&mut block[..100], &self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime);
        block[156] = self.kind;
        put(&mut block[157..257], &self.link);
        block[257..265].copy_from_slice(GNU);
        let sum = checksum(&block);
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// The blocks that tell a name or target which a header has no room for, or none.
pub(crate) fn longname(kind: u8, name: &[u8]) -> Vec<u8> {
    if name.len() <= 100 {
        return Vec::new();
    }
    let size = name.len() as u64 + 1;
    let header =
        Header { name: b"././@LongLink".to_vec(), mode: 0o644, size, mtime: 0, kind, link: Vec::new() };
    let mut blocks = header.encode().to_vec();
    blocks.extend_from_slice(name);
    blocks.push(0);
    blocks.resize(blocks.len() + padding(size), 0);
    blocks
}

/// Bytes from the end of contents to the next block.
pub(crate) fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    (BLOCK - over) % BLOCK
}

/// The sum of all bytes, those of the sum itself counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    block.iter().map(|byte| u32::from(*byte)).sum::<u32>() - own + 8 * u32::from(b' ')
}

fn put(field: &mut [u8], text: &[u8]) {
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text[..fits]);
}

fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    if number < 1 << (3 * digits) {
        field[..digits].copy_from_slice(format!("{number:0digits$o}").as_bytes());
    } else {
        field[0] = 0x80;
        let from = field.len() - 8;
        field[from..].copy_from_slice(&number.to_be_bytes());
    }
}

/// The text of a field up to its first NUL, after which there may only be more of them.
fn text(field: &[u8]) -> Result<Vec<u8>, &'static str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    if field[end..].iter().any(|byte| *byte != 0) {
        return Err("a name has a NUL");
    }
    Ok(field[..end].to_vec())
}

/// A number in octal or, marked by its first byte, in binary; never a negative one.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field[1..].split_at(field.len() - 1 - 7);
        let small = field[0] == 0x80 && high.iter().all(|byte| *byte == 0);
        return small.then(|| low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let clean = digits.iter().all(|byte| matches!(byte, b'0'..=b'7'))
        && rest.iter().all(|byte| matches!(byte, b' ' | 0));
    clean.then(|| digits.iter().fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}
