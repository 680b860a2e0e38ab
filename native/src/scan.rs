//! The grammar of JSON: where values end.

/// Lists and maps may be nested so deep in members that no contract names.
const MAX_DEPTH: usize = 64;

/// The end of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextEnd {
    /// The position of the closing quote.
    pub quote: usize,
    pub has_escapes: bool,
}

#[inline(always)]
pub fn skip_spaces(bytes: &[u8], mut i: usize) -> usize {
    while matches!(bytes.get(i), Some(b' ' | b'\n' | b'\t' | b'\r')) {
        i += 1;
    }
    i
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Mark the highest bit of the first byte that is a quote, a backslash or a control character; bits above it may be wrong.
#[inline(always)]
fn special_bytes(word: u64) -> u64 {
    let (quotes, backslashes) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
    let is_quote = quotes.wrapping_sub(ONES) & !quotes;
    let is_backslash = backslashes.wrapping_sub(ONES) & !backslashes;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGHS
}

/// Find the end of a text whose first character is at `i`. None: it has a control character, or no end.
#[inline]
pub fn text_end(bytes: &[u8], mut i: usize) -> Option<TextEnd> {
    let mut has_escapes = false;
    loop {
        while let Some(Ok(word)) = bytes.get(i..i + 8).map(<[u8; 8]>::try_from) {
            let special = special_bytes(u64::from_le_bytes(word));
            if special != 0 {
                i += special.trailing_zeros() as usize / 8;
                break;
            }
            i += 8;
        }
        match *bytes.get(i)? {
            b'"' => return Some(TextEnd { quote: i, has_escapes }),
            b'\\' => {
                has_escapes = true;
                bytes.get(i + 1)?;
                i += 2;
            }
            byte if byte < 0x20 => return None,
            _ => i += 1,
        }
    }
}

/// Return what an escaped text means. None: an escape is not one of JSON's, or half of a surrogate pair.
pub fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        let mut used = at + 2;
        plain.push(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = code_unit(rest, used)?;
                used += 4;
                let mut units = vec![first];
                if (0xd800..0xe000).contains(&first) {
                    if rest.as_bytes().get(used..used + 2)? != b"\\u" {
                        return None;
                    }
                    units.push(code_unit(rest, used + 2)?);
                    used += 6;
                }
                let mut characters = char::decode_utf16(units);
                let character = characters.next()?.ok()?;
                if characters.next().is_some() {
                    return None;
                }
                character
            }
            _ => return None,
        });
        rest = &rest[used..];
    }
    plain.push_str(rest);
    Some(plain)
}

fn code_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 4)?;
    // The parser of numbers would accept a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Return the position behind the value at `i`. None: it is not JSON, or nested too deep.
pub fn skip_value(text: &str, i: usize) -> Option<usize> {
    skip_nested(text, i, MAX_DEPTH)
}

fn skip_nested(text: &str, i: usize, depth: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    match *bytes.get(i)? {
        b'"' => skip_text(text, i + 1),
        b'{' | b'[' if depth == 0 => None,
        b'{' => skip_members(text, i + 1, depth - 1, true),
        b'[' => skip_members(text, i + 1, depth - 1, false),
        b't' => literal(bytes, i, b"true"),
        b'f' => literal(bytes, i, b"false"),
        b'n' => literal(bytes, i, b"null"),
        _ => Some(crate::number::read_number(bytes, i)?.end),
    }
}

fn skip_members(text: &str, i: usize, depth: usize, named: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let close = if named { b'}' } else { b']' };
    let mut i = skip_spaces(bytes, i);
    if bytes.get(i) == Some(&close) {
        return Some(i + 1);
    }
    loop {
        if named {
            if bytes.get(i) != Some(&b'"') {
                return None;
            }
            i = skip_spaces(bytes, skip_text(text, i + 1)?);
            if bytes.get(i) != Some(&b':') {
                return None;
            }
            i = skip_spaces(bytes, i + 1);
        }
        i = skip_spaces(bytes, skip_nested(text, i, depth)?);
        match *bytes.get(i)? {
            b',' => i = skip_spaces(bytes, i + 1),
            byte if byte == close => return Some(i + 1),
            _ => return None,
        }
    }
}

fn skip_text(text: &str, i: usize) -> Option<usize> {
    let end = text_end(text.as_bytes(), i)?;
    if end.has_escapes {
        unescape(&text[i..end.quote])?;
    }
    Some(end.quote + 1)
}

/// Return the position behind a word that must be at `i`.
pub fn literal(bytes: &[u8], i: usize, word: &[u8]) -> Option<usize> {
    bytes.get(i..)?.starts_with(word).then_some(i + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_quote() {
        for text in ["", "a", "abcdefg", "abcdefgh", "abcdefghijklmnopq", "é€😀 and more than eight bytes"] {
            let end = text_end(format!("{text}\"").as_bytes(), 0).unwrap();
            assert_eq!(end, TextEnd { quote: text.len(), has_escapes: false }, "{text}");
        }
        assert_eq!(text_end(b"12345678\\\"90\"", 0), Some(TextEnd { quote: 12, has_escapes: true }));
        for text in ["no end", "no end\\", "no end\\\"", "1234567\n\"", "\u{1}\""] {
            assert_eq!(text_end(text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn escapes_are_replaced() {
        assert_eq!(unescape(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\té😀z");
        for text in [r"\x", r"\u12", r"\u+123", r"\ud800", r"\ud800\u0020", r"\udc00", r"\ud800\n", "\\"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_skipped() {
        for text in ["null", "true", "false", "-1.5e3", r#""a\n""#, "[]", "{}", "[ 1 , [2] ]", r#"{"a" : {"b":[]} }"#] {
            assert_eq!(skip_value(&format!("{text},"), 0), Some(text.len()), "{text}");
        }
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        for text in ["", "nul", "[1,]", "[1 2]", "{1:2}", r#"{"a"}"#, r#"{"a":1,}"#, r#""\x""#, "[", &deep] {
            assert_eq!(skip_value(text, 0), None, "{text}");
        }
    }
}
