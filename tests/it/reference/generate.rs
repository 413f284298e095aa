//! Random configurations and recordings: small, on a coarse grid of times and values, so that deadlines meet messages
//! and each other, values lie on edges, and means tie.

use super::case::{Band, Definition, Kind, Line, Payload, SECOND, Scalar, What};

const THINGS: [&str; 3] = ["press-1", "press-2", "pump"];
const PROPERTIES: [&str; 2] = ["flow", "in.temp"];
const LEVELS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PATTERNS: [&[&str]; 9] = [
    &["press-1"],
    &["press-1"],
    &["press-1"],
    &["pump", "press-1"],
    &["press-*"],
    &["*"],
    &["p?ess-2", "pump"],
    &["pump", "press-*"],
    &["press-2"],
];
const OPERATORS: [&str; 6] = ["=", "!=", ">", ">=", "<", "<="];
const LIMITS: [f64; 5] = [0.0, 4.0, -8.0, 15.0, 16.0];
const TEXTS: [&str; 3] = ["open", "1", "true"];
/// Time between two lines.
const STEPS: [i64; 9] = [0, 0, SECOND / 4, SECOND / 2, SECOND / 2, SECOND, SECOND, 2 * SECOND, 5 * SECOND];

/// Numbers that look random and are the same for the same seed (SplitMix64, Steele et al. 2014).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What the values of a property are, mostly.
#[derive(Debug, Clone, Copy)]
enum Type {
    Number,
    Text,
    Truth,
}

/// Configurations, and recordings that suit them.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) rng: Rng,
    types: [Type; 2],
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        let mut rng = Rng::new(seed);
        let types = [Type::Number, rng.pick(&[Type::Number, Type::Number, Type::Text, Type::Truth])];
        Generator { rng, types }
    }

    pub(crate) fn definitions(&mut self) -> Vec<Definition> {
        let count = 1 + self.rng.below(LEVELS.len());
        (0..count).map(|index| self.definition(LEVELS[index])).collect()
    }

    fn definition(&mut self, level: &'static str) -> Definition {
        let property = usize::from(self.rng.chance(30));
        let kind = match self.rng.below(10) {
            0..=5 => self.standard(self.types[property]),
            6..=7 => Kind::Average {
                operator: self.rng.pick(&OPERATORS),
                limit: self.rng.pick(&LIMITS),
                window: self.rng.pick(&[None, Some(SECOND), Some(2 * SECOND), Some(5 * SECOND)]),
                observe: self.rng.pick(&[SECOND / 2, SECOND, 2 * SECOND]),
                clear: self.rng.pick(&[0, 0, SECOND]),
            },
            _ => Kind::NoValue { observe: self.rng.pick(&[SECOND / 2, SECOND, 2 * SECOND, 3 * SECOND]) },
        };
        Definition {
            things: self.rng.pick(&PATTERNS).to_vec(),
            property: PROPERTIES[property],
            level,
            kind,
            on_gap: self.rng.pick(&["pause", "pause", "count", "reset"]),
            enabled: self.rng.chance(85),
        }
    }

    fn standard(&mut self, of: Type) -> Kind {
        let of = if self.rng.chance(5) { self.rng.pick(&[Type::Text, Type::Truth]) } else { of };
        let (operators, limit): (&[&str], Scalar) = match of {
            Type::Number => (&OPERATORS, Scalar::Number(self.rng.pick(&LIMITS))),
            Type::Text => (&OPERATORS[..2], Scalar::Text(self.rng.pick(&TEXTS))),
            Type::Truth => (&OPERATORS[..2], Scalar::Truth(self.rng.chance(50))),
        };
        let width = Band::Width(self.rng.pick(&[0.0, 1.0, 4.0, 10.0]));
        let percent = Band::Percent(self.rng.pick(&[12.5, 25.0, 33.33]));
        let band = match &limit {
            Scalar::Number(0.0) => self.rng.pick(&[Band::None, width]),
            Scalar::Number(_) => self.rng.pick(&[Band::None, width, percent]),
            Scalar::Text(_) | Scalar::Truth(_) => Band::None,
        };
        let observe = self.rng.pick(&[0, 0, SECOND / 2, SECOND, 2 * SECOND]);
        Kind::Standard {
            operator: self.rng.pick(operators),
            limit,
            band,
            observe,
            clear: self.rng.pick(&[0, 0, SECOND]),
        }
    }

    /// A recording of `count` lines, and one line more by which all that was running has fired.
    pub(crate) fn lines(&mut self, definitions: &[Definition], count: usize) -> Vec<Line> {
        let mut at = 10 * SECOND;
        let mut lines = Vec::new();
        let mut up = true;
        for _ in 0..count {
            let what = self.what(definitions, at, &mut up);
            lines.push(Line { at, what });
            at += self.rng.pick(&STEPS);
        }
        if !up {
            lines.push(Line { at, what: What::Link { up: true } });
        }
        lines.push(Line::tick(at + 20 * SECOND));
        lines
    }

    fn what(&mut self, definitions: &[Definition], at: i64, up: &mut bool) -> What {
        let thing = self.rng.pick(&["press-1", "press-1", "press-1", "press-2", "pump", "stranger"]);
        let property = usize::from(self.rng.chance(30));
        let retained = self.rng.chance(8);
        let name = PROPERTIES[property];
        match self.rng.below(100) {
            0..=58 => {
                let payload = self.payload(definitions, property, &["null", "NaN", "-inf", "1e999", "[1]", "{}"]);
                let payload = if self.rng.chance(2) { Payload::Empty } else { payload };
                What::Message { thing, property: name, payload, retained }
            }
            59..=66 => {
                let (payload, second) = (["null", "1e999", "[1]"], self.rng.chance(80));
                let mut members = vec![(name, self.payload(definitions, property, &payload))];
                if second {
                    members.push((PROPERTIES[1 - property], self.payload(definitions, 1 - property, &payload)));
                }
                What::Object { thing, members, retained }
            }
            67..=74 => {
                let value = self.value(definitions, property);
                let late = self.rng.pick(&[-12, -4, -2, -1, 0, 0, 0, 4, 20, 24]);
                What::Stamped { thing, property: name, value, stamp: at + late * SECOND / 4, retained }
            }
            75..=80 => What::Tick,
            81..=88 => {
                // Now and then the link goes down that was down, or comes up that was up.
                if self.rng.chance(90) {
                    *up = !*up;
                }
                What::Link { up: *up }
            }
            _ => self.command(definitions),
        }
    }

    fn payload(&mut self, definitions: &[Definition], property: usize, unusable: &[&'static str]) -> Payload {
        if self.rng.chance(6) {
            Payload::Unusable(self.rng.pick(unusable))
        } else {
            Payload::Value(self.value(definitions, property))
        }
    }

    fn value(&mut self, definitions: &[Definition], property: usize) -> Scalar {
        let of = if self.rng.chance(4) { Type::Text } else { self.types[property] };
        match of {
            Type::Number => Scalar::Number(self.number(definitions, property)),
            Type::Text => Scalar::Text(self.rng.pick(&["open", "1", "true", "shut"])),
            Type::Truth => Scalar::Truth(self.rng.chance(50)),
        }
    }

    /// A number on an edge of some alarm, or close to it.
    fn number(&mut self, definitions: &[Definition], property: usize) -> f64 {
        let mut edges = vec![0.0];
        for definition in definitions.iter().filter(|definition| definition.property == PROPERTIES[property]) {
            match &definition.kind {
                Kind::Standard { limit: Scalar::Number(limit), band, .. } => {
                    let (low, high) = band.edges(*limit);
                    edges.extend([low, high, *limit]);
                }
                Kind::Average { limit, .. } => edges.push(*limit),
                Kind::Standard { .. } | Kind::NoValue { .. } => {}
            }
        }
        self.rng.pick(&edges) + self.rng.pick(&[-4.0, -0.25, 0.0, 0.0, 0.25, 4.0])
    }

    fn command(&mut self, definitions: &[Definition]) -> What {
        let definition = &definitions[self.rng.below(definitions.len())];
        let (property, level) = (definition.property, definition.level);
        let thing = self.rng.pick(&THINGS);
        let alarm = match self.rng.below(8) {
            0..=4 => format!("{thing}/{property}/{level}"),
            5 => format!("{thing}/*"),
            6 => format!("*/{property}/?"),
            _ => "*".to_owned(),
        };
        What::Command {
            verb: self.rng.pick(&["acknowledge", "acknowledge", "enable", "enable", "disable"]),
            alarm,
            by: self.rng.pick(&[Some("kim"), Some("kim"), None]),
            comment: self.rng.pick(&[None, Some("on it")]),
        }
    }
}
