//! What one rendering may make, in bytes and in steps.
//!
//! The template library counts instructions (fuel), and one instruction may make gigabytes or look through them. So
//! whatever makes a value (operators, lists, filters, functions, output) goes through here: no text is longer than
//! [`LONGEST`], no value deeper than [`DEEPEST`], and all together make no more than [`MOST_BYTES`]. Filters whose result
//! is a product of their arguments are asked for its size before they run. What looks through values (comparisons, tests,
//! filters, indices) is counted, too: one rendering looks at no more than [`MOST_STEPS`].

use super::compile::DEEPEST;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, filters, functions, tests};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Bytes of what comes out, and of each text on the way. No reader takes more, and a broker or a mail server would
/// refuse it.
pub(super) const LONGEST: usize = 256 * 1024;
/// Bytes of all texts and lists that one rendering makes. A digest of four thousand events needs two million.
const MOST_BYTES: usize = 16 << 20;
/// Bytes that are written, those into variables (`{% set %}…{% endset %}`) included.
const MOST_WRITTEN: usize = 4 * LONGEST;
/// Bytes of text in one value, counted as often as they occur in it: what it would give as one text.
const MOST_TEXT: usize = 64 << 20;
/// Elements of one value, those of its elements included. A digest of ten thousand events has two hundred thousand.
const MOST_ELEMENTS: usize = 1 << 19;
/// Elements that are looked at, in all values together: about a second of it.
const MOST_STEPS: usize = 20_000_000;
/// Bytes of a text that take as long as an element.
const BYTES_OF_A_STEP: usize = 8;
/// The largest number of columns or of elements in a row that a template may ask for.
const WIDEST: usize = 65_536;
/// Bytes of a format of times.
const LONGEST_TIME_FORMAT: usize = 1_024;

/// The functions in the place of operators and displays.
pub(super) struct Hooks {
    pub(super) add: &'static str,
    pub(super) multiply: &'static str,
    pub(super) concatenate: &'static str,
    pub(super) slice: &'static str,
    pub(super) item: &'static str,
    pub(super) contains: &'static str,
    pub(super) equal: &'static str,
    pub(super) different: &'static str,
    pub(super) less: &'static str,
    pub(super) at_most: &'static str,
    pub(super) greater: &'static str,
    pub(super) at_least: &'static str,
    pub(super) list: &'static str,
    pub(super) tuple: &'static str,
    pub(super) map: &'static str,
}

/// Their names. No template can call them: such names are refused.
pub(super) const HOOKS: Hooks = Hooks {
    add: "__annunciator_add",
    multiply: "__annunciator_multiply",
    concatenate: "__annunciator_concatenate",
    slice: "__annunciator_slice",
    item: "__annunciator_item",
    contains: "__annunciator_contains",
    equal: "__annunciator_equal",
    different: "__annunciator_different",
    less: "__annunciator_less",
    at_most: "__annunciator_at_most",
    greater: "__annunciator_greater",
    at_least: "__annunciator_at_least",
    list: "__annunciator_list",
    tuple: "__annunciator_tuple",
    map: "__annunciator_map",
};
/// Looks at what is assigned: an attribute of a namespace may grow from turn to turn of a loop.
pub(super) const CHECKED: &str = "__annunciator_checked";

/// What a rendering has used.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    bytes: usize,
    written: usize,
    steps: usize,
}

thread_local! {
    /// Of the rendering that runs on this thread.
    static USED: Cell<Used> = const { Cell::new(Used { bytes: 0, written: 0, steps: 0 }) };
}

/// A rendering begins.
pub(super) fn begin() {
    USED.set(Used::default());
}

fn too_much(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Counts bytes that a value has made.
fn make(bytes: usize) -> Result<(), Error> {
    let mut used = USED.get();
    used.bytes = used.bytes.saturating_add(bytes);
    USED.set(used);
    if used.bytes > MOST_BYTES {
        return Err(too_much(format!("it makes more than {MOST_BYTES} bytes of texts and lists on its way")));
    }
    Ok(())
}

/// Refuses a text of this length.
fn fits(bytes: usize) -> Result<(), Error> {
    if bytes > LONGEST { Err(too_much(format!("it makes a text of more than {LONGEST} bytes"))) } else { Ok(()) }
}

/// Counts bytes that are written.
fn write(bytes: usize) -> Result<(), Error> {
    let mut used = USED.get();
    used.written = used.written.saturating_add(bytes);
    USED.set(used);
    let limit = || too_much(format!("it writes more than {MOST_WRITTEN} bytes"));
    if used.written > MOST_WRITTEN { Err(limit()) } else { Ok(()) }
}

/// Counts what is looked at.
fn look(steps: usize) -> Result<(), Error> {
    let mut used = USED.get();
    used.steps = used.steps.saturating_add(steps);
    USED.set(used);
    if used.steps > MOST_STEPS { Err(too_much("it does not come to an end")) } else { Ok(()) }
}

/// Looks at all of a value. The bytes of its texts, each as often as it occurs.
fn measure(value: &Value) -> Result<usize, Error> {
    let (mut text, mut elements) = (0_usize, 0_usize);
    if let Some(whole) = value.as_str() {
        look(whole.len() / BYTES_OF_A_STEP)?;
        return Ok(whole.len());
    }
    let mut waiting = vec![(value.clone(), 0)];
    while let Some((value, depth)) = waiting.pop() {
        if let Some(part) = value.as_str() {
            text += part.len();
        } else if is_container(&value) {
            if depth >= DEEPEST {
                return Err(too_much(format!("it makes a value of more than {DEEPEST} levels")));
            }
            let is_map = value.kind() == ValueKind::Map;
            for element in value.try_iter()? {
                elements += 1;
                if elements > MOST_ELEMENTS {
                    return Err(too_much(format!("it makes a value of more than {MOST_ELEMENTS} elements")));
                }
                if is_map {
                    waiting.push((value.get_item(&element)?, depth + 1));
                }
                waiting.push((element, depth + 1));
            }
        }
        if text > MOST_TEXT {
            return Err(too_much(format!("it makes a value with more than {MOST_TEXT} bytes of text")));
        }
    }
    look(elements + text / BYTES_OF_A_STEP).map(|()| text)
}

fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// A list in the place of a value that would be calculated anew each time that somebody looks at it.
fn settled(value: Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    let elements: Vec<Value> = value.try_iter()?.take(MOST_ELEMENTS + 1).collect();
    look(elements.len())?;
    if elements.len() > MOST_ELEMENTS {
        return Err(too_much(format!("it makes a value of more than {MOST_ELEMENTS} elements")));
    }
    Ok(Value::from(elements))
}

/// The elements of a value that only points to them.
fn flat(value: Value) -> Result<Value, Error> {
    measure(&value)?;
    let kind = value.kind();
    if kind == ValueKind::Map {
        let pairs = value.try_iter()?.map(|key| value.get_item(&key).map(|member| (key, member)));
        return Ok(Value::from_object(pairs.collect::<Result<BTreeMap<Value, Value>, Error>>()?));
    }
    Ok(if kind == ValueKind::Seq { Value::from(value.try_iter()?.collect::<Vec<Value>>()) } else { value })
}

/// Looks at a new value, and counts it.
fn made(value: Value) -> Result<Value, Error> {
    let value = settled(value)?;
    if let Some(text) = value.as_str() {
        fits(text.len())?;
        make(text.len())?;
    } else if is_container(&value) {
        measure(&value)?;
        make(value.len().unwrap_or(0).saturating_mul(size_of::<Value>()))?;
    }
    Ok(value)
}

/// A text that ends where it may be no longer.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        self.write_str(text).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is displayed, if it is short enough.
fn bounded(text: fmt::Arguments<'_>) -> Result<String, Error> {
    let mut bounded = Bounded(String::new());
    match bounded.write_fmt(text) {
        Ok(()) => Ok(bounded.0),
        Err(_) => fits(LONGEST + 1).map(|()| String::new()),
    }
}

/// An error if there is no value: the library's own, which knows its name.
fn defined(state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() { state.format(value.clone()).map(drop) } else { Ok(()) }
}

/// Writes a value as the library would, and counts it.
fn emit(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    // That there is a value was looked at before.
    if let Some(text) = value.as_str() {
        write(text.len())?;
        return out.write_str(text).map_err(Error::from);
    }
    measure(value)?;
    let text = bounded(format_args!("{value}"))?;
    write(text.len())?;
    out.write_str(&text).map_err(Error::from)
}

/// Calculates as the library does. The operands are looked at before.
fn calculated(state: &State<'_, '_>, formula: &'static str, operands: &[Value]) -> Result<Value, Error> {
    let names = ["a", "b", "c", "d"];
    let operands: BTreeMap<&str, Value> = names.into_iter().zip(operands.iter().cloned()).collect();
    state.env().compile_expression(formula)?.eval(Value::from_object(operands)).and_then(made)
}

/// Puts the limits around everything that the library brings.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_formatter(emit);
    operators(environment);
    environment.add_function(HOOKS.list, |elements: Rest<ValueOrKwargs>| made(Value::from(elements.into_values())));
    environment.add_function(HOOKS.tuple, |elements: Rest<ValueOrKwargs>| {
        made(Value::from(Tuple::from(elements.into_values())))
    });
    environment.add_function(HOOKS.map, |pairs: Rest<ValueOrKwargs>| {
        let pairs = pairs.into_values();
        let map: BTreeMap<Value, Value> =
            pairs.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        made(Value::from_object(map))
    });
    environment.add_function(CHECKED, |value: Value| measure(&value).map(|_| value));
    for (name, function) in
        [("dict", Value::from_function(functions::dict)), ("namespace", Value::from_function(functions::namespace))]
    {
        environment.add_function(name, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            arguments.iter().try_for_each(|argument| measure(argument).map(drop))?;
            function.call(state, &arguments).and_then(made)
        });
    }
    environment.add_function("debug", |state: &State<'_, '_>, values: Rest<Value>| {
        values.iter().try_for_each(|value| measure(value).map(drop))?;
        let shown = match values.as_slice() {
            [] => bounded(format_args!("{state:#?}")),
            [value] => bounded(format_args!("{value:#?}")),
            values => bounded(format_args!("{values:#?}")),
        };
        shown.map(Value::from).and_then(made)
    });
    environment.add_function("range", |lower: isize, upper: Option<isize>, step: Option<isize>| {
        functions::range(lower, upper, step).and_then(settled)
    });
    for (name, filter) in unbounded_filters() {
        environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            let text =
                arguments.iter().try_fold(0_usize, |text, argument| Ok::<_, Error>(text + measure(argument)?))?;
            look_ahead(name, &arguments, text)?;
            let result = filter.call(state, &arguments)?;
            // A chain of chains would be longer to look through than it is long.
            made(if name == "chain" { flat(result)? } else { result })
        });
    }
    for (names, test) in unbounded_tests() {
        for name in names {
            let test = test.clone();
            environment.add_test(*name, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
                let arguments = arguments.into_values();
                arguments.iter().try_for_each(|argument| measure(argument).map(drop))?;
                test.call(state, &arguments).map(|result| result.is_true())
            });
        }
    }
    environment.add_filter("json", |value: Value| {
        measure(&value)?;
        let mut text = Bounded(String::new());
        serde_json::to_writer(&mut text, &value).map_err(|error| match error.is_io() {
            true => too_much(format!("it makes a text of more than {LONGEST} bytes")),
            false => Error::new(ErrorKind::BadSerialization, error.to_string()),
        })?;
        made(Value::from(text.0))
    });
    environment.add_filter("urlencode", |value: Value| {
        measure(&value)?;
        made(Value::from(super::percent_encoded(&bounded(format_args!("{value}"))?)))
    });
}

fn operators(environment: &mut Environment<'static>) {
    environment.add_function(HOOKS.add, |state: &mut State<'_, '_>, a: Value, b: Value| {
        defined(state, &a)?;
        defined(state, &b)?;
        if let (Some(left), Some(right)) = (a.as_str(), b.as_str()) {
            fits(left.len() + right.len())?;
        }
        calculated(state, "a + b", &[a, b])
    });
    environment.add_function(HOOKS.multiply, |state: &mut State<'_, '_>, a: Value, b: Value| {
        defined(state, &a)?;
        defined(state, &b)?;
        let count = a.as_usize().or(b.as_usize()).unwrap_or(0);
        if let Some(text) = a.as_str().or(b.as_str()) {
            fits(text.len().saturating_mul(count))?;
        } else if let Some(length) = [&a, &b].into_iter().filter(|value| is_container(value)).find_map(Value::len)
            && length.saturating_mul(count) > MOST_ELEMENTS
        {
            return Err(too_much(format!("it makes a value of more than {MOST_ELEMENTS} elements")));
        }
        calculated(state, "a * b", &[a, b])
    });
    environment.add_function(HOOKS.concatenate, |state: &mut State<'_, '_>, a: Value, b: Value| {
        defined(state, &a)?;
        defined(state, &b)?;
        measure(&a)?;
        measure(&b)?;
        made(Value::from(bounded(format_args!("{a}{b}"))?))
    });
    environment.add_function(HOOKS.slice, |state: &mut State<'_, '_>, a: Value, b: Value, c: Value, d: Value| {
        defined(state, &a)?;
        measure(&a)?;
        calculated(state, "a[b:c:d]", &[a, b, c, d])
    });
    environment.add_function(HOOKS.item, |state: &mut State<'_, '_>, whole: Value, key: Value| {
        defined(state, &whole)?;
        if let Some(text) = whole.as_str() {
            look(text.len() / BYTES_OF_A_STEP)?;
        }
        whole.get_item(&key)
    });
    environment.add_function(HOOKS.contains, |state: &mut State<'_, '_>, element: Value, whole: Value| {
        compared(state, &element, &whole)?;
        calculated(state, "a in b", &[element, whole])
    });
    type Comparison = (&'static str, fn(&Value, &Value) -> bool);
    let comparisons: [Comparison; 6] = [
        (HOOKS.equal, |a, b| a == b),
        (HOOKS.different, |a, b| a != b),
        (HOOKS.less, |a, b| a < b),
        (HOOKS.at_most, |a, b| a <= b),
        (HOOKS.greater, |a, b| a > b),
        (HOOKS.at_least, |a, b| a >= b),
    ];
    for (name, holds) in comparisons {
        environment.add_function(name, move |state: &mut State<'_, '_>, a: Value, b: Value| {
            compared(state, &a, &b).map(|()| holds(&a, &b))
        });
    }
}

/// Looks at what is compared.
fn compared(state: &mut State<'_, '_>, a: &Value, b: &Value) -> Result<(), Error> {
    for operand in [a, b] {
        defined(state, operand)?;
        measure(operand)?;
    }
    Ok(())
}

/// Refuses what would make a product of its arguments, before it does. `text`: the bytes of all of them.
fn look_ahead(name: &str, arguments: &[Value], text: usize) -> Result<(), Error> {
    let argument = |index: usize| arguments.get(index).filter(|value| !value.is_kwargs());
    let shown = |index: usize| argument(index).map_or(Ok(String::new()), |value| bounded(format_args!("{value}")));
    match name {
        "replace" => {
            let (whole, old, new) = (shown(0)?, shown(1)?, shown(2)?);
            // An empty text is found before each character and at the end.
            let places = if old.is_empty() { whole.chars().count() + 1 } else { whole.matches(old.as_str()).count() };
            fits(whole.len().saturating_add(places.saturating_mul(new.len())))
        }
        "indent" => {
            let named = arguments.last().filter(|last| last.is_kwargs()).cloned();
            let named = named.and_then(|named| Kwargs::try_from(named).ok());
            let named = named.and_then(|named| named.get::<Option<usize>>("width").ok().flatten());
            let width = argument(1).and_then(Value::as_usize).or(named).unwrap_or(4);
            let whole = shown(0)?;
            fits(whole.len().saturating_add((whole.matches('\n').count() + 1).saturating_mul(width)))
        }
        "join" => {
            // What is made on the way (`chain`) has no length before it was counted.
            let counted = |list: &Value| list.try_iter().map_or(0, |elements| elements.take(LONGEST).count());
            let count = argument(0).map_or(0, |list| list.len().unwrap_or_else(|| counted(list)));
            fits(text.saturating_add(count.saturating_mul(shown(1)?.len())))
        }
        "format" => {
            let format = shown(0)?;
            // Widths stand in the format, or are an argument where it says `*`.
            let digits = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            let written = digits.map(|digits| digits.parse::<usize>().unwrap_or(usize::MAX));
            let given = arguments.iter().filter_map(Value::as_usize).filter(|_| format.contains('*'));
            let width = written.chain(given).fold(0_usize, usize::max);
            let longest = text.saturating_sub(format.len()).saturating_add(width);
            fits(format.len().saturating_add(format.matches('%').count().saturating_mul(longest)))
        }
        "sort" | "dictsort" | "unique" | "groupby" => {
            let named = arguments
                .last()
                .filter(|last| last.is_kwargs())
                .map_or(Ok(Value::UNDEFINED), |named| named.get_attr("attribute"))?;
            let keys = named.as_str().map_or(1, |keys| keys.split(',').count());
            let elements = argument(0).and_then(Value::len).unwrap_or(1);
            if elements.saturating_mul(keys) > MOST_ELEMENTS {
                return Err(too_much(format!("it makes a value of more than {MOST_ELEMENTS} elements")));
            }
            // Each element is compared with some others.
            let comparisons = elements.checked_ilog2().unwrap_or_default() as usize;
            look((elements.saturating_mul(keys) + text / BYTES_OF_A_STEP).saturating_mul(comparisons))
        }
        "batch" | "slice" if argument(1).and_then(Value::as_usize).is_some_and(|count| count > WIDEST) => {
            Err(too_much(format!("{name} takes {WIDEST} at most")))
        }
        _ => Ok(()),
    }
}

/// Refuses formats of times that would make long texts.
pub(super) fn check_time_format(format: &str) -> Result<(), Error> {
    if format.len() > LONGEST_TIME_FORMAT {
        return Err(too_much(format!("the format of a time has {LONGEST_TIME_FORMAT} bytes at most")));
    }
    Ok(())
}

/// The library's tests, but for those that only look at a value's type.
fn unbounded_tests() -> Vec<(&'static [&'static str], Value)> {
    vec![
        (&["startingwith"], Value::from_function(tests::is_startingwith)),
        (&["endingwith"], Value::from_function(tests::is_endingwith)),
        (&["lower"], Value::from_function(tests::is_lower)),
        (&["upper"], Value::from_function(tests::is_upper)),
        (&["eq", "equalto", "=="], Value::from_function(tests::is_eq)),
        (&["ne", "!="], Value::from_function(tests::is_ne)),
        (&["lt", "lessthan", "<"], Value::from_function(tests::is_lt)),
        (&["le", "<="], Value::from_function(tests::is_le)),
        (&["gt", "greaterthan", ">"], Value::from_function(tests::is_gt)),
        (&["ge", ">="], Value::from_function(tests::is_ge)),
        (&["in"], Value::from_function(tests::is_in)),
    ]
}

/// The library's filters, but for those that only look (`length`, `default`, `int` …).
fn unbounded_filters() -> Vec<(&'static str, Value)> {
    vec![
        ("safe", Value::from_function(filters::safe)),
        ("escape", Value::from_function(filters::escape)),
        ("e", Value::from_function(filters::escape)),
        ("lower", Value::from_function(filters::lower)),
        ("upper", Value::from_function(filters::upper)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("replace", Value::from_function(filters::replace)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
        ("trim", Value::from_function(filters::trim)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("last", Value::from_function(filters::last)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sort", Value::from_function(filters::sort)),
        ("list", Value::from_function(filters::list)),
        ("string", Value::from_function(filters::string)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("sum", Value::from_function(filters::sum)),
        ("indent", Value::from_function(filters::indent)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("map", Value::from_function(filters::map)),
        ("groupby", Value::from_function(filters::groupby)),
        ("unique", Value::from_function(filters::unique)),
        ("chain", Value::from_function(filters::chain)),
        ("zip", Value::from_function(filters::zip)),
        ("pprint", Value::from_function(filters::pprint)),
        ("format", Value::from_function(filters::format)),
    ]
}
