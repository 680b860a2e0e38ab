//! Tells which events are left out of the raw rows, by a hash of their ids, from the start of each message alone.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::Values;
use crate::members::{Members, UNWATCHED};
use crate::scan::{skip_spaces, skip_value, text_end};

const MODEL: u16 = 0;

/// Samples events by model and id; the stub file documents it.
#[pyclass]
pub struct Sampler {
    members: Members,
    limits: HashMap<String, f64>,
    /// Messages that are kept because of a defect of this library.
    #[pyo3(get)]
    panics: u64,
}

#[pymethods]
impl Sampler {
    #[new]
    fn new(limits: HashMap<String, f64>) -> Self {
        let names = ["model", "id"].map(|name| Box::from(name.as_bytes()));
        Sampler { members: Members::new(names.into_iter().zip(MODEL..).collect()), limits, panics: 0 }
    }

    /// Return the indices of the messages that are not left out.
    fn kept(&mut self, values: Values<'_>) -> PyResult<Vec<usize>> {
        let mut kept = Vec::new();
        for i in 0..values.len() {
            let left_out = values.with(i, |value| catch_unwind(AssertUnwindSafe(|| self.leaves_out(value?))))?;
            self.panics += u64::from(left_out.is_err());
            if !matches!(left_out, Ok(Some(()))) {
                kept.push(i);
            }
        }
        Ok(kept)
    }
}

impl Sampler {
    /// Some: however the message goes on, it gives no row. It is no event, or its id has a hash over the limit.
    fn leaves_out(&mut self, value: &[u8]) -> Option<()> {
        let message = std::str::from_utf8(value).ok()?;
        let mut i = skip_spaces(value, 0);
        if value.get(i) != Some(&b'{') {
            return None;
        }
        i += 1;
        let (mut texts, mut before) = ([None; 2], 0);
        while texts.contains(&None) {
            let found = self.members.find(value, i, before).ok()?;
            before = found.entry;
            i = if found.member == UNWATCHED {
                skip_value(message, found.value)?
            } else {
                let start = found.value + 1;
                let end = text_end(value, start).filter(|end| value[found.value] == b'"' && !end.has_escapes)?;
                if texts[usize::from(found.member)].replace(&message[start..end.quote]).is_some() {
                    return None;
                }
                end.quote + 1
            };
        }
        let limit = *self.limits.get(texts[0]?)?;
        (f64::from(crc32(texts[1]?.as_bytes())) >= limit && !may_repeat(&value[i..])).then_some(())
    }
}

/// Bytes that are looked at together: without a branch for each, a compiler compares many at once.
const BLOCK: usize = 64;

/// Whether a message may go on with another model or id, of which the last counts: plainly written, or by escapes.
fn may_repeat(rest: &[u8]) -> bool {
    let is_near = |first: u8, second: u8| {
        ((first == b'"') & ((second == b'i') | (second == b'm'))) | ((first == b'\\') & (second == b'u'))
    };
    let is_name = |at: &[u8]| [&b"\"id\""[..], b"\"model\"", b"\\u"].iter().any(|name| at.starts_with(name));
    (0..rest.len().saturating_sub(1)).step_by(BLOCK).any(|start| {
        let end = rest.len().min(start + BLOCK + 1);
        let (firsts, seconds) = (&rest[start..end - 1], &rest[start + 1..end]);
        let near = firsts.iter().zip(seconds).fold(false, |near, (&first, &second)| near | is_near(first, second));
        near && (start..end).any(|i| is_name(&rest[i..]))
    })
}

/// Tables of CRC-32 as zlib computes it, for four bytes at once.
const TABLES: [[u32; 256]; 4] = {
    let mut tables = [[0; 256]; 4];
    let mut i = 0;
    while i < 4 * 256 {
        let (table, byte) = (i / 256, i % 256);
        let mut crc = if table == 0 { byte as u32 } else { tables[table - 1][byte] };
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        tables[table][byte] = crc;
        i += 1;
    }
    tables
};

/// Return the CRC-32 of bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
    let at = |table: usize, word: u32, shift: u32| TABLES[table][(word >> shift) as usize & 0xff];
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let crc = words.fold(!0, |crc, word| {
        let word = crc ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        at(3, word, 0) ^ at(2, word, 8) ^ at(1, word, 16) ^ at(0, word, 24)
    });
    !rest.iter().fold(crc, |crc, &byte| (crc >> 8) ^ at(0, crc ^ u32::from(byte), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_zlib() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"a"), 0xe8b7_be43);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"The quick brown fox jumps over the lazy dog"), 0x414f_a339);
    }

    #[test]
    fn names_that_may_repeat_are_found_anywhere() {
        for name in ["\"id\"", "\"model\"", "\\u0069"] {
            for before in 0..2 * BLOCK {
                assert!(may_repeat(format!("{}{name}", "x".repeat(before)).as_bytes()), "{before} {name}");
            }
        }
        for text in ["", "\"", "\"i", "\"idle\",\"mode\":\"user_id\"", "\\n", "\\"] {
            assert!(!may_repeat(text.as_bytes()), "{text}");
        }
    }
}
