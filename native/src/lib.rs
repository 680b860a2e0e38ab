//! Reads JSON events into columns. It accepts an event only if it is valid beyond doubt by a table of its model's
//! members; about every other one, the Python code that knows the rules decides.

#![deny(unsafe_code)] // but in `kafka`

mod columns;
mod decoder;
#[cfg(test)]
mod fuzz;
mod kafka;
mod members;
mod number;
mod sample;
mod scan;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use columns::{ModelColumns, Widths};
use decoder::{Content, Decoder, Entries, Kind, Largest, Model, Rules};
use kafka::{Fetched, Fetcher};
use members::{Members, UNWATCHED};

/// A member of a model's events: its map ("" for the event itself), its name, what it holds.
type MemberSpec = (String, String, String);
/// A map that is kept whole: its name, what it holds, and its known names, each with whether its values are hashed.
type WholeMap = (String, Content, Vec<(String, bool)>);
/// A model: its name, its members, the map whose largest number is a column ("" for none), and the limit of the ids'
/// hashes if events are kept whole.
type ModelSpec = (String, Vec<MemberSpec>, String, Option<f64>);

/// Reads events of the models that it is made for; the stub file documents it.
#[pyclass]
struct JsonReader {
    decoder: Decoder,
    columns: Vec<ModelColumns>,
    /// Events that a defect of this library left to the fallback.
    #[pyo3(get)]
    panics: u64,
    /// Bytes of the numbers in the columns.
    #[pyo3(get)]
    number_bytes: usize,
}

/// The values of messages.
#[derive(FromPyObject)]
enum Values<'py> {
    Fetched(PyRef<'py, Fetched>),
    List(Bound<'py, PyList>),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::Fetched(fetched) => fetched.len(),
            Values::List(list) => list.len(),
        }
    }

    /// Pass on the value at an index; None if the message has none.
    fn with<T>(&self, i: usize, read: impl FnOnce(Option<&[u8]>) -> T) -> PyResult<T> {
        match self {
            Values::Fetched(fetched) => Ok(read(fetched.value(i))),
            Values::List(list) => {
                let value = list.get_item(i)?;
                Ok(read(value.cast::<PyBytes>().ok().map(|value| value.as_bytes())))
            }
        }
    }
}

#[pymethods]
impl JsonReader {
    #[new]
    fn new(models: Vec<ModelSpec>, roles: Vec<(String, bool)>, max_ahead_ms: i64, max_age_ms: i64) -> PyResult<Self> {
        let models = models.into_iter().map(compile).collect::<PyResult<Vec<_>>>()?;
        let columns = models.iter().map(|model| ModelColumns::new(model.widths)).collect();
        let decoder = Decoder::new(models, Rules { roles, max_ahead_ms, max_age_ms });
        Ok(JsonReader { decoder, columns, panics: 0, number_bytes: 0 })
    }

    /// Read messages, and return the indices of those that are left to the fallback.
    fn add(&mut self, values: Values<'_>, received_ms: &[u8], first: u32) -> PyResult<Vec<u32>> {
        if received_ms.len() != 8 * values.len() {
            return Err(PyValueError::new_err("each message needs the time of its receipt"));
        }
        let mut left = Vec::new();
        for (i, received) in received_ms.chunks_exact(8).enumerate() {
            let received = received.try_into().map(i64::from_ne_bytes)?;
            let read = |value: &[u8]| self.add_one(value, received, first + i as u32);
            let is_read = values.with(i, |value| value.is_some_and(read))?;
            if !is_read {
                left.push(i as u32);
            }
        }
        Ok(left)
    }

    /// Return the columns of each model's events, None for a model without events, and empty them.
    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Vec<Option<Bound<'py, PyTuple>>>> {
        self.number_bytes = 0;
        let columns = self.columns.iter_mut().zip(&self.decoder.models);
        columns.map(|(columns, model)| columns.take(py, &model.map_names())).collect()
    }
}

impl JsonReader {
    /// Read a message, and return whether it was accepted.
    fn add_one(&mut self, value: &[u8], received_ms: i64, index: u32) -> bool {
        let Ok(message) = std::str::from_utf8(value) else { return false };
        // Only the row and the layouts change until the event is accepted, and every event clears the row.
        match catch_unwind(AssertUnwindSafe(|| self.decoder.read(message, received_ms))) {
            Ok(Some(model)) if self.leaves_out(model, message) => true,
            Ok(Some(model)) => {
                let columns = &mut self.columns[model];
                if columns.reserve(&self.decoder.row, message) {
                    columns.push(&self.decoder.row, message, index);
                    self.number_bytes += size_of_val(&self.decoder.row.numbers[..]);
                    return true;
                }
                false
            }
            Ok(None) => false,
            Err(_) => {
                self.panics += 1;
                false
            }
        }
    }
}

impl JsonReader {
    /// Whether the event in the row gives none, by the hash of its id.
    fn leaves_out(&self, model: usize, message: &str) -> bool {
        let row = &self.decoder.row;
        let is_over = |limit| limit <= f64::from(u32::MAX) && f64::from(row.hash_id(message)) >= limit;
        self.decoder.models[model].hash_limit.is_some_and(is_over)
    }
}

fn compile((name, specs, largest, hash_limit): ModelSpec) -> PyResult<Model> {
    let mut maps = vec![String::new()];
    let mut watched: Vec<HashMap<Box<[u8]>, u16>> = vec![HashMap::new()];
    let mut members = Vec::new();
    let mut open: Vec<WholeMap> = Vec::new();
    let mut widths = Widths::default();
    let next = |count: &mut usize| std::mem::replace(count, *count + 1);
    for (map, member, kind) in specs {
        let kind = match kind.as_str() {
            "model" => Kind::Model,
            "id" => Kind::Id(hash_limit.map(|_| next(&mut widths.texts))),
            "version" => {
                widths.names = 1;
                Kind::Version
            }
            "time" => Kind::Time,
            "role" => Kind::Role,
            "seq" => Kind::Seq,
            "map" => {
                maps.push(member.clone());
                watched.push(HashMap::new());
                Kind::Map(maps.len() - 1)
            }
            "features" | "texts" | "numbers" => {
                let contents = [("features", Content::Features), ("texts", Content::Texts)];
                let content =
                    contents.into_iter().find(|(name, _)| *name == kind).map_or(Content::Numbers, |each| each.1);
                open.push((member.clone(), content, Vec::new()));
                Kind::Entries(open.len() - 1)
            }
            "known" | "hashed" => {
                let entries = open.iter_mut().find(|(name, ..)| *name == map);
                let (.., names) = entries.ok_or_else(|| PyValueError::new_err(format!("{map} is no map")))?;
                names.push((member, kind == "hashed"));
                continue;
            }
            "name" => Kind::Name(next(&mut widths.names)),
            "label" => Kind::Label(next(&mut widths.names)),
            "number" => Kind::Number(next(&mut widths.numbers)),
            "flag" => Kind::Flag(next(&mut widths.numbers)),
            "moment" => Kind::Moment(next(&mut widths.numbers)),
            "text" => Kind::Text(next(&mut widths.texts)),
            "class" => Kind::Class(next(&mut widths.texts)),
            _ => return Err(PyValueError::new_err(format!("no member is a {kind}"))),
        };
        let object = maps.iter().position(|name| *name == map);
        let object = object.ok_or_else(|| PyValueError::new_err(format!("{map} is no map")))?;
        let number = u16::try_from(members.len()).ok().filter(|&number| number < UNWATCHED);
        let number = number.ok_or_else(|| PyValueError::new_err("too many members"))?;
        watched[object].insert(member.into_bytes().into(), number);
        members.push(kind);
    }
    let whole_map = maps.iter().position(|name| !largest.is_empty() && *name == largest);
    let largest = whole_map.map(|map| Largest { map, column: next(&mut widths.numbers) });
    let required = (0..members.len()).filter(|&member| members[member].is_required()).collect();
    let objects = watched.into_iter().map(Members::new).collect();
    let mut entries = Vec::new();
    for (_, content, names) in open {
        entries.push(Entries::new(content, widths.maps, names));
        widths.maps += content.columns();
    }
    Ok(Model { name, members, required, objects, largest, entries, widths, hash_limit })
}

#[pymodule]
fn barograph_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<sample::Sampler>()?;
    module.add_class::<JsonReader>()?;
    module.add_class::<Fetcher>()?;
    module.add_class::<Fetched>()?;
    module.add_function(wrap_pyfunction!(kafka::use_librdkafka, module)?)
}
