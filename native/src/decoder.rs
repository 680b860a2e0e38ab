//! Reads the events of models, one message at a time, and accepts those that are valid beyond doubt.

use std::collections::{HashMap, HashSet};

use crate::columns::{Row, Text};
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
    /// A text that is required and not empty; its value is not kept.
    Id,
    Version,
    /// The event's time in milliseconds, required.
    Time,
    Error,
    Role,
    Producer,
    Seq,
    /// A map with watched members of its own.
    Map(usize),
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
        matches!(self, Kind::Model | Kind::Id | Kind::Version | Kind::Time)
    }
}

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
    pub numbers: usize,
    pub texts: usize,
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
        self.row.clear(self.model.numbers, self.model.texts);
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
        if self.bytes.get(i) != Some(&b'{') {
            return Err(Refusal::Doubt);
        }
        let largest = self.model.largest.as_ref().filter(|largest| largest.map == object).map(|largest| largest.column);
        self.names.clear();
        let (mut i, mut before) = (i + 1, 0);
        loop {
            if self.bytes.get(i) == Some(&b'}') {
                break;
            }
            let blank = skip_spaces(self.bytes, i);
            if blank != i && self.bytes.get(blank) == Some(&b'}') {
                i = blank;
                break;
            }
            let found = self.model.objects[object].find(self.bytes, i, before);
            let Found { member, entry, value } = found.map_err(|_| Refusal::Doubt)?;
            if let Some(column) = largest {
                self.names.push((i, value));
                self.larger(column, value)?;
            }
            i = self.member(member, value)?;
            before = entry;
        }
        if largest.is_some() {
            self.require_distinct_names()?;
        }
        Ok(i + 1)
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
            return sure(skip_value(self.message, i));
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
            Kind::Class(column) if self.bytes.get(i) != Some(&b'"') => {
                let end = sure(self.plain_class(i))?;
                self.row.texts[column] = Text::InMessage(i, end);
                Ok(end)
            }
            Kind::Text(column) | Kind::Class(column) => {
                let (text, end) = self.text(i)?;
                self.row.texts[column] = text;
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
            Kind::Id => {
                let (text, end) = self.text(i)?;
                if self.plain(text).is_empty() { Err(Refusal::Doubt) } else { Ok(end) }
            }
            Kind::Version => {
                let (text, end) = self.text(i)?;
                self.row.version = text;
                if self.plain(text).is_empty() { Err(Refusal::Doubt) } else { Ok(end) }
            }
            Kind::Error => {
                let (text, end) = self.text(i)?;
                self.row.error = text;
                Ok(end)
            }
            Kind::Producer => {
                let (text, end) = self.text(i)?;
                self.row.producer = text;
                Ok(end)
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
