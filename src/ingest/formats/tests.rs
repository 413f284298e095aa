//! Payloads as devices send them, and the values or faults that result.

use super::*;

fn read(payload: &str, pointer: Option<&str>) -> Result<Value, PayloadFault> {
    let pointer = pointer.map(|p| Pointer::parse(p).unwrap());
    Payload::read(payload.as_bytes(), 1 << 18)?.scalar(pointer.as_ref(), &Map::new(), |value| value.to_value())
}

fn text(text: &str) -> Result<Value, PayloadFault> {
    Ok(Value::Text(text.into()))
}

#[test]
fn json_is_json_and_anything_else_is_text() {
    assert_eq!(read("22", None), Ok(Value::Number(22.0)));
    assert_eq!(read(" -1.5e3\n", None), Ok(Value::Number(-1500.0)));
    assert_eq!(read("true", None), Ok(Value::Boolean(true)));
    assert_eq!(read("\"open\"", None), text("open"));
    assert_eq!(read(r#""o\u0070en""#, None), text("open"));
    assert_eq!(read("open", None), text("open"));
    assert_eq!(read("007", None), text("007"));
    assert_eq!(read("1 2", None), text("1 2"));
    assert_eq!(read("True", None), text("True"));
}

#[test]
fn what_is_not_a_value_is_a_fault() {
    for payload in ["NaN", "nan", "-inf", "Infinity", " +INF "] {
        assert_eq!(read(payload, None), Err(PayloadFault::NotFinite), "{payload}");
    }
    assert_eq!(read("1e999", None), Err(PayloadFault::NumberOverflow));
    assert_eq!(read("-1e999", None), Err(PayloadFault::NumberOverflow));
    assert_eq!(read("null", None), Err(PayloadFault::NotScalar("null")));
    assert_eq!(read("[1]", None), Err(PayloadFault::NotScalar("an array")));
    assert_eq!(read("{}", None), Err(PayloadFault::NotScalar("an object")));
    assert_eq!(read("22", Some("/value")), Err(PayloadFault::PointerMissing("/value".into())));
    assert_eq!(read("hot", Some("/value")), Err(PayloadFault::NotJson));
    assert!(matches!(Payload::read(b"\xff", 10), Err(PayloadFault::NotUtf8)));
    assert!(matches!(Payload::read(b"123", 2), Err(PayloadFault::TooLarge)));
}

#[test]
fn pointers_follow_rfc_6901() {
    let json = r#"{"a":{"b":[10,{"c~d":1,"e/f":2,"":3}]},"a\"x":4,"k":1,"k":2}"#;
    assert_eq!(read(json, Some("/a/b/0")), Ok(Value::Number(10.0)));
    assert_eq!(read(json, Some("/a/b/1/c~0d")), Ok(Value::Number(1.0)));
    assert_eq!(read(json, Some("/a/b/1/e~1f")), Ok(Value::Number(2.0)));
    assert_eq!(read(json, Some("/a/b/1/")), Ok(Value::Number(3.0)));
    assert_eq!(read(json, Some("/a\"x")), Ok(Value::Number(4.0)));
    assert_eq!(read(json, Some("/k")), Ok(Value::Number(2.0)), "the last of equal names");
    assert_eq!(read("5", Some("")), Ok(Value::Number(5.0)));
    for missing in ["/a/b/2", "/a/b/-", "/a/b/00", "/a/b/+1", "/z", "/a/b/0/x"] {
        assert!(matches!(read(json, Some(missing)), Err(PayloadFault::PointerMissing(_))), "{missing}");
    }
    assert!(Pointer::parse("a").is_err());
    assert!(Pointer::parse("/a~2").is_err());
}

#[test]
fn members_of_nested_objects_are_joined_by_dots() {
    let json = r#"{"t":1,"ENERGY":{"Power":7,"on":true},"tags":[1],"none":null,"big":1e999,"s":"x"}"#;
    let (mut got, mut faults) = (Vec::new(), Vec::new());
    Payload::read(json.as_bytes(), 1000)
        .unwrap()
        .members(None, &Map::new(), &mut |name, value| got.push((name.to_owned(), value.to_value())), &mut |n, f| {
            faults.push((n.to_owned(), f));
        })
        .unwrap();
    let want = [
        ("t", Value::Number(1.0)),
        ("ENERGY.Power", Value::Number(7.0)),
        ("ENERGY.on", Value::Boolean(true)),
        ("s", Value::Text("x".into())),
    ];
    assert_eq!(got, want.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(faults, [("big".to_owned(), PayloadFault::NumberOverflow)]);
}

#[test]
fn a_message_nested_without_end_costs_no_stack() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
    let payload = Payload::read(deep.as_bytes(), 1 << 20).unwrap();
    assert_eq!(payload.members(None, &Map::new(), &mut |_, _| (), &mut |_, _| ()), Err(PayloadFault::TooDeep));
}

#[test]
fn a_map_replaces_scalars_of_every_type() {
    let map = Map::from([
        ("ON".to_owned(), Value::Boolean(true)),
        ("1".to_owned(), Value::Text("one".into())),
        ("false".to_owned(), Value::Number(0.0)),
        ("nan".to_owned(), Value::Number(-1.0)),
    ]);
    let read =
        |payload: &str| Payload::read(payload.as_bytes(), 99).unwrap().scalar(None, &map, |value| value.to_value());
    assert_eq!(read("ON"), Ok(Value::Boolean(true)));
    assert_eq!(read("\"ON\""), Ok(Value::Boolean(true)));
    assert_eq!(read("1.0"), text("one"));
    assert_eq!(read("false"), Ok(Value::Number(0.0)));
    assert_eq!(read("nan"), Ok(Value::Number(-1.0)));
    assert_eq!(read("2"), Ok(Value::Number(2.0)));
}

#[test]
fn times_in_all_units() {
    let time = |unit, payload: &str| {
        let pointer = Pointer::parse("/t").unwrap();
        Payload::read(payload.as_bytes(), 99).unwrap().time(&TimePointer { pointer, unit })
    };
    let want = Ok(Stamp::from_micros(1_500_000));
    assert_eq!(time(TimeUnit::Seconds, r#"{"t":1.5}"#), want);
    assert_eq!(time(TimeUnit::Milliseconds, r#"{"t":1500}"#), want);
    assert_eq!(time(TimeUnit::Rfc3339, r#"{"t":"1970-01-01T00:00:01.5Z"}"#), want);
    assert!(matches!(time(TimeUnit::Seconds, r#"{"t":"1.5"}"#), Err(PayloadFault::BadTime(_))));
    assert!(matches!(time(TimeUnit::Seconds, r#"{"t":1e300}"#), Err(PayloadFault::BadTime(_))));
    assert!(matches!(time(TimeUnit::Rfc3339, r#"{"t":15}"#), Err(PayloadFault::BadTime(_))));
    assert!(matches!(time(TimeUnit::Seconds, r#"{"x":15}"#), Err(PayloadFault::PointerMissing(_))));
}
