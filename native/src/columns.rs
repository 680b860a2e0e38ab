//! The columns of accepted events, until Python takes them.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyTuple};

use crate::sample::crc32;

/// The most bytes of one column of texts: their offsets have 32 bits.
const MAX_COLUMN_BYTES: usize = i32::MAX as usize / 2;

/// A text of an event: in the message or, if it had escapes, in the row's own texts.
#[derive(Clone, Copy, Default)]
pub enum Text {
    #[default]
    Null,
    InMessage(usize, usize),
    Unescaped(usize),
}

/// One event, until it is known to be valid as a whole.
#[derive(Default)]
pub struct Row {
    pub at_ms: i64,
    pub seq: i64,
    pub is_shadow: bool,
    pub names: Vec<Text>,
    pub numbers: Vec<f64>,
    pub texts: Vec<Text>,
    pub maps: Vec<MapRow>,
    /// How many features are not known.
    pub unknown: i64,
    pub unescaped: Vec<String>,
}

/// The entries of one map of an event: names by number, with numbers, texts or no values.
#[derive(Clone, Default)]
pub struct MapRow {
    pub names: Vec<i32>,
    pub numbers: Vec<f64>,
    pub texts: Vec<Text>,
}

/// How many columns a model's events have of each kind.
#[derive(Clone, Copy, Default)]
pub struct Widths {
    /// Repetitive texts, of which the first is the version.
    pub names: usize,
    pub numbers: usize,
    pub texts: usize,
    pub maps: usize,
}

impl Row {
    /// Empty the row for the next event of a model.
    pub fn clear(&mut self, widths: Widths) {
        (self.seq, self.is_shadow, self.unknown) = (-1, false, 0);
        self.names.clear();
        self.names.resize(widths.names, Text::Null);
        self.numbers.clear();
        self.numbers.resize(widths.numbers, f64::NAN);
        self.texts.clear();
        self.texts.resize(widths.texts, Text::Null);
        self.maps.resize(widths.maps, MapRow::default());
        for map in &mut self.maps {
            map.names.clear();
            map.numbers.clear();
            map.texts.clear();
        }
        self.unescaped.clear();
    }

    /// Hash the id, which is the first of the texts.
    pub fn hash_id(&self, message: &str) -> u32 {
        crc32(self.text(self.texts[0], message).unwrap_or_default().as_bytes())
    }

    fn text<'a>(&'a self, text: Text, message: &'a str) -> Option<&'a str> {
        match text {
            Text::Null => None,
            Text::InMessage(start, end) => message.get(start..end),
            Text::Unescaped(index) => self.unescaped.get(index).map(String::as_str),
        }
    }
}

/// Names of events, each stored once.
#[derive(Default)]
struct Names {
    values: Vec<Box<str>>,
    index: HashMap<Box<str>, i32>,
    /// Index of each event's name; −1 for none.
    codes: Vec<i32>,
}

impl Names {
    fn push(&mut self, name: Option<&str>) {
        let code = match name {
            None => -1,
            Some(name) => match self.codes.last().and_then(|&code| self.values.get(usize::try_from(code).ok()?)) {
                Some(last) if **last == *name => self.codes[self.codes.len() - 1],
                _ => self.code(name),
            },
        };
        self.codes.push(code);
    }

    fn code(&mut self, name: &str) -> i32 {
        if let Some(&code) = self.index.get(name) {
            return code;
        }
        let code = self.values.len() as i32;
        self.values.push(name.into());
        self.index.insert(name.into(), code);
        code
    }

    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.index.clear();
        let values = std::mem::take(&mut self.values);
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        Ok((values, take_bytes(py, &mut self.codes)).into_pyobject(py)?.into_any())
    }
}

/// Texts as Arrow lays them out.
struct TextColumn {
    offsets: Vec<i32>,
    data: Vec<u8>,
    validity: Vec<u8>,
    has_nulls: bool,
}

impl TextColumn {
    fn new() -> Self {
        TextColumn { offsets: vec![0], data: Vec::new(), validity: Vec::new(), has_nulls: false }
    }

    /// Return whether there is space for more texts, of at most so many bytes together.
    fn reserve(&mut self, texts: usize, bytes: usize) -> bool {
        self.data.len() + bytes < MAX_COLUMN_BYTES
            && self.data.try_reserve(bytes).is_ok()
            && self.offsets.try_reserve(texts).is_ok()
            && self.validity.try_reserve(texts).is_ok()
    }

    fn push(&mut self, text: Option<&str>) {
        let row = self.offsets.len() - 1;
        if row % 8 == 0 {
            self.validity.push(0);
        }
        match text {
            Some(text) => {
                self.data.extend_from_slice(text.as_bytes());
                self.validity[row / 8] |= 1 << (row % 8);
            }
            None => self.has_nulls = true,
        }
        self.offsets.push(self.data.len() as i32);
    }

    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let column = std::mem::replace(self, TextColumn::new());
        let validity = column.has_nulls.then(|| PyByteArray::new(py, &column.validity));
        let parts = (to_bytes(py, &column.offsets), PyByteArray::new(py, &column.data), validity);
        Ok(parts.into_pyobject(py)?.into_any())
    }
}

/// Maps as Arrow lays them out, with values of one kind.
struct MapColumn {
    ends: Vec<i32>,
    names: Vec<i32>,
    numbers: Vec<f64>,
    texts: TextColumn,
}

impl MapColumn {
    fn new() -> Self {
        MapColumn { ends: vec![0], names: Vec::new(), numbers: Vec::new(), texts: TextColumn::new() }
    }

    fn reserve(&mut self, row: &MapRow, bytes: usize) -> bool {
        let n = row.names.len();
        self.names.len() + n < MAX_COLUMN_BYTES
            && self.ends.try_reserve(1).is_ok()
            && self.names.try_reserve(n).is_ok()
            && self.numbers.try_reserve(row.numbers.len()).is_ok()
            && (row.texts.is_empty() || self.texts.reserve(row.texts.len(), bytes))
    }

    fn push(&mut self, map: &MapRow, row: &Row, message: &str) {
        self.names.extend_from_slice(&map.names);
        self.ends.push(self.names.len() as i32);
        self.numbers.extend_from_slice(&map.numbers);
        for text in &map.texts {
            self.texts.push(row.text(*text, message));
        }
    }

    fn take<'py>(&mut self, py: Python<'py>, names: &[&str]) -> PyResult<Bound<'py, PyAny>> {
        let ends = to_bytes(py, &self.ends);
        self.ends.truncate(1);
        let entries = (take_bytes(py, &mut self.names), take_bytes(py, &mut self.numbers), self.texts.take(py)?);
        Ok((names, ends, entries.0, entries.1, entries.2).into_pyobject(py)?.into_any())
    }
}

/// The events of one model.
pub struct ModelColumns {
    /// Index of each event's message in the batch.
    message: Vec<u32>,
    at_ms: Vec<i64>,
    seqs: Vec<i64>,
    shadows: Vec<u8>,
    unknown: Vec<i64>,
    names: Vec<Names>,
    /// Row after row: one place in memory to write to, however many columns there are.
    numbers: Vec<f64>,
    texts: Vec<TextColumn>,
    maps: Vec<MapColumn>,
}

impl ModelColumns {
    pub fn new(widths: Widths) -> Self {
        ModelColumns {
            message: Vec::new(),
            at_ms: Vec::new(),
            seqs: Vec::new(),
            shadows: Vec::new(),
            unknown: Vec::new(),
            names: (0..widths.names).map(|_| Names::default()).collect(),
            numbers: Vec::new(),
            texts: (0..widths.texts).map(|_| TextColumn::new()).collect(),
            maps: (0..widths.maps).map(|_| MapColumn::new()).collect(),
        }
    }

    /// Return whether the columns have space for one more event. They grow here, because elsewhere a lack of memory would
    /// end the process.
    pub fn reserve(&mut self, row: &Row, message: &str) -> bool {
        self.message.try_reserve(1).is_ok()
            && self.at_ms.try_reserve(1).is_ok()
            && self.seqs.try_reserve(1).is_ok()
            && self.shadows.try_reserve(1).is_ok()
            && self.unknown.try_reserve(1).is_ok()
            && self.names.iter_mut().all(|names| names.codes.try_reserve(1).is_ok())
            && self.numbers.try_reserve(row.numbers.len()).is_ok()
            && self.texts.iter_mut().all(|column| column.reserve(1, message.len()))
            && self.maps.iter_mut().zip(&row.maps).all(|(column, map)| column.reserve(map, message.len()))
    }

    pub fn push(&mut self, row: &Row, message: &str, index: u32) {
        self.message.push(index);
        self.at_ms.push(row.at_ms);
        self.seqs.push(row.seq);
        self.shadows.push(u8::from(row.is_shadow));
        self.unknown.push(row.unknown);
        for (column, name) in self.names.iter_mut().zip(&row.names) {
            column.push(row.text(*name, message));
        }
        self.numbers.extend_from_slice(&row.numbers);
        for (column, text) in self.texts.iter_mut().zip(&row.texts) {
            column.push(row.text(*text, message));
        }
        for (column, map) in self.maps.iter_mut().zip(&row.maps) {
            column.push(map, row, message);
        }
    }

    /// Return the columns as a tuple, and empty them; None if there are no events.
    ///
    /// `map_names` has the names of each map's entries, by number.
    pub fn take<'py>(&mut self, py: Python<'py>, map_names: &[Vec<&str>]) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if self.message.is_empty() {
            return Ok(None);
        }
        let rows = self.message.len();
        let numbers = PyByteArray::new_with(py, size_of_val(&self.numbers[..]), |bytes| {
            transpose(&self.numbers, rows, bytes);
            Ok(())
        })?;
        self.numbers.clear();
        let texts = self.texts.iter_mut().map(|column| column.take(py)).collect::<PyResult<Vec<_>>>()?;
        let names = self.names.iter_mut().map(|column| column.take(py)).collect::<PyResult<Vec<_>>>()?;
        let maps = self.maps.iter_mut().zip(map_names).map(|(column, names)| column.take(py, names));
        let maps = maps.collect::<PyResult<Vec<_>>>()?;
        let columns = (
            take_bytes(py, &mut self.message),
            take_bytes(py, &mut self.at_ms),
            names,
            take_bytes(py, &mut self.seqs),
            take_bytes(py, &mut self.shadows),
            numbers,
            texts,
            maps,
            take_bytes(py, &mut self.unknown),
        );
        Ok(Some(columns.into_pyobject(py)?))
    }
}

/// Rows that are transposed together: the columns' ends stay in the cache meanwhile.
const BLOCK: usize = 64;

/// Write rows of numbers as columns, one after the other.
fn transpose(numbers: &[f64], rows: usize, bytes: &mut [u8]) {
    const SIZE: usize = size_of::<f64>();
    let width = numbers.len() / rows;
    if width == 0 {
        return;
    }
    for (block, part) in numbers.chunks(BLOCK * width).enumerate() {
        for (column, whole) in bytes.chunks_exact_mut(rows * SIZE).enumerate() {
            let target = whole[block * BLOCK * SIZE..].chunks_exact_mut(SIZE);
            for (value, target) in part[column..].iter().step_by(width).zip(target) {
                target.copy_from_slice(&value.to_ne_bytes());
            }
        }
    }
}

fn take_bytes<'py, T: bytemuck::NoUninit>(py: Python<'py>, values: &mut Vec<T>) -> Bound<'py, PyByteArray> {
    let bytes = to_bytes(py, values);
    // The next batch is as long: its columns need not grow again.
    values.clear();
    bytes
}

fn to_bytes<'py, T: bytemuck::NoUninit>(py: Python<'py>, values: &[T]) -> Bound<'py, PyByteArray> {
    PyByteArray::new(py, bytemuck::cast_slice(values))
}
