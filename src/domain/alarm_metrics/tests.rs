use super::*;

fn at(secs: i64) -> Moment {
    Moment::from_micros(secs * 1_000_000)
}

fn alarm(name: &str) -> AlarmId {
    AlarmId::new(name, "p", "hi")
}

fn names(ranking: &Ranking) -> Vec<&str> {
    ranking.worst.iter().map(|entry| entry.alarm.as_str()).collect()
}

#[test]
fn a_flood_begins_with_the_eleventh_and_ends_below_five() {
    let mut performance = Performance::new(at(0));
    for second in 0..10 {
        performance.activated(&alarm("a"), at(second * 10));
    }
    assert!(!performance.is_flooded(), "ten in ten minutes can be followed");
    performance.activated(&alarm("b"), at(100));
    let flood = Flood { since: at(100), activations: 11, peak: 11 };
    assert_eq!(performance.take_turns(), [Turn::FloodBegan(flood)]);
    performance.activated(&alarm("c"), at(400));
    assert_eq!(performance.report(at(400)).flood.unwrap().activations, 12);
    // Of the activations at 0, 10, …, 90, 100 and 400 those after 60 are five: no end yet. Then there are four.
    performance.advance(at(669));
    assert!(performance.is_flooded());
    assert_eq!(performance.seconds.total(), 5);
    performance.advance(at(3_600));
    let flood = Flood { since: at(100), activations: 12, peak: 12 };
    assert_eq!(performance.take_turns(), [Turn::FloodEnded { flood, at: at(670) }]);
    let report = performance.report(at(3_600));
    assert_eq!((report.floods, report.flood, report.last_interval, report.peak_interval), (1, None, 0, 12));
    assert!((report.flood_share - 570.0 / 3_600.0).abs() < 1e-9, "{report:?}");
    assert!((report.mean_interval - 2.0).abs() < 1e-9, "twelve in an hour: {report:?}");
}

#[test]
fn between_the_two_limits_it_stays_as_it_was() {
    let mut performance = Performance::new(at(0));
    for second in 0..12 {
        performance.activated(&alarm("a"), at(second));
    }
    // One every 100 s are six in ten minutes: a flood that has begun goes on, and none begins.
    let mut calm = Performance::new(at(0));
    for second in (100..7_200).step_by(100) {
        performance.activated(&alarm("a"), at(second));
        calm.activated(&alarm("a"), at(second));
    }
    assert!(performance.is_flooded());
    assert!(!calm.is_flooded());
}

#[test]
fn three_in_a_minute_chatter() {
    let mut performance = Performance::new(at(0));
    for (name, seconds) in [("fast", [0, 30, 59]), ("slow", [0, 30, 60])] {
        let mut performance_of_one = Performance::new(at(0));
        for second in seconds {
            performance_of_one.activated(&alarm(name), at(second));
        }
        assert_eq!(performance_of_one.report(at(60)).chattering.count, usize::from(name == "fast"), "{name}");
    }
    for second in [0, 1, 2] {
        performance.activated(&alarm("a"), at(second));
    }
    assert_eq!(performance.report(at(86_000)).chattering.count, 1);
    assert_eq!(performance.report(at(90_000)).chattering.count, 0, "that was yesterday");
}

#[test]
fn gone_before_anybody_could_act_is_fleeting() {
    let mut performance = Performance::new(at(0));
    for (start, length) in [(100, 4), (200, 5), (300, 1)] {
        performance.activated(&alarm("a"), at(start));
        performance.returned(&alarm("a"), at(start + length));
    }
    performance.returned(&alarm("never seen"), at(400));
    let report = performance.report(at(500));
    assert_eq!((report.fleeting.count, report.fleeting.worst[0].fleeting), (1, 2));
}

#[test]
fn the_most_frequent_are_listed_with_their_share() {
    let mut performance = Performance::new(at(0));
    for (index, times) in [1, 5, 3, 1].into_iter().enumerate() {
        for time in 0..times {
            performance.activated(&alarm(&format!("t{index}")), at(time));
        }
    }
    let report = performance.report(at(10));
    assert_eq!(names(&report.frequent), ["t1/p/hi", "t2/p/hi", "t0/p/hi", "t3/p/hi"]);
    assert!((report.frequent.worst[0].share - 0.5).abs() < 1e-9);
    assert!(!report.is_partial);
    let report = performance.report(at(86_400 + 3_600));
    assert_eq!((report.frequent.count, report.last_day, report.peak_interval), (0, 0, 0));
}

#[test]
fn a_hundred_thousand_alarms_take_no_more_room_and_the_frequent_are_still_known() {
    let mut performance = Performance::new(at(0));
    for second in 0..100_000_i64 {
        performance.activated(&alarm(&format!("thing-{second}")), at(second / 100));
        if second % 50 == 0 {
            performance.activated(&alarm("loose-contact"), at(second / 100));
        }
    }
    assert!(performance.tracks.len() <= TRACKED);
    let report = performance.report(at(1_000));
    assert_eq!(names(&report.frequent)[0], "loose-contact/p/hi");
    assert_eq!(report.frequent.worst[0].activations, 2_000);
    assert_eq!(report.last_day, 102_000);
    assert!(report.is_partial);
    assert!(std::mem::size_of::<Track>() * TRACKED < 700_000, "with the ids less than a megabyte, as is said there");
}

#[test]
fn time_that_goes_back_or_leaps_does_no_harm() {
    let mut performance = Performance::new(at(1_000));
    for _ in 0..11 {
        performance.activated(&alarm("a"), at(10));
    }
    assert!(performance.is_flooded());
    let far = Moment::from_micros(i64::MAX);
    performance.advance(far);
    assert!(!performance.is_flooded());
    assert_eq!(performance.report(far).observed, DAY);
}
