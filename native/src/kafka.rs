//! Fetches the messages of a confluent-kafka consumer without a Python object for each.
//!
//! confluent-kafka keeps the client: its group, its callbacks, its offsets and its transactions. This module routes
//! the assigned partitions to a queue of its own and reads this queue. It gets the client from librdkafka itself, which
//! loads this library as a plugin and tells it of each client that it makes.
//!
//! This is the crate's only module with unsafe code. It is sound because:
//! - the functions are those of the librdkafka that made the client, with the signatures of its public header `rdkafka.h`;
//! - a client is used only between `on_new` and `on_destroy`, which librdkafka calls before it frees the client, and
//!   under the lock that `on_destroy` takes;
//! - a message is copied and destroyed before `fetch` returns, so nothing outlives the client.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyIndexError, PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PySlice};

const NO_ERROR: c_int = 0;

/// `rd_kafka_message_t`
#[repr(C)]
struct RdMessage {
    err: c_int,
    rkt: *mut c_void,
    partition: i32,
    payload: *const u8,
    len: usize,
    key: *const u8,
    key_len: usize,
    offset: i64,
    private: *mut c_void,
}

type OnNew = extern "C" fn(*mut c_void, *const c_void, *mut c_void, *mut c_char, usize) -> c_int;
type OnDestroy = extern "C" fn(*mut c_void, *mut c_void) -> c_int;

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of librdkafka; each is `rd_kafka_` and its name here.
        struct Api { $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Api {
            /// Find the functions in the loaded library at a path.
            fn load(path: &CStr) -> Option<Api> {
                // SAFETY: RTLD_NOLOAD only finds a library that the process has loaded, and runs none of its code.
                let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
                let find = |name: &CStr| {
                    // SAFETY: both are valid; the library is never closed.
                    let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
                    (!symbol.is_null()).then_some(symbol)
                };
                if library.is_null() {
                    return None;
                }
                Some(Api {
                    // SAFETY: the symbols are these functions of librdkafka's public header.
                    $($name: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                            find(&CString::new(concat!("rd_kafka_", stringify!($name))).ok()?)?
                        )
                    },)*
                })
            }
        }
    };
}

functions! {
    conf_interceptor_add_on_new(*mut c_void, *const c_char, OnNew, *mut c_void) -> c_int;
    interceptor_add_on_destroy(*mut c_void, *const c_char, OnDestroy, *mut c_void) -> c_int;
    queue_new(*mut c_void) -> *mut c_void;
    queue_get_partition(*mut c_void, *const c_char, i32) -> *mut c_void;
    queue_forward(*mut c_void, *mut c_void);
    queue_destroy(*mut c_void);
    consume_batch_queue(*mut c_void, c_int, *mut *mut RdMessage, usize) -> isize;
    message_timestamp(*const RdMessage, *mut c_int) -> i64;
    message_headers(*const RdMessage, *mut *mut c_void) -> c_int;
    header_get_all(*const c_void, usize, *mut *const c_char, *mut *const c_void, *mut usize) -> c_int;
    message_errstr(*const RdMessage) -> *const c_char;
    message_destroy(*mut RdMessage);
    topic_name(*const c_void) -> *const c_char;
}

type Shared = Arc<Mutex<Queues>>;

static API: OnceLock<Api> = OnceLock::new();
/// The clients that live, with their queues once they have a fetcher.
static CLIENTS: Mutex<Vec<(usize, Option<Shared>)>> = Mutex::new(Vec::new());
const NAME: &CStr = c"barograph";

thread_local! {
    /// The client that this thread made last. A client is made in the thread that asks for it.
    static NEWEST: Cell<usize> = const { Cell::new(0) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by librdkafka for each configuration that names this library as a plugin.
///
/// # Safety
/// Only librdkafka may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn conf_init(conf: *mut c_void, _: *mut *mut c_void, _: *mut c_char, _: usize) -> c_int {
    match API.get() {
        // SAFETY: the configuration is librdkafka's own, valid during this call.
        Some(api) => unsafe { (api.conf_interceptor_add_on_new)(conf, NAME.as_ptr(), on_new, null_mut()) },
        None => NO_ERROR,
    }
}

extern "C" fn on_new(client: *mut c_void, _: *const c_void, _: *mut c_void, _: *mut c_char, _: usize) -> c_int {
    let Some(api) = API.get() else { return NO_ERROR };
    // SAFETY: librdkafka calls this with its new client.
    let error = unsafe { (api.interceptor_add_on_destroy)(client, NAME.as_ptr(), on_destroy, null_mut()) };
    // Without a notice of its end the client is left alone.
    if error == NO_ERROR {
        lock(&CLIENTS).push((client as usize, None));
        NEWEST.set(client as usize);
    }
    NO_ERROR
}

extern "C" fn on_destroy(client: *mut c_void, _: *mut c_void) -> c_int {
    let mut clients = lock(&CLIENTS);
    if let Some(i) = clients.iter().position(|(of, _)| *of == client as usize) {
        let (_, queues) = clients.swap_remove(i);
        queues.inspect(|queues| lock(queues).close());
    }
    NO_ERROR
}

/// The queues of a client; closed when it has none.
struct Queues {
    client: *mut c_void,
    /// All messages and errors of the routed partitions.
    shared: *mut c_void,
    partitions: Vec<*mut c_void>,
}

// SAFETY: librdkafka's functions may be called by any thread, and a mutex guards the queues.
unsafe impl Send for Queues {}

impl Queues {
    fn is_open(&self) -> bool {
        !self.shared.is_null()
    }

    /// Let the partitions' messages arrive in the shared queue.
    fn forward(&self, api: &Api) {
        for &queue in &self.partitions {
            // SAFETY: both queues are of the live client and not yet destroyed.
            unsafe { (api.queue_forward)(queue, self.shared) };
        }
    }

    fn forget_partitions(&mut self, api: &Api) {
        for queue in self.partitions.drain(..) {
            // SAFETY: the queue was got from the live client, and this is its only reference here.
            unsafe { (api.queue_destroy)(queue) };
        }
    }

    fn close(&mut self) {
        if let (Some(api), true) = (API.get(), self.is_open()) {
            self.forget_partitions(api);
            // SAFETY: as above.
            unsafe { (api.queue_destroy)(self.shared) };
            (self.client, self.shared) = (null_mut(), null_mut());
        }
    }
}

/// Reads the partitions of one consumer; the stub file documents it.
#[pyclass]
pub struct Fetcher {
    queues: Shared,
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the consumer is closed")
}

#[pymethods]
impl Fetcher {
    /// Read the consumer that this thread has just made.
    #[new]
    fn new() -> PyResult<Self> {
        let newest = NEWEST.replace(0);
        let mut clients = lock(&CLIENTS);
        let (Some(api), Some((client, found))) = (API.get(), clients.iter_mut().find(|(client, _)| *client == newest))
        else {
            return Err(PyRuntimeError::new_err("this thread has made no consumer with this library as a plugin"));
        };
        let client = *client as *mut c_void;
        // SAFETY: the client lives: `on_destroy` waits for this lock.
        let shared = unsafe { (api.queue_new)(client) };
        let queues = Arc::new(Mutex::new(Queues { client, shared, partitions: Vec::new() }));
        *found = Some(Arc::clone(&queues));
        Ok(Fetcher { queues })
    }

    fn route(&self, partitions: Vec<(String, i32)>) -> PyResult<()> {
        let api = API.get().ok_or_else(closed)?;
        let mut queues = lock(&self.queues);
        if !queues.is_open() {
            return Err(closed());
        }
        queues.forget_partitions(api);
        for (topic, partition) in partitions {
            let topic = CString::new(topic).map_err(|_| PyValueError::new_err("a topic's name has a zero byte"))?;
            // SAFETY: the client is alive while its queues are open.
            let queue = unsafe { (api.queue_get_partition)(queues.client, topic.as_ptr(), partition) };
            if queue.is_null() {
                return Err(PyRuntimeError::new_err(format!("librdkafka has no queue of {topic:?} {partition}")));
            }
            queues.partitions.push(queue);
        }
        queues.forward(api);
        Ok(())
    }

    fn fetch(&self, py: Python<'_>, messages: usize, timeout_ms: c_int) -> PyResult<Fetched> {
        py.detach(|| {
            let api = API.get().ok_or_else(closed)?;
            let queues = lock(&self.queues);
            if !queues.is_open() {
                return Err(closed());
            }
            // An assignment ends the routing when librdkafka gets to it.
            queues.forward(api);
            fetch(api, &queues, messages, timeout_ms)
        })
    }

    fn close(&self) {
        lock(&self.queues).close();
    }
}

/// Messages that are taken from the queue at once.
const CHUNK: usize = 500;
/// No more are taken from this size on.
const MAX_BYTES: usize = 8 << 20;

fn fetch(api: &Api, queues: &Queues, messages: usize, timeout_ms: c_int) -> PyResult<Fetched> {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    let (mut pointers, mut bytes, mut is_full) = (Vec::<*mut RdMessage>::new(), 0, false);
    while !is_full {
        let start = pointers.len();
        let wanted = CHUNK.min(messages - start);
        pointers.resize(start + wanted, null_mut());
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis() as c_int;
        // SAFETY: the queue is open, and the array has space for as many pointers.
        let n = unsafe { (api.consume_batch_queue)(queues.shared, left_ms, pointers[start..].as_mut_ptr(), wanted) };
        pointers.truncate(start + usize::try_from(n).unwrap_or(0));
        // SAFETY: librdkafka returned this many messages, each valid until it is destroyed below.
        bytes += pointers[start..].iter().map(|&message| unsafe { &*message }.len).sum::<usize>();
        if pointers.len() < start + wanted {
            break;
        }
        is_full = pointers.len() == messages || bytes >= MAX_BYTES;
    }
    let mut fetched = Fetched { is_full, ..Fetched::default() };
    let has_space = fetched.data.try_reserve_exact(bytes).is_ok();
    let mut topic = null_mut();
    for message in pointers {
        if has_space {
            // SAFETY: as above.
            fetched.push(api, unsafe { &*message }, &mut topic);
        }
        // SAFETY: as above; nothing refers to it any more.
        unsafe { (api.message_destroy)(message) };
    }
    if has_space { Ok(fetched) } else { Err(PyMemoryError::new_err(format!("no space for {bytes} bytes of messages"))) }
}

/// # Safety
/// The text must be null or end with a zero byte.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller promises it.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn topic_name(api: &Api, topic: *const c_void) -> String {
    // SAFETY: a message refers to its topic, whose name ends with a zero byte.
    if topic.is_null() { String::new() } else { unsafe { text((api.topic_name)(topic)) } }
}

type Headers = Vec<(String, Option<Vec<u8>>)>;

/// Messages and errors that were fetched together; the stub file documents it.
#[pyclass]
#[derive(Default)]
pub struct Fetched {
    data: Vec<u8>,
    /// Of each message the end of its value in the data, and whether it has one.
    ends: Vec<(usize, bool)>,
    topic: Vec<i32>,
    partition: Vec<i32>,
    offset: Vec<i64>,
    received_ms: Vec<i64>,
    #[pyo3(get)]
    topics: Vec<String>,
    headers: Vec<(usize, Headers)>,
    #[pyo3(get)]
    is_full: bool,
    #[pyo3(get)]
    errors: Vec<(String, i32, i64, i32, String)>,
}

impl Fetched {
    /// Add a message or an error; `topic` is the topic of the message before.
    fn push(&mut self, api: &Api, message: &RdMessage, topic: &mut *mut c_void) {
        if message.err != NO_ERROR {
            // SAFETY: the text is valid as long as the message.
            let reason = unsafe { text((api.message_errstr)(message)) };
            self.errors.push((topic_name(api, message.rkt), message.partition, message.offset, message.err, reason));
            return;
        }
        let index = if message.rkt == *topic { self.topic.last().copied() } else { None };
        let index = index.unwrap_or_else(|| self.topic_index(topic_name(api, message.rkt)));
        *topic = message.rkt;
        if !message.payload.is_null() {
            // SAFETY: librdkafka states the length of the payload.
            self.data.extend_from_slice(unsafe { std::slice::from_raw_parts(message.payload, message.len) });
        }
        self.headers(api, message);
        self.ends.push((self.data.len(), !message.payload.is_null()));
        self.topic.push(index);
        self.partition.push(message.partition);
        self.offset.push(message.offset);
        // SAFETY: the message is valid; librdkafka accepts null for the kind of time.
        self.received_ms.push(unsafe { (api.message_timestamp)(message, null_mut()) });
    }

    fn topic_index(&mut self, name: String) -> i32 {
        let known = self.topics.iter().position(|topic| *topic == name);
        known.unwrap_or_else(|| {
            self.topics.push(name);
            self.topics.len() - 1
        }) as i32
    }

    fn headers(&mut self, api: &Api, message: &RdMessage) {
        let mut found = null_mut();
        // SAFETY: the message is valid, and owns the headers.
        if unsafe { (api.message_headers)(message, &mut found) } != NO_ERROR {
            return;
        }
        let mut headers = Headers::new();
        loop {
            let (mut name, mut value, mut size) = (null(), null(), 0);
            // SAFETY: the headers are valid as long as the message.
            if unsafe { (api.header_get_all)(found, headers.len(), &mut name, &mut value, &mut size) } != NO_ERROR {
                break;
            }
            // SAFETY: librdkafka states the length of the value, and ends the name with a zero byte.
            let value = (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast(), size) }.to_vec());
            headers.push((unsafe { text(name) }, value));
        }
        self.headers.push((self.ends.len(), headers));
    }

    /// The value of the message at an index, None if it has none.
    pub fn value(&self, i: usize) -> Option<&[u8]> {
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, is_present) = self.ends[i];
        is_present.then(|| &self.data[start..end])
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }
}

type PyHeader<'py> = (String, Option<Bound<'py, PyBytes>>);

/// Which values are asked for.
#[derive(FromPyObject)]
enum At<'py> {
    Message(usize),
    Slice(Bound<'py, PySlice>),
}

#[pymethods]
impl Fetched {
    fn __len__(&self) -> usize {
        self.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, at: At<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = |i: usize| Ok(self.value(i).map(|value| PyBytes::new(py, value)).into_pyobject(py)?);
        match at {
            At::Message(i) if i < self.len() => value(i),
            At::Message(_) => Err(PyIndexError::new_err("no such message")),
            At::Slice(slice) => {
                let slice = slice.indices(self.len() as isize)?;
                let rows = (0..slice.slicelength as isize).map(|i| (slice.start + i * slice.step) as usize);
                Ok(rows.map(value).collect::<PyResult<Vec<_>>>()?.into_pyobject(py)?.into_any())
            }
        }
    }

    fn positions<'py>(&self, py: Python<'py>) -> [Bound<'py, PyByteArray>; 4] {
        let column = |values: &[i64]| PyByteArray::new(py, bytemuck::cast_slice(values));
        let short = |values: &[i32]| PyByteArray::new(py, bytemuck::cast_slice(values));
        [short(&self.topic), short(&self.partition), column(&self.offset), column(&self.received_ms)]
    }

    fn headers_of<'py>(&self, py: Python<'py>) -> Vec<(usize, Vec<PyHeader<'py>>)> {
        let bytes = |value: &Vec<u8>| PyBytes::new(py, value);
        let pairs = |(name, value): &(String, Option<Vec<u8>>)| (name.clone(), value.as_ref().map(bytes));
        self.headers.iter().map(|(i, headers)| (*i, headers.iter().map(pairs).collect())).collect()
    }
}

/// Use the librdkafka at a path, which the process has loaded; return the path of this library as a plugin.
#[pyfunction]
pub fn use_librdkafka(path: &str) -> Option<String> {
    let path = CString::new(path).ok()?;
    if API.get().is_none() {
        API.set(Api::load(&path)?).ok()?;
    }
    // SAFETY: `dladdr` fills the structure, and the name that it gives is that of this loaded library.
    unsafe {
        let mut library = std::mem::zeroed::<libc::Dl_info>();
        let is_found = libc::dladdr(conf_init as *const c_void, &mut library) != 0;
        is_found.then(|| text(library.dli_fname))
    }
}
