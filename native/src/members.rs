//! The members of an object: which of them are watched, and in which order the last events had them.

use std::collections::HashMap;

use crate::scan::{skip_spaces, text_end};

/// The number of a member that nothing watches.
pub const UNWATCHED: u16 = u16::MAX;
/// Entries beyond the watched members that a layout remembers.
const MORE_ENTRIES: usize = 64;
/// The longest prefix that a layout remembers, in bytes.
const MAX_PREFIX: usize = 256;

/// The entry before the first member.
const START: usize = 0;
/// The entry of a first member that is not remembered.
const FORGOTTEN: usize = 1;

/// What stands before a value, such as `,"temp": `, with the member that it names.
struct Entry {
    prefix: Box<[u8]>,
    /// The first bytes of the prefix, and a mask of those that it has.
    words: [u64; WORDS],
    masks: [u64; WORDS],
    member: u16,
    /// The entry that followed last time.
    next: usize,
}

impl Entry {
    fn new(prefix: &[u8], member: u16) -> Self {
        let (mut bytes, mut mask) = ([0; 8 * WORDS], [0; 8 * WORDS]);
        let n = prefix.len().min(bytes.len());
        bytes[..n].copy_from_slice(&prefix[..n]);
        mask[..n].fill(0xff);
        Entry { prefix: prefix.into(), words: words(&bytes), masks: words(&mask), member, next: START }
    }

    /// Return whether a message goes on with the prefix, of which there is one.
    #[inline(always)]
    fn is_at(&self, rest: &[u8]) -> bool {
        if self.prefix.len() > 8 * WORDS {
            return rest.starts_with(&self.prefix);
        }
        let Some(Ok(first)) = rest.get(..8 * WORDS).map(<&[u8; 8 * WORDS]>::try_from) else {
            return rest.starts_with(&self.prefix);
        };
        let read = words(first);
        (0..WORDS).fold(0, |differs, i| differs | ((read[i] ^ self.words[i]) & self.masks[i])) == 0
    }
}

/// Words of eight bytes that are compared at once: as many as a usual name takes.
const WORDS: usize = 3;

#[inline(always)]
fn words(bytes: &[u8; 8 * WORDS]) -> [u64; WORDS] {
    std::array::from_fn(|i| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[8 * i + byte])))
}

/// The members of one object of a model's events.
///
/// Producers write the same members in the same order. So the bytes between two values are compared with those that
/// stood there in the last event; only if they differ, the name is read and looked up.
pub struct Members {
    watched: HashMap<Box<[u8]>, u16>,
    /// The first two have no prefix: `START` and `FORGOTTEN`.
    entries: Vec<Entry>,
    by_prefix: HashMap<Box<[u8]>, usize>,
    /// So many names are watched at most: those above the given ones are learned from events.
    capacity: usize,
}

/// Where a member's value starts.
pub struct Found {
    pub member: u16,
    /// The entry to look behind for the next member.
    pub entry: usize,
    pub value: usize,
}

/// A member is not written plainly: not JSON, or escapes in its name.
pub struct Unreadable;

impl Members {
    pub fn new(watched: HashMap<Box<[u8]>, u16>) -> Self {
        let entries = [START, FORGOTTEN].map(|_| Entry::new(b"", UNWATCHED));
        let capacity = watched.len();
        Members { watched, entries: entries.into(), by_prefix: HashMap::new(), capacity }
    }

    /// Watch up to so many more names, which get the next numbers when they are first met.
    pub fn learning(self, names: usize) -> Self {
        Members { capacity: (self.capacity + names).min(usize::from(UNWATCHED)), ..self }
    }

    /// The names that are watched, by number.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![""; self.watched.len()];
        for (name, &number) in &self.watched {
            names[usize::from(number)] = std::str::from_utf8(name).unwrap_or_default();
        }
        names
    }

    /// Find the member that begins at `i`, behind the brace or the value of the entry before it.
    #[inline]
    pub fn find(&mut self, bytes: &[u8], i: usize, before: usize) -> Result<Found, Unreadable> {
        let expected = self.entries[before].next;
        if let Some(found) = self.compare(bytes, i, expected) {
            return Ok(found);
        }
        // Perhaps this event lacks one member. Behind the start the next prefix would have a comma.
        if before != START && expected != START {
            if let Some(found) = self.compare(bytes, i, self.entries[expected].next) {
                return Ok(found);
            }
        }
        self.look_up(bytes, i, before)
    }

    #[inline(always)]
    fn compare(&self, bytes: &[u8], i: usize, entry: usize) -> Option<Found> {
        let expected = &self.entries[entry];
        if expected.prefix.is_empty() || !expected.is_at(bytes.get(i..)?) {
            return None;
        }
        let value = skip_spaces(bytes, i + expected.prefix.len());
        Some(Found { member: expected.member, entry, value })
    }

    #[cold]
    fn look_up(&mut self, bytes: &[u8], i: usize, before: usize) -> Result<Found, Unreadable> {
        let mut at = skip_spaces(bytes, i);
        if before != START {
            if bytes.get(at) != Some(&b',') {
                return Err(Unreadable);
            }
            at = skip_spaces(bytes, at + 1);
        }
        if bytes.get(at) != Some(&b'"') {
            return Err(Unreadable);
        }
        let end = text_end(bytes, at + 1).filter(|end| !end.has_escapes).ok_or(Unreadable)?;
        let name = &bytes[at + 1..end.quote];
        at = skip_spaces(bytes, end.quote + 1);
        if bytes.get(at) != Some(&b':') {
            return Err(Unreadable);
        }
        let value = skip_spaces(bytes, at + 1);
        let prefix = &bytes[i..value];
        let entry = match self.by_prefix.get(prefix) {
            Some(&entry) => entry,
            None => {
                if self.watched.len() < self.capacity && !self.watched.contains_key(name) {
                    self.watched.insert(name.into(), self.watched.len() as u16);
                }
                let member = self.watched.get(name).copied().unwrap_or(UNWATCHED);
                let is_remembered = self.entries.len() < 2 * self.watched.len() + MORE_ENTRIES;
                if prefix.len() > MAX_PREFIX || !is_remembered {
                    return Ok(Found { member, entry: before.max(FORGOTTEN), value });
                }
                let entry = self.entries.len();
                self.entries.push(Entry::new(prefix, member));
                self.by_prefix.insert(prefix.into(), entry);
                entry
            }
        };
        self.entries[before].next = entry;
        Ok(Found { member: self.entries[entry].member, entry, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(members: &mut Members, text: &str) -> Option<Vec<u16>> {
        let (mut i, mut before, mut found) = (1, 0, Vec::new());
        loop {
            if text.as_bytes().get(i) == Some(&b'}') {
                return Some(found);
            }
            let next = members.find(text.as_bytes(), i, before).ok()?;
            found.push(next.member);
            (i, before) = (next.value + 1, next.entry);
        }
    }

    #[test]
    fn members_are_found_in_any_order() {
        let names = ["a", "b", "c"];
        let watched = names.iter().enumerate().map(|(i, name)| (Box::from(name.as_bytes()), i as u16)).collect();
        let mut members = Members::new(watched);
        for _ in 0..3 {
            assert_eq!(read(&mut members, r#"{"a":1,"b":2,"c":3}"#), Some(vec![0, 1, 2]));
            assert_eq!(read(&mut members, r#"{"a":1,"c":3}"#), Some(vec![0, 2]));
            assert_eq!(
                read(&mut members, r#"{ "c" : 3 , "x":1,"a":1}"#.replace("3 ", "3").as_str()),
                Some(vec![2, UNWATCHED, 0])
            );
            assert_eq!(read(&mut members, r#"{"b":2,"b":2}"#), Some(vec![1, 1]));
            assert_eq!(read(&mut members, r#"{,"b":2}"#), None);
            assert_eq!(read(&mut members, r#"{"a":1"a":1}"#), None);
            assert_eq!(read(&mut members, r#"{"c":1"c":1}"#), None);
            assert_eq!(read(&mut members, r#"{"b":2"a":1}"#), None);
            assert_eq!(read(&mut members, r#"{"b"2}"#), None);
            assert_eq!(read(&mut members, r#"{"\u0062":2}"#), None);
        }
    }

    #[test]
    fn names_are_learned() {
        let mut members = Members::new(HashMap::from([(Box::from(b"a".as_slice()), 0)])).learning(2);
        assert_eq!(read(&mut members, r#"{"b":1,"a":2,"c":3,"d":4}"#), Some(vec![1, 0, 2, UNWATCHED]));
        assert_eq!(read(&mut members, r#"{"d":1, "c":2,"b":3}"#), Some(vec![UNWATCHED, 2, 1]));
        assert_eq!(members.names(), ["a", "b", "c"]);
    }

    #[test]
    fn unknown_names_do_not_fill_the_layout() {
        let mut members = Members::new(HashMap::from([(Box::from(b"a".as_slice()), 0)]));
        for i in 0..1000 {
            let text = format!(r#"{{"x{i}":1,"a":2,"y{i}":3}}"#);
            assert_eq!(read(&mut members, &text), Some(vec![UNWATCHED, 0, UNWATCHED]), "{i}");
        }
        assert!(members.entries.len() <= 3 + MORE_ENTRIES);
    }
}
