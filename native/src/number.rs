//! Numbers of JSON, exactly: the nearest 64-bit float of any text.

/// Powers of ten that a 64-bit float holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Up to here every integer is a 64-bit float.
const MAX_EXACT: u64 = 1 << 53;
/// So many digits fit into 64 bits.
const MAX_DIGITS: usize = 19;

/// A number that was read, and the position behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    pub value: f64,
    /// The value, if the text has neither a fraction nor an exponent.
    pub integer: Option<i64>,
    pub end: usize,
}

/// Read the number at `start`. None: not a number of JSON, too large for a float, or an integer of more than 18 digits.
pub fn read_number(bytes: &[u8], start: usize) -> Option<Number> {
    let mut i = start;
    let negative = bytes.get(i) == Some(&b'-');
    i += usize::from(negative);
    let first = i;
    let mut mantissa = 0u64;
    i = digits(bytes, i, &mut mantissa);
    let whole = i - first;
    if whole == 0 || (whole > 1 && bytes[first] == b'0') {
        return None;
    }
    let mut exponent = 0i64;
    let mut fraction = 0;
    let mut is_integer = true;
    if bytes.get(i) == Some(&b'.') {
        is_integer = false;
        let point = i + 1;
        i = digits(bytes, point, &mut mantissa);
        fraction = i - point;
        if fraction == 0 {
            return None;
        }
        exponent = -(fraction as i64);
    }
    if matches!(bytes.get(i), Some(b'e' | b'E')) {
        is_integer = false;
        i += 1;
        let down = bytes.get(i) == Some(&b'-');
        i += usize::from(matches!(bytes.get(i), Some(b'-' | b'+')));
        let (start, mut written) = (i, 0u64);
        i = digits(bytes, i, &mut written);
        if i == start {
            return None;
        }
        let written = if i - start > 9 { i64::from(u32::MAX) } else { written as i64 };
        exponent += if down { -written } else { written };
    }
    if is_integer {
        if whole >= MAX_DIGITS {
            return None;
        }
        let integer = if negative { -(mantissa as i64) } else { mantissa as i64 };
        return Some(Number { value: integer as f64, integer: Some(integer), end: i });
    }
    // Clinger's fast path: with both operands exact, one rounding gives the nearest float.
    if whole + fraction <= MAX_DIGITS && mantissa <= MAX_EXACT && exponent.unsigned_abs() < POWERS.len() as u64 {
        let power = POWERS[exponent.unsigned_abs() as usize];
        let value = if exponent < 0 { mantissa as f64 / power } else { mantissa as f64 * power };
        return Some(Number { value: if negative { -value } else { value }, integer: None, end: i });
    }
    let value: f64 = std::str::from_utf8(&bytes[start..i]).ok()?.parse().ok()?;
    value.is_finite().then_some(Number { value, integer: None, end: i })
}

/// Read a number of at most seven digits before and seven after its point: most numbers of events. None: it may be
/// another one, which `read_number` reads.
#[inline(always)]
pub fn read_short_number(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let negative = *bytes.get(start)? == b'-';
    let first = start + usize::from(negative);
    let characters = word(bytes, first)?;
    let (whole, n) = leading_digits(characters);
    let after = characters.checked_shr(8 * n as u32)? as u8;
    let is_plain = n == 1 || (n > 1 && characters as u8 != b'0');
    if !is_plain || after | 0x20 == b'e' {
        return None;
    }
    let sign = if negative { -1.0 } else { 1.0 };
    if after != b'.' {
        // An integer has no negative zero.
        return (whole != 0 || !negative).then_some((sign * whole as f64, first + n));
    }
    let point = first + n + 1;
    let characters = word(bytes, point)?;
    let (fraction, m) = leading_digits(characters);
    let after = characters.checked_shr(8 * m as u32)? as u8;
    if m == 0 || after | 0x20 == b'e' {
        return None;
    }
    // Both are exact, as in Clinger's fast path.
    Some((sign * ((whole * WHOLE_POWERS[m] + fraction) as f64 / POWERS[m]), point + m))
}

#[inline(always)]
fn word(bytes: &[u8], i: usize) -> Option<u64> {
    let characters = <[u8; 8]>::try_from(bytes.get(i..)?.get(..8)?).ok()?;
    Some(u64::from_le_bytes(characters))
}

/// Append the digits at `i` to a number, which wraps around, and return the position behind them.
#[inline(always)]
fn digits(bytes: &[u8], mut i: usize, number: &mut u64) -> usize {
    // Eight at once, without a branch for each: their number is what a processor cannot predict.
    while let Some(characters) = word(bytes, i) {
        let (value, count) = leading_digits(characters);
        *number = number.wrapping_mul(WHOLE_POWERS[count]).wrapping_add(value);
        i += count;
        if count < 8 {
            return i;
        }
    }
    while let Some(digit) = bytes.get(i).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        i += 1;
    }
    i
}

const WHOLE_POWERS: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Return the number that the digits at the start of eight characters are, and how many they are.
#[inline(always)]
fn leading_digits(characters: u64) -> (u64, usize) {
    let values = characters ^ u64::from_ne_bytes([b'0'; 8]);
    // The highest bit of each byte that is more than 9; bits above the first of them may be wrong.
    let others = (values.wrapping_add(u64::from_ne_bytes([0x76; 8])) | values) & u64::from_ne_bytes([0x80; 8]);
    let count = others.trailing_zeros() as usize / 8;
    // The first character is the lowest byte: this puts zeros before the digits, and removes what is behind them.
    let digits = if count == 0 { 0 } else { values << (64 - 8 * count) };
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    const EVERY_FOURTH: u64 = 0x0000_00ff_0000_00ff;
    let high = (pairs & EVERY_FOURTH).wrapping_mul(100 + (1_000_000 << 32));
    let low = ((pairs >> 16) & EVERY_FOURTH).wrapping_mul(1 + (10_000 << 32));
    (high.wrapping_add(low) >> 32, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_number_is_the_nearest_float() {
        for text in [
            "0",
            "-0.0",
            "1.5",
            "71.6",
            "0.1",
            "1e5",
            "1E+5",
            "1e-7",
            "123456789012345678",
            "0.30000000000000004",
            "9007199254740993.0",
            "2.2250738585072011e-308",
            "5e-324",
            "1.7976931348623157e308",
            "1e22",
            "1e23",
            "0.000000000000000000000000000001",
            "123456789.123456789123456789",
        ] {
            let number = read_number(text.as_bytes(), 0).unwrap();
            assert_eq!(
                (number.value.to_bits(), number.end),
                (text.parse::<f64>().unwrap().to_bits(), text.len()),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_of_any_length_are_read_anywhere() {
        for n in 1..=MAX_DIGITS {
            let text: String = "1234567890123456789"[..n].into();
            for rest in ["", ",", "}", ",\"a_long_name\":1", "\u{80}\u{80}\u{80}\u{80}"] {
                let (mut value, message) = (0, format!("{text}{rest}"));
                assert_eq!(digits(message.as_bytes(), 0, &mut value), n);
                assert_eq!(value.to_string(), text);
            }
        }
    }

    #[test]
    fn short_numbers_are_those_that_the_long_way_reads() {
        for whole in ["", "-", "0", "-0", "7", "-12", "1234567", "12345678", "01", "00", "-x"] {
            for fraction in ["", ".", ".0", ".5", ".1234567", ".12345678", ".x", "e", "e1", "E1", ".5e1", ".5E-1"] {
                for rest in [",\"name\":1", "}      ", "", "\u{80}\u{80}\u{80}\u{80}"] {
                    let text = format!("{whole}{fraction}{rest}");
                    if let Some((value, end)) = read_short_number(text.as_bytes(), 0) {
                        let number = read_number(text.as_bytes(), 0).unwrap();
                        assert_eq!((value.to_bits(), end), (number.value.to_bits(), number.end), "{text}");
                    }
                }
            }
        }
        assert_eq!(read_short_number(b"-71.6,\"name\":1", 0), Some((-71.6, 5)));
    }

    #[test]
    fn a_negative_zero_without_fraction_is_an_integer() {
        let number = read_number(b"-0", 0).unwrap();
        assert_eq!((number.value.to_bits(), number.integer), (0, Some(0)));
    }

    #[test]
    fn other_texts_are_left_to_the_fallback() {
        for text in ["", "-", "01", "-00", "1.", ".5", "1e", "1e+", "+1", "NaN", "1e400", "1234567890123456789"] {
            assert_eq!(read_number(text.as_bytes(), 0), None, "{text}");
        }
    }
}
