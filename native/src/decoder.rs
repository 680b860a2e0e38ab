//! Reads the events of models, one message at a time, and accepts those that are valid beyond doubt.

use std::collections::{HashMap, HashSet};

use crate::columns::{Row, Text, Widths};
use crate::members::{Found, Members, UNWATCHED};
use crate::number::{read_number, read_short_number};
use crate::scan::{literal, skip_spaces, skip_value, text_end, unescape};

/// A longer text that is watched is left to the fallback.
const MAX_TEXT: usize = 1 << 16;

/// What a watched member holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The event's model, which selects these members.
    Model,
    /// A text that is required and not empty, and its column if it is kept.
    Id(Option<usize>),
    /// The first of the names, required and not empty.
    Version,
    /// The event's time in milliseconds, required.
    Time,
    Role,
    Seq,
    /// A repetitive text.
    Name(usize),
    /// A repetitive text, or the text of a flag or of a whole number.
    Label(usize),
    /// A map with watched members of its own.
    Map(usize),
    /// A map of which every entry is kept.
    Entries(usize),
    Number(usize),
    /// True, false, 0 or 1.
    Flag(usize),
    /// Milliseconds, a whole or any other number.
    Moment(usize),
    Text(usize),
    /// A text, or the text of a flag or of a whole number.
    Class(usize),
}

impl Kind {
    pub fn is_required(self) -> bool {
        matches!(self, Kind::Model | Kind::Id(_) | Kind::Version | Kind::Time)
    }
}

/// What the entries of a map are, and where they go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// Numbers and flags, texts, and names of nulls, in three columns.
    Features,
    /// Texts, and the texts of flags and of whole numbers.
    Texts,
    Numbers,
}

impl Content {
    pub fn columns(self) -> usize {
        if self == Content::Features { 3 } else { 1 }
    }
}

/// A map of which every entry is kept.
pub struct Entries {
    pub content: Content,
    /// The first of its columns.
    pub column: usize,
    /// The names that are not learned from events; features of other names are counted.
    pub known: usize,
    pub members: Members,
    /// By name: the number of the event that had it last, and whether its values are texts only.
    pub names: Vec<(u64, bool)>,
}

/// So many names of a map are learned; an event with another one is left to the fallback.
const MORE_NAMES: usize = 1000;

impl Entries {
    pub fn new(content: Content, column: usize, names: Vec<(String, bool)>) -> Self {
        let watched = names.iter().zip(0..).map(|((name, _), number)| (Box::from(name.as_bytes()), number)).collect();
        let mut states: Vec<_> = names.iter().map(|&(_, is_text)| (0, is_text)).collect();
        states.resize(names.len() + MORE_NAMES, (0, false));
        let members = Members::new(watched).learning(MORE_NAMES);
        Entries { content, column, known: names.len(), members, names: states }
    }
}

/// Texts that may stand for numbers.
const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// A map whose members are all numbers, of which the largest is a column.
pub struct Largest {
    pub map: usize,
    pub column: usize,
}

/// The members of a model's events that are watched.
pub struct Model {
    pub name: String,
    pub members: Vec<Kind>,
    /// The members that every event has.
    pub required: Vec<usize>,
    /// The event's own members, and those of its maps.
    pub objects: Vec<Members>,
    pub largest: Option<Largest>,
    pub entries: Vec<Entries>,
    pub widths: Widths,
    /// Events are kept whole, if the hash of their id is less: one with a member that is not watched is left to the
    /// fallback.
    pub hash_limit: Option<f64>,
}

impl Model {
    /// The names of the entries of each column of maps, by number.
    pub fn map_names(&self) -> Vec<Vec<&str>> {
        let columns = self.entries.iter().flat_map(|entries| vec![entries; entries.content.columns()]);
        columns.map(|entries| entries.members.names()).collect()
    }
}

/// What all events have in common.
pub struct Rules {
    /// The values of `role`, each with whether it is that of a shadow.
    pub roles: Vec<(String, bool)>,
    /// How much later than the receipt a valid time may be, in milliseconds.
    pub max_ahead_ms: i64,
    /// How much earlier than the receipt a valid time may be.
    pub max_age_ms: i64,
}

/// Why an event was not accepted.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// The fallback decides.
    Doubt,
    /// The event is of another model, whose members are to be read instead.
    Model(usize),
}

type Outcome<T> = Result<T, Refusal>;

fn sure<T>(value: Option<T>) -> Outcome<T> {
    value.ok_or(Refusal::Doubt)
}

pub struct Decoder {
    pub models: Vec<Model>,
    by_name: HashMap<String, usize>,
    rules: Rules,
    pub row: Row,
    /// Number of the event in which each member was seen last.
    seen: Vec<u64>,
    event: u64,
    /// Names of the map whose largest number is read.
    names: Vec<(usize, usize)>,
    /// The model of the last event.
    last: usize,
}

impl Decoder {
    pub fn new(models: Vec<Model>, rules: Rules) -> Self {
        let by_name = models.iter().enumerate().map(|(i, model)| (model.name.clone(), i)).collect();
        let most = models.iter().map(|model| model.members.len()).max().unwrap_or(0);
        Decoder {
            models,
            by_name,
            rules,
            row: Row::default(),
            seen: vec![0; most],
            event: 0,
            names: Vec::new(),
            last: 0,
        }
    }

    /// Read an event into `row`; return its model, or None if the fallback decides about it.
    pub fn read(&mut self, message: &str, received_ms: i64) -> Option<usize> {
        if self.models.is_empty() {
            return None;
        }
        let mut model = self.last;
        // The second model is the event's own.
        for _ in 0..2 {
            match self.read_as(model, message, received_ms) {
                Ok(()) => {
                    self.last = model;
                    return Some(model);
                }
                Err(Refusal::Doubt) => return None,
                Err(Refusal::Model(other)) => model = other,
            }
        }
        None
    }

    fn read_as(&mut self, model: usize, message: &str, received_ms: i64) -> Outcome<()> {
        let mut reader = Reader {
            model_index: model,
            model: &mut self.models[model],
            by_name: &self.by_name,
            rules: &self.rules,
            row: &mut self.row,
            seen: &mut self.seen,
            event: self.event + 1,
            names: &mut self.names,
            message,
            bytes: message.as_bytes(),
        };
        self.event += 1;
        reader.read(received_ms)
    }
}

struct Reader<'a> {
    model_index: usize,
    model: &'a mut Model,
    by_name: &'a HashMap<String, usize>,
    rules: &'a Rules,
    row: &'a mut Row,
    seen: &'a mut [u64],
    event: u64,
    names: &'a mut Vec<(usize, usize)>,
    message: &'a str,
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn read(&mut self, received_ms: i64) -> Outcome<()> {
        self.row.clear(self.model.widths);
        let start = skip_spaces(self.bytes, 0);
        let end = self.object(0, start)?;
        if skip_spaces(self.bytes, end) != self.bytes.len() {
            return Err(Refusal::Doubt);
        }
        let is_complete = self.model.required.iter().all(|&member| self.seen[member] == self.event);
        let earliest = received_ms.saturating_sub(self.rules.max_age_ms);
        let latest = received_ms.saturating_add(self.rules.max_ahead_ms);
        let is_timely = (earliest..=latest).contains(&self.row.at_ms);
        if is_complete && is_timely { Ok(()) } else { Err(Refusal::Doubt) }
    }

    /// Read the object at `i`, and return the position behind it.
    fn object(&mut self, object: usize, i: usize) -> Outcome<usize> {
        let mut i = sure(literal(self.bytes, i, b"{"))?;
        let largest = self.model.largest.as_ref().filter(|largest| largest.map == object).map(|largest| largest.column);
        self.names.clear();
        let mut before = 0;
        let end = loop {
            if let Some(end) = self.object_end(i) {
                break end;
            }
            let found = self.model.objects[object].find(self.bytes, i, before);
            let Found { member, entry, value } = found.map_err(|_| Refusal::Doubt)?;
            if let Some(column) = largest {
                self.names.push((i, value));
                self.larger(column, value)?;
            }
            i = self.member(member, value)?;
            before = entry;
        };
        if largest.is_some() {
            self.require_distinct_names()?;
        }
        Ok(end)
    }

    /// Return the position behind an object if it ends at `i`.
    #[inline(always)]
    fn object_end(&self, i: usize) -> Option<usize> {
        let i = skip_spaces(self.bytes, i);
        (self.bytes.get(i) == Some(&b'}')).then_some(i + 1)
    }

    /// Read the map at `i` of which every entry is kept, and return the position behind it.
    fn entries(&mut self, map: usize, i: usize) -> Outcome<usize> {
        let (mut i, mut before) = (sure(literal(self.bytes, i, b"{"))?, 0);
        loop {
            if let Some(end) = self.object_end(i) {
                return Ok(end);
            }
            let found = self.model.entries[map].members.find(self.bytes, i, before);
            let found = found.map_err(|_| Refusal::Doubt)?;
            i = self.entry(map, found.member, found.value)?;
            before = found.entry;
        }
    }

    /// Read the value at `i` of a map's entry, and return the position behind it.
    #[inline]
    fn entry(&mut self, map: usize, name: u16, i: usize) -> Outcome<usize> {
        let entries = &mut self.model.entries[map];
        let (content, column, is_unknown) = (entries.content, entries.column, usize::from(name) >= entries.known);
        // A name that could not be learned has no state.
        let (seen, is_text) = sure(entries.names.get_mut(usize::from(name)))?;
        let is_text = *is_text;
        // Of equal names in a map, only the last counts.
        if std::mem::replace(seen, self.event) == self.event {
            return Err(Refusal::Doubt);
        }
        let code = i32::from(name);
        if self.bytes.get(i) == Some(&b'n') {
            if content == Content::Features {
                self.row.maps[column + 2].names.push(code);
            }
            return sure(literal(self.bytes, i, b"null"));
        }
        self.row.unknown += i64::from(content == Content::Features && is_unknown);
        if self.bytes.get(i) == Some(&b'"') || content == Content::Texts {
            let (text, end) = if is_text { self.text(i)? } else { self.label(i)? };
            let may_be_number = content == Content::Features && NOT_FINITE.contains(&self.plain(text));
            if content == Content::Numbers || may_be_number {
                return Err(Refusal::Doubt);
            }
            let map = &mut self.row.maps[column + usize::from(content == Content::Features)];
            map.names.push(code);
            map.texts.push(text);
            return Ok(end);
        }
        if is_text {
            return Err(Refusal::Doubt);
        }
        let (value, end) = if let Some(number) = read_short_number(self.bytes, i) {
            number
        } else if let Some(number) = read_number(self.bytes, i) {
            (number.value, number.end)
        } else if content == Content::Features {
            sure(self.flag(i))?
        } else {
            return Err(Refusal::Doubt);
        };
        let map = &mut self.row.maps[column];
        map.names.push(code);
        map.numbers.push(value);
        Ok(end)
    }

    /// Raise the largest number of a map by the value at `i`.
    fn larger(&mut self, column: usize, i: usize) -> Outcome<()> {
        if literal(self.bytes, i, b"null").is_none() {
            let largest = &mut self.row.numbers[column];
            // Adding 0 removes −0, which would depend on the order of the members.
            *largest = largest.max(sure(read_number(self.bytes, i))?.value) + 0.0;
        }
        Ok(())
    }

    /// Of equal names in a map, only the last counts: such an event is left to the fallback.
    fn require_distinct_names(&mut self) -> Outcome<()> {
        let name = |&(start, value): &(usize, usize)| {
            let before_value = self.bytes.get(start..value).unwrap_or_default();
            before_value.split(|&byte| byte == b'"').nth(1).unwrap_or_default()
        };
        let distinct: HashSet<&[u8]> = self.names.iter().map(name).collect();
        if distinct.len() == self.names.len() { Ok(()) } else { Err(Refusal::Doubt) }
    }

    /// Read the value at `i` of a member, and return the position behind it.
    #[inline]
    fn member(&mut self, member: u16, i: usize) -> Outcome<usize> {
        if member == UNWATCHED {
            return if self.model.hash_limit.is_some() {
                Err(Refusal::Doubt)
            } else {
                sure(skip_value(self.message, i))
            };
        }
        let member = usize::from(member);
        // The last of equal members counts; rare enough for the fallback.
        if std::mem::replace(&mut self.seen[member], self.event) == self.event {
            return Err(Refusal::Doubt);
        }
        let kind = self.model.members[member];
        if let Kind::Number(column) = kind {
            if let Some((value, end)) = read_short_number(self.bytes, i) {
                self.row.numbers[column] = value;
                return Ok(end);
            }
            if let Some(number) = read_number(self.bytes, i) {
                self.row.numbers[column] = number.value;
                return Ok(number.end);
            }
        }
        if !kind.is_required() {
            if let Some(end) = literal(self.bytes, i, b"null") {
                return Ok(end);
            }
        }
        match kind {
            Kind::Number(_) => Err(Refusal::Doubt),
            Kind::Flag(column) => {
                let (value, end) = sure(self.flag(i))?;
                self.row.numbers[column] = value;
                Ok(end)
            }
            Kind::Moment(column) => {
                let number = sure(read_number(self.bytes, i))?;
                self.row.numbers[column] = number.value;
                Ok(number.end)
            }
            Kind::Time => {
                let number = sure(read_number(self.bytes, i))?;
                self.row.at_ms = sure(number.integer)?;
                Ok(number.end)
            }
            Kind::Seq => {
                let number = sure(read_number(self.bytes, i))?;
                self.row.seq = sure(number.integer.filter(|&seq| seq >= 0))?;
                Ok(number.end)
            }
            Kind::Map(object) => self.object(object, i),
            Kind::Entries(map) => self.entries(map, i),
            Kind::Text(column) => {
                let (text, end) = self.text(i)?;
                self.row.texts[column] = text;
                Ok(end)
            }
            Kind::Class(column) => {
                let (text, end) = self.label(i)?;
                self.row.texts[column] = text;
                Ok(end)
            }
            Kind::Name(column) => {
                let (text, end) = self.text(i)?;
                self.row.names[column] = text;
                Ok(end)
            }
            Kind::Label(column) => {
                let (text, end) = self.label(i)?;
                self.row.names[column] = text;
                Ok(end)
            }
            Kind::Model => {
                let (text, end) = self.text(i)?;
                let name = self.plain(text);
                if name != self.model.name {
                    return Err(self.by_name.get(name).map_or(Refusal::Doubt, |&other| Refusal::Model(other)));
                }
                debug_assert_eq!(self.by_name.get(name), Some(&self.model_index));
                Ok(end)
            }
            Kind::Id(column) => {
                let (text, end) = self.text(i)?;
                if let Some(column) = column {
                    self.row.texts[column] = text;
                }
                if self.plain(text).is_empty() { Err(Refusal::Doubt) } else { Ok(end) }
            }
            Kind::Version => {
                let (text, end) = self.text(i)?;
                self.row.names[0] = text;
                if self.plain(text).is_empty() { Err(Refusal::Doubt) } else { Ok(end) }
            }
            Kind::Role => {
                let (text, end) = self.text(i)?;
                let role = self.plain(text);
                self.row.is_shadow = sure(self.rules.roles.iter().find(|(name, _)| name == role))?.1;
                Ok(end)
            }
        }
    }

    fn flag(&self, i: usize) -> Option<(f64, usize)> {
        if let Some(end) = literal(self.bytes, i, b"true") {
            return Some((1.0, end));
        }
        if let Some(end) = literal(self.bytes, i, b"false") {
            return Some((0.0, end));
        }
        let number = read_number(self.bytes, i)?;
        matches!(number.integer, Some(0 | 1)).then_some((number.value, number.end))
    }

    /// Read a text, or a flag or a whole number as a text.
    fn label(&mut self, i: usize) -> Outcome<(Text, usize)> {
        if self.bytes.get(i) == Some(&b'"') {
            return self.text(i);
        }
        let end = sure(self.plain_class(i))?;
        Ok((Text::InMessage(i, end), end))
    }

    /// Return the end of a class that is no text, and whose spelling is the one that it counts as.
    fn plain_class(&self, i: usize) -> Option<usize> {
        if let Some(end) = literal(self.bytes, i, b"true").or_else(|| literal(self.bytes, i, b"false")) {
            return Some(end);
        }
        let number = read_number(self.bytes, i)?;
        let integer = number.integer?;
        (integer != 0 || self.bytes[i] == b'0').then_some(number.end)
    }

    fn text(&mut self, i: usize) -> Outcome<(Text, usize)> {
        if self.bytes.get(i) != Some(&b'"') {
            return Err(Refusal::Doubt);
        }
        let start = i + 1;
        let end = sure(text_end(self.bytes, start).filter(|end| end.quote - start <= MAX_TEXT))?;
        if !end.has_escapes {
            return Ok((Text::InMessage(start, end.quote), end.quote + 1));
        }
        let plain = sure(unescape(&self.message[start..end.quote]))?;
        self.row.unescaped.push(plain);
        Ok((Text::Unescaped(self.row.unescaped.len() - 1), end.quote + 1))
    }

    fn plain(&self, text: Text) -> &str {
        match text {
            Text::Null => "",
            Text::InMessage(start, end) => &self.message[start..end],
            Text::Unescaped(index) => &self.row.unescaped[index],
        }
    }
}
