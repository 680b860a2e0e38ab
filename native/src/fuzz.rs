//! Mutated events: none may panic, and what is not JSON must not be accepted. In the tests a short run; the long one is
//! `make fuzz-native`, which takes the number of executions from EXECUTIONS.

use std::collections::HashMap;

use crate::decoder::{Decoder, Rules};
use crate::{ModelSpec, compile};

const RECEIVED_MS: i64 = 1_700_000_000_000;
const SEEDS: [&str; 5] = [
    r#"{"model":"r","version":"1","id":"a","at":1700000000000,"features":{"x":1.5,"h":"","s":"é","b":true},"context":{"c":"d"},"scores":{"a":0.25},"class":7}"#,
    r#"{"model":"m","version":"1","id":"a","at":1700000000000,"features":{"x":1.5,"y":-2e3,"on":true,"seen":17},"class":"b"}"#,
    r#"{"model":"n","version":"é","id":"\u0061","at":1700000000000,"role":"shadow","producer":"p","seq":3,"scores":{"a":0.25,"b":null}}"#,
    r#"{ "at" : 1700000000001, "model" : "m", "error": null, "id": "c", "version": "2", "other": [1, {"z": [ ]}, "\\\""]}"#,
    r#"{"model":"m","version":"1","id":"a","at":1700000000000,"features":{"x":0.1234567890123456789,"y":9007199254740993}}"#,
];
const TOKENS: [&str; 16] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "1e999",
    "-0",
    "\\ud800",
    "\u{7f}",
    "9",
    "é",
    "\"model\":\"m\",",
];

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}

fn mutate(random: &mut Random, event: &mut Vec<u8>) {
    let start = random.below(event.len() + 1);
    let end = (start + random.below(9)).min(event.len());
    match random.below(5) {
        0 => drop(event.drain(start..end)),
        1 => drop(event.splice(start..start, TOKENS[random.below(TOKENS.len())].bytes())),
        2 => drop(event.splice(start..end, TOKENS[random.below(TOKENS.len())].bytes())),
        3 => event.extend_from_within(start..end),
        _ if start < event.len() => event[start] ^= 1 << random.below(8),
        _ => {}
    }
}

fn decoder() -> Decoder {
    let of = |map: &str, name: &str, kind: &str| (map.to_owned(), name.to_owned(), kind.to_owned());
    let own = [
        [("model", "model"), ("version", "version"), ("id", "id"), ("at", "time")],
        [("error", "name"), ("role", "role"), ("producer", "name"), ("seq", "seq")],
    ];
    let own: Vec<_> = own.as_flattened().iter().map(|(name, kind)| of("", name, kind)).collect();
    let model = |name: &str, members: &[(&str, &str, &str)], largest: &str, hash_limit| -> ModelSpec {
        let members = own.iter().cloned().chain(members.iter().map(|(map, name, kind)| of(map, name, kind)));
        (name.to_owned(), members.collect(), largest.to_owned(), hash_limit)
    };
    let read = [
        [("", "class", "class"), ("", "features", "map"), ("", "scores", "map"), ("features", "x", "number")],
        [
            ("features", "y", "number"),
            ("features", "on", "flag"),
            ("features", "seen", "moment"),
            ("features", "t", "text"),
        ],
    ];
    let recorded = [
        [("", "class", "label"), ("", "features", "features"), ("", "scores", "numbers"), ("", "context", "texts")],
        [
            ("features", "x", "known"),
            ("features", "h", "hashed"),
            ("context", "c", "known"),
            ("context", "h", "hashed"),
        ],
    ];
    let models = [
        model("m", read.as_flattened(), "", None),
        model("n", read.as_flattened(), "scores", None),
        model("r", recorded.as_flattened(), "", Some(3e9)),
    ];
    let models = models.map(|spec| compile(spec).unwrap_or_else(|_| panic!("a kind of member is unknown")));
    let roles = HashMap::from([("shadow".to_owned(), true)]).into_iter().collect();
    Decoder::new(models.into(), Rules { roles, max_ahead_ms: 1_000, max_age_ms: 1_000 })
}

#[test]
fn mutated_events_neither_panic_nor_are_accepted_if_they_are_no_json() {
    let executions = std::env::var("EXECUTIONS").map_or(200_000, |n| n.parse().expect("EXECUTIONS is a number"));
    let (mut random, mut decoder) = (Random(1_873_205_747), decoder());
    let (mut texts, mut accepted) = (0_u64, [0_u64; 3]);
    let mut event = Vec::new();
    for i in 0..executions {
        event.clear();
        event.extend_from_slice(SEEDS[random.below(SEEDS.len())].as_bytes());
        for _ in 0..random.below(4) {
            mutate(&mut random, &mut event);
        }
        let Ok(message) = std::str::from_utf8(&event) else { continue };
        texts += 1;
        if let Some(model) = decoder.read(message, RECEIVED_MS) {
            accepted[model] += 1;
            let parsed = serde_json::from_str::<serde_json::Value>(message);
            assert!(parsed.is_ok(), "execution {i}: accepted, but no JSON ({parsed:?}): {message}");
        }
    }
    println!("{executions} executions, {texts} in UTF-8, {accepted:?} accepted by model");
    assert!(accepted.iter().all(|&n| n > executions / 100), "too few valid events: {accepted:?}");
}
