//! Patterns over names: `*` stands for any run of characters, `?` for exactly one.
//!
//! Matching is linear in the name, whatever the pattern and the name are: a pattern is simulated as an automaton, one bit
//! for each of its units, so nothing that somebody sends in a command can stall the daemon.
//!
//! In the configuration a name is a pattern if it has a `*` or `?`. In a command `\*` and `\?` stand for themselves
//! ([`Selector`]), so that whatever is called like that can be named, too.

use std::iter::zip;

/// Bytes of the longest pattern in a command.
pub const MAX_PATTERN: usize = 256;

/// A pattern with at least one `*` or `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    units: Box<[Unit]>,
    /// What every name begins with that fits.
    prefix: Box<str>,
    /// What every name ends with that fits.
    suffix: Box<str>,
    /// What stands between the two; none: anything may.
    middle: Option<Automaton>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Any,
    One,
    OutboundEvent(char),
}

impl Unit {
    fn byte(self) -> Option<char> {
        match self {
            Unit::OutboundEvent(byte) => Some(byte),
            Unit::Any | Unit::One => None,
        }
    }
}

impl Glob {
    /// The pattern in `text`, or none if it is a plain name.
    pub fn parse(text: &str) -> Option<Glob> {
        let units = text.chars().map(|c| match c {
            '*' => Unit::Any,
            '?' => Unit::One,
            byte => Unit::OutboundEvent(byte),
        });
        Glob::of(text, units.collect())
    }

    fn of(text: &str, mut units: Vec<Unit>) -> Option<Glob> {
        let first = units.iter().position(|unit| unit.byte().is_none())?;
        units.dedup_by(|a, b| *a == Unit::Any && *b == Unit::Any);
        let last = units.iter().rposition(|unit| unit.byte().is_none())?;
        let outbound_events = |units: &[Unit]| units.iter().filter_map(|unit| unit.byte()).collect::<String>().into();
        let (prefix, suffix) = (outbound_events(&units[..first]), outbound_events(&units[last + 1..]));
        let middle = match &units[first..=last] {
            [Unit::Any] => None,
            several => Some(Automaton::new(several)),
        };
        Some(Glob { text: text.to_owned(), prefix, suffix, middle, units: units.into() })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        rest.is_some_and(|rest| self.middle.as_ref().is_none_or(|middle| middle.accepts(rest)))
    }

    /// Whether some name fits both patterns.
    pub fn overlaps(&self, other: &Glob) -> bool {
        let (prefix, suffix) = ((&self.prefix, &other.prefix), (&self.suffix, &other.suffix));
        let begin_alike = prefix.0.starts_with(&**prefix.1) || prefix.1.starts_with(&**prefix.0);
        let end_alike = suffix.0.ends_with(&**suffix.1) || suffix.1.ends_with(&**suffix.0);
        // Where very many definitions have patterns, most differ in their first or last outbound events.
        if !begin_alike || !end_alike {
            return false;
        }
        let (rows, columns) = (self.units.len(), other.units.len());
        // common[i][j]: some text fits both the units from i on of self and those from j on of other.
        let mut common = vec![vec![false; columns + 1]; rows + 1];
        common[rows][columns] = true;
        for i in (0..=rows).rev() {
            for j in (0..=columns).rev() {
                common[i][j] = match (self.units.get(i), other.units.get(j)) {
                    (None, None) => true,
                    (Some(Unit::Any), None) => common[i + 1][j],
                    (None, Some(Unit::Any)) => common[i][j + 1],
                    (Some(Unit::Any), Some(_)) | (Some(_), Some(Unit::Any)) => common[i + 1][j] || common[i][j + 1],
                    (Some(mine), Some(theirs)) => {
                        (mine == theirs || *mine == Unit::One || *theirs == Unit::One) && common[i + 1][j + 1]
                    }
                    (Some(_), None) | (None, Some(_)) => false,
                };
            }
        }
        common[0][0]
    }
}

/// Bits of one word.
const WORD: usize = 64;

/// Reads names outbound event by outbound event (Baeza-Yates and Gonnet's shift-and, with loops). Bit `i` of its state says that the units
/// before `i` have matched what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Automaton {
    /// How many units there are.
    units: usize,
    /// The units that are `*`.
    loops: Box<[u64]>,
    /// The units that one outbound event satisfies which no other unit names: `?`.
    ones: Box<[u64]>,
    /// The units that each named outbound event satisfies, in the order of the outbound events.
    outbound_events: Box<[(char, Box<[u64]>)]>,
}

impl Automaton {
    fn new(units: &[Unit]) -> Automaton {
        let set = |fits: &dyn Fn(Unit) -> bool| {
            let mut bits = vec![0; (units.len() + 1).div_ceil(WORD)];
            let fitting = units.iter().enumerate().filter(|(_, unit)| fits(**unit));
            fitting.for_each(|(place, _)| bits[place / WORD] |= 1 << (place % WORD));
            bits.into_boxed_slice()
        };
        let mut named: Vec<char> = units.iter().filter_map(|unit| unit.byte()).collect();
        named.sort_unstable();
        named.dedup();
        let by_byte = |byte: char| set(&|unit| unit == Unit::OutboundEvent(byte) || unit == Unit::One);
        Automaton {
            units: units.len(),
            loops: set(&|unit| unit == Unit::Any),
            ones: set(&|unit| unit == Unit::One),
            outbound_events: named.into_iter().map(|byte| (byte, by_byte(byte))).collect(),
        }
    }

    fn accepts(&self, name: &str) -> bool {
        let mut state = vec![0; self.loops.len()];
        state[0] = 1;
        self.skip_loops(&mut state);
        for byte in name.chars() {
            let known = self.outbound_events.binary_search_by_key(&byte, |(byte, _)| *byte);
            let satisfied = known.map_or(&self.ones, |place| &self.outbound_events[place].1);
            let (mut carry, mut is_dead) = (0, true);
            for ((word, satisfied), loops) in zip(zip(&mut state, satisfied), &self.loops) {
                let advances = *word & satisfied;
                *word = advances << 1 | carry | *word & loops;
                carry = advances >> (WORD - 1);
                is_dead &= *word == 0;
            }
            if is_dead {
                return false;
            }
            self.skip_loops(&mut state);
        }
        state[self.units / WORD] >> (self.units % WORD) & 1 == 1
    }

    /// A `*` may stand for nothing. No two of them stand side by side.
    fn skip_loops(&self, state: &mut [u64]) {
        let mut carry = 0;
        for (word, loops) in zip(state, &self.loops) {
            let skips = *word & loops;
            *word |= skips << 1 | carry;
            carry = skips >> (WORD - 1);
        }
    }
}

/// What a command names: one thing by its name, or all whose names fit a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The one with exactly this name.
    One(String),
    /// Those that fit.
    Fitting(Glob),
}

impl Selector {
    /// Reads what a command names; `\*` and `\?` stand for themselves.
    ///
    /// # Errors
    /// The pattern is longer than [`MAX_PATTERN`], in words.
    ///
    /// ```
    /// # use annunciator::domain::model::Selector;
    /// assert!(Selector::parse("boiler-*").unwrap().fits("boiler-7"));
    /// assert!(Selector::parse(r"\*/temperature/HH").unwrap().fits("*/temperature/HH"));
    /// assert!(!Selector::parse(r"\*/temperature/HH").unwrap().fits("boiler-7/temperature/HH"));
    /// ```
    pub fn parse(text: &str) -> Result<Selector, String> {
        let mut units = Vec::new();
        let mut outbound_events = text.chars().peekable();
        while let Some(byte) = outbound_events.next() {
            units.push(match byte {
                '*' => Unit::Any,
                '?' => Unit::One,
                '\\' => Unit::OutboundEvent(outbound_events.next_if(|next| matches!(next, '*' | '?')).unwrap_or('\\')),
                byte => Unit::OutboundEvent(byte),
            });
        }
        if units.iter().all(|unit| unit.byte().is_some()) {
            return Ok(Selector::One(units.into_iter().filter_map(Unit::byte).collect()));
        }
        if text.len() > MAX_PATTERN {
            return Err(format!("a pattern has at most {MAX_PATTERN} bytes, this one has {}", text.len()));
        }
        Ok(Glob::of(text, units).map_or_else(|| Selector::One(text.to_owned()), Selector::Fitting))
    }

    /// Whether it names this one.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Selector::One(wanted) => wanted == name,
            Selector::Fitting(glob) => glob.matches(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    #[test]
    fn a_plain_name_is_no_pattern() {
        assert_eq!(Glob::parse("boiler-7"), None);
    }

    #[test]
    fn stars_and_question_marks() {
        assert!(glob("boiler-*").matches("boiler-7"));
        assert!(glob("boiler-*").matches("boiler-"));
        assert!(!glob("boiler-*").matches("a-boiler-7"));
        assert!(glob("*/temperature/H?").matches("boiler-7/temperature/HH"));
        assert!(glob("*a*b*").matches("xxaxxbxx"));
        assert!(!glob("?").matches(""));
        assert!(glob("é?").matches("éü"));
    }

    fn naive(units: &[char], name: &[char]) -> bool {
        match units.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|n| naive(rest, &name[n..])),
            Some((unit, rest)) => {
                name.split_first().is_some_and(|(c, tail)| (*unit == '?' || unit == c) && naive(rest, tail))
            }
        }
    }

    /// All names of up to six outbound events out of `ab`.
    fn names() -> impl Iterator<Item = Vec<char>> {
        (0..=6_u32).flat_map(|len| {
            (0..2_u32.pow(len)).map(move |bits| (0..len).map(|i| if bits >> i & 1 == 0 { 'a' } else { 'b' }).collect())
        })
    }

    proptest! {
        #[test]
        fn matches_as_the_naive_formulation_does(pattern in "[ab*?]{0,5}[*?]", name in "[ab]{0,8}") {
            let units: Vec<char> = pattern.chars().collect();
            let outbound_events: Vec<char> = name.chars().collect();
            prop_assert_eq!(glob(&pattern).matches(&name), naive(&units, &outbound_events));
        }

        #[test]
        fn long_patterns_match_as_the_naive_formulation_does(
            begin in "[ab?]{55,70}", end in "[ab?]{55,70}", changed in 0..140_usize, length in 0..3_usize
        ) {
            let pattern = format!("?{begin}*{end}?");
            let plain = pattern.replace('?', "a").replace('*', &"b".repeat(length));
            let mut outbound_events: Vec<char> = plain.chars().collect();
            let units: Vec<char> = pattern.chars().collect();
            prop_assert!(glob(&pattern).matches(&plain));
            let changed = changed % outbound_events.len();
            outbound_events[changed] = if outbound_events[changed] == 'a' { 'b' } else { 'a' };
            let name: String = outbound_events.iter().collect();
            prop_assert_eq!(glob(&pattern).matches(&name), naive(&units, &outbound_events));
        }

        #[test]
        fn overlaps_if_a_common_name_exists(a in "[ab?*]{0,2}[*?]", b in "[ab?*]{0,2}[*?]") {
            let (x, y) = (glob(&a), glob(&b));
            let common = names().any(|n| {
                let n: String = n.into_iter().collect();
                x.matches(&n) && y.matches(&n)
            });
            prop_assert_eq!(x.overlaps(&y), common, "{} and {}", a, b);
            prop_assert_eq!(x.overlaps(&y), y.overlaps(&x));
        }
    }

    #[test]
    fn in_a_command_an_escaped_sign_is_itself() {
        let one = |text: &str| Selector::One(text.to_owned());
        assert_eq!(Selector::parse(r"a\*b\?c\d"), Ok(one(r"a*b?c\d")));
        assert_eq!(Selector::parse(&"x".repeat(5_000)), Ok(one(&"x".repeat(5_000))));
        let Ok(Selector::Fitting(glob)) = Selector::parse(r"\**") else { panic!() };
        assert!(glob.matches("*") && glob.matches("*x") && !glob.matches("x"));
        let error = Selector::parse(&format!("{}*", "x".repeat(MAX_PATTERN))).unwrap_err();
        assert_eq!(error, "a pattern has at most 256 bytes, this one has 257");
    }
}
