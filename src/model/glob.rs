//! Patterns over names: `*` stands for any run of characters, `?` for exactly one.
//!
//! Matching is linear in the name for each star (no exponential backtracking), so a pattern that
//! somebody sends in a command cannot stall the daemon.

/// A pattern with at least one `*` or `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    units: Vec<Unit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Any,
    One,
    Letter(char),
}

impl Glob {
    /// The pattern in `text`, or none if it is a plain name.
    pub fn parse(text: &str) -> Option<Glob> {
        if !text.contains(['*', '?']) {
            return None;
        }
        let mut units: Vec<Unit> = text
            .chars()
            .map(|c| match c {
                '*' => Unit::Any,
                '?' => Unit::One,
                letter => Unit::Letter(letter),
            })
            .collect();
        units.dedup_by(|a, b| *a == Unit::Any && *b == Unit::Any);
        Some(Glob { text: text.to_owned(), units })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut units = 0;
        let mut rest = name.chars();
        // Where to go on when the last star has to swallow one character more.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let here = rest.clone();
            match (self.units.get(units), rest.next()) {
                (None, None) => return true,
                (Some(Unit::Any), _) => {
                    units += 1;
                    rest = here.clone();
                    retry = Some((units, here));
                    continue;
                }
                (Some(Unit::One), Some(_)) => {
                    units += 1;
                    continue;
                }
                (Some(Unit::Letter(want)), Some(got)) if *want == got => {
                    units += 1;
                    continue;
                }
                _ => {}
            }
            let Some((after_star, swallowed)) = &mut retry else { return false };
            if swallowed.next().is_none() {
                return false;
            }
            units = *after_star;
            rest = swallowed.clone();
        }
    }

    /// Whether some name fits both patterns.
    pub fn overlaps(&self, other: &Glob) -> bool {
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

    /// All names of up to six letters out of `ab`.
    fn names() -> impl Iterator<Item = Vec<char>> {
        (0..=6_u32).flat_map(|len| {
            (0..2_u32.pow(len)).map(move |bits| (0..len).map(|i| if bits >> i & 1 == 0 { 'a' } else { 'b' }).collect())
        })
    }

    proptest! {
        #[test]
        fn matches_as_the_naive_formulation_does(pattern in "[ab*?]{0,5}[*?]", name in "[ab]{0,8}") {
            let units: Vec<char> = pattern.chars().collect();
            let letters: Vec<char> = name.chars().collect();
            prop_assert_eq!(glob(&pattern).matches(&name), naive(&units, &letters));
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
}
