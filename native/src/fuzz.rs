//! Mutated events: none may panic, and what is not JSON must not be accepted. In the tests a short run; the long one is
//! `make fuzz-native`, which takes the number of executions from EXECUTIONS.

use std::collections::HashMap;

use crate::decoder::{Decoder, Rules};
use crate::{ModelSpec, compile};

const RECEIVED_MS: i64 = 1_700_000_000_000;
const SEEDS: [&str; 4] = [
    r#"{"model":"m","version":"1","id":"a","at":1700000000000,"features":{"x":1.5,"y":-2e3,"on":true,"seen":17},"class":"b"}"#,
    r#"{"model":"n","version":"é","id":"\u0061","at":1.7e12,"role":"shadow","producer":"p","seq":3,"scores":{"a":0.25,"b":null}}"#,
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
    let model = |name: &str, largest: &str| -> ModelSpec {
        let kinds = ["model", "version", "id", "time", "error", "role", "producer", "seq", "class", "map", "map"];
        let names = ["model", "version", "id", "at", "error", "role", "producer", "seq", "class", "features", "scores"];
        let of = |map: &str, name: &str, kind: &str| (map.to_owned(), name.to_owned(), kind.to_owned());
        let mut members: Vec<_> = names.iter().zip(kinds).map(|(name, kind)| of("", name, kind)).collect();
        for (name, kind) in [("x", "number"), ("y", "number"), ("on", "flag"), ("seen", "moment"), ("t", "text")] {
            members.push(of("features", name, kind));
        }
        (name.to_owned(), members, largest.to_owned(), None)
    };
    let models = [model("m", ""), model("n", "scores")].map(|spec| compile(spec).expect("it is valid"));
    let roles = HashMap::from([("shadow".to_owned(), true)]).into_iter().collect();
    Decoder::new(models.into(), Rules { roles, max_ahead_ms: 1_000, max_age_ms: 1_000 })
}

#[test]
fn mutated_events_neither_panic_nor_are_accepted_if_they_are_no_json() {
    let executions = std::env::var("EXECUTIONS").map_or(200_000, |n| n.parse().expect("EXECUTIONS is a number"));
    let (mut random, mut decoder) = (Random(1_873_205_747), decoder());
    let (mut texts, mut accepted) = (0_u64, 0_u64);
    let mut event = Vec::new();
    for i in 0..executions {
        event.clear();
        event.extend_from_slice(SEEDS[random.below(SEEDS.len())].as_bytes());
        for _ in 0..random.below(4) {
            mutate(&mut random, &mut event);
        }
        let Ok(message) = std::str::from_utf8(&event) else { continue };
        texts += 1;
        if decoder.read(message, RECEIVED_MS).is_some() {
            accepted += 1;
            let parsed = serde_json::from_str::<serde_json::Value>(message);
            assert!(parsed.is_ok(), "execution {i}: accepted, but no JSON ({parsed:?}): {message}");
        }
    }
    println!("{executions} executions, {texts} in UTF-8, {accepted} accepted");
    assert!(accepted > executions / 10, "too few valid events: {accepted}");
}
