//! Reading back the values that a task added while it ran. They are in its capture and nowhere else.

use std::io::{self, Read, Seek, SeekFrom};

use ocelot_core::frame::{Body, DATA_BYTES_MAX, Decoder, HEADER_BYTES, Offset};
use zeroize::Zeroizing;

/// Returns the values at the places that a checkpoint names, in its order.
pub fn added_values(
    capture: &mut (impl Read + Seek),
    places: &[Offset],
) -> io::Result<Vec<Zeroizing<Vec<u8>>>> {
    places.iter().map(|place| added_value(capture, *place)).collect()
}

fn added_value(capture: &mut (impl Read + Seek), place: Offset) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    capture.seek(SeekFrom::Start(place.0))?;
    capture.take((HEADER_BYTES + DATA_BYTES_MAX) as u64).read_to_end(&mut bytes)?;
    let mut decoder = Decoder::at(place);
    decoder.push(&bytes);
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("byte {place}: {why}"));
    match decoder.next_frame().map_err(|corrupt| damaged(corrupt.why))?.map(|frame| frame.body) {
        Some(Body::AddMask(value)) => Ok(Zeroizing::new(value.to_vec())),
        Some(_) | None => Err(damaged("the capture holds no value to mask here")),
    }
}
