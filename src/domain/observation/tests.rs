//! Proofs of silence, and the beginnings and ends of gaps.

use super::*;

fn at(secs: i64) -> Moment {
    Moment::from_micros(secs * 1_000_000)
}

fn at_millis(millis: i64) -> Moment {
    Moment::from_micros(millis * 1_000)
}

/// A connection at second 0 whose first probe has come back at once.
fn connected() -> Observation {
    let mut observation = Observation::new(at(0), None);
    let gap = Gap { since: at(0), until: at(0), cause: Cause::NotRunning };
    assert_eq!(observation.connected(at(0)), Some(gap));
    assert_eq!(echo(&mut observation, at(0)), None);
    observation
}

/// Sends a probe on a line that moves, and returns its nonce.
fn probe(observation: &mut Observation, now: Moment) -> Nonce {
    observation.packet_received(now);
    let nonce = Nonce::new(7_000 + observation.next_probe());
    observation.probe_sent(nonce, now);
    nonce
}

/// The broker acknowledges the newest probe.
fn acknowledge(observation: &mut Observation, now: Moment) -> Option<Gap> {
    observation.probe_acknowledged(observation.next_probe() - 1, now)
}

/// A probe that comes back in no time.
fn echo(observation: &mut Observation, now: Moment) -> Option<Gap> {
    let nonce = probe(observation, now);
    observation.probe_received(nonce, now)
}

#[test]
fn a_message_proves_silence_up_to_its_receipt() {
    let mut observation = connected();
    observation.received(at(3), Acknowledgement::None);
    assert_eq!(observation.proven(), at(3));
    assert_eq!(observation.probe_due(Some(at(2))), Some(at(33)), "the deadline is proven");
}

#[test]
fn a_deadline_is_due_when_it_has_strictly_passed_and_waits_for_the_probe() {
    let mut observation = connected();
    assert_eq!(observation.probe_due(Some(at(5))), Some(at(5) + Span::from_micros(1)));
    let nonce = probe(&mut observation, at(6));
    assert_eq!(observation.probe_due(Some(at(5))), None, "one at a time");
    assert_eq!(acknowledge(&mut observation, at(6)), None);
    assert_eq!(observation.proven(), at(0), "an acknowledgement is no proof of delivery");
    observation.probe_received(nonce, at_millis(6_040));
    assert_eq!((observation.proven(), observation.awaits_probe()), (at(6), false));
}

#[test]
fn behind_withheld_acknowledgements_only_a_probe_proves() {
    let mut observation = connected();
    observation.received(at(1), Acknowledgement::AfterWrite);
    assert_eq!(observation.proven(), at(1), "nothing was held up before it");
    assert_eq!(observation.acknowledged(at(2), None), None);
    observation.received(at(3), Acknowledgement::None);
    assert_eq!(observation.proven(), at(1), "what was published at 1.5 s may come after it");
    let nonce = probe(&mut observation, at(4));
    observation.received(at_millis(4_040), Acknowledgement::None);
    observation.probe_received(nonce, at_millis(4_040));
    assert_eq!(observation.proven(), at(4));
    observation.received(at(6), Acknowledgement::None);
    assert_eq!(observation.proven(), at(6));
    observation.held_up();
    observation.received(at(7), Acknowledgement::None);
    assert_eq!(observation.proven(), at(6), "a probe has waited for its acknowledgement");
}

#[test]
fn a_probe_that_was_sent_before_the_acknowledgements_proves_what_was_before_it_and_no_more() {
    let mut observation = connected();
    observation.received(at(1), Acknowledgement::AfterWrite);
    let nonce = probe(&mut observation, at(2));
    observation.acknowledged(at_millis(2_500), None);
    observation.probe_received(nonce, at_millis(2_600));
    assert_eq!(observation.proven(), at(2));
    observation.received(at(5), Acknowledgement::None);
    assert_eq!(observation.proven(), at(2));
}

#[test]
fn acknowledgements_that_are_withheld_for_long_are_a_gap_until_a_later_probe_is_back() {
    let mut observation = connected();
    observation.received(at(1), Acknowledgement::AfterWrite);
    let early = probe(&mut observation, at(2));
    assert_eq!(observation.acknowledged(at(10), Some(at(6))), Some(at(1)));
    // It came while the write went on.
    assert_eq!(observation.probe_received(early, at_millis(2_100)), None, "it was sent before");
    observation.received(at(10), Acknowledgement::None);
    assert_eq!((observation.proven(), observation.is_in_gap()), (at(2), true));
    assert!(observation.probe_due(None).is_some_and(|due| due <= at(10)), "the gap waits for its end");
    let late = probe(&mut observation, at(10));
    let gap = Gap { since: at(1), until: at(11), cause: Cause::AcknowledgementsWithheld };
    assert_eq!(observation.probe_received(late, at(11)), Some(gap));
    assert_eq!(observation.proven(), at(10));
}

#[test]
fn what_a_session_brings_after_a_connect_proves_nothing() {
    let mut observation = Observation::new(at(100), Some(at(90)));
    let gap = observation.connected(at(100));
    assert_eq!(gap, Some(Gap { since: at(90), until: at(100), cause: Cause::NotRunning }));
    observation.received(at(101), Acknowledgement::None);
    assert_eq!(observation.proven(), at(100));
    echo(&mut observation, at(102));
    observation.received(at(103), Acknowledgement::None);
    assert_eq!(observation.proven(), at(103));
}

#[test]
fn messages_of_others_on_the_probe_topic_prove_nothing() {
    let mut observation = connected();
    let nonce = probe(&mut observation, at(6));
    for foreign in ["listening", "", "00000000000000ff", "0000000000001b5f", "+000000000001b59"] {
        let parsed = Nonce::parse(foreign.as_bytes());
        assert_eq!(parsed.and_then(|nonce| observation.probe_received(nonce, at(7))), None);
        assert_eq!(observation.proven(), at(0), "{foreign}");
    }
    assert_eq!(Nonce::parse(nonce.to_string().as_bytes()), Some(nonce));
    assert_eq!(nonce.to_string(), "0000000000001b59");
}

#[test]
fn a_connection_that_acknowledges_and_delivers_nothing_is_given_up() {
    let mut observation = connected();
    assert_eq!(observation.probe_due(None), Some(at(30)), "quiet for long");
    probe(&mut observation, at(30));
    acknowledge(&mut observation, at(30));
    assert_eq!(observation.overdue(at(39)), (None, None));
    assert_eq!(observation.overdue_at(), Some(at(40)));
    assert_eq!(observation.overdue(at(40)), (Some(Overdue::NothingDelivered), None));
    assert_eq!(observation.overdue(at(41)), (None, None), "it is told once");
    assert_eq!(observation.disconnected(at(41), None, None), Some(at(0)));
    assert!(!observation.has_become_suspicious(), "it was ended on purpose");
}

#[test]
fn messages_prove_nothing_while_a_probe_is_on_its_way() {
    let mut observation = connected();
    let nonce = probe(&mut observation, at(1));
    observation.received(at_millis(1_010), Acknowledgement::None);
    assert_eq!(observation.proven(), at(0), "what was published before it may be behind it");
    observation.probe_received(nonce, at_millis(1_020));
    assert_eq!(observation.proven(), at(1));
}

#[test]
fn a_probe_into_a_standstill_proves_nothing_and_the_next_one_does() {
    let mut observation = connected();
    // The broker stands still. What comes then has no order.
    let nonce = Nonce::new(1);
    observation.probe_sent(nonce, at(3));
    observation.received(at_millis(3_010), Acknowledgement::None);
    observation.probe_received(nonce, at_millis(3_010));
    assert_eq!(observation.proven(), at(0), "three seconds were silent");
    assert_eq!(observation.probe_due(Some(at(2))), Some(at_millis(3_010)), "another one is due");
    let nonce = Nonce::new(2);
    observation.probe_sent(nonce, at_millis(3_020));
    observation.received(at_millis(3_030), Acknowledgement::None);
    observation.probe_received(nonce, at_millis(3_030));
    assert_eq!(observation.proven(), at_millis(3_020));
}

#[test]
fn on_a_line_that_is_always_slow_each_probe_after_the_first_proves() {
    let mut observation = connected();
    let mut sent = at(1);
    for number in 1..5 {
        let nonce = Nonce::new(number);
        observation.probe_sent(nonce, sent);
        let back = sent + Span::from_secs(2);
        observation.received(back, Acknowledgement::None);
        observation.probe_received(nonce, back);
        assert_eq!(observation.proven(), if number == 1 { at(0) } else { sent });
        sent = back + Span::from_millis(10);
    }
}

#[test]
fn a_probe_behind_a_long_queue_is_waited_for() {
    let mut observation = connected();
    observation.received(at(0), Acknowledgement::AfterWrite);
    let first = probe(&mut observation, at(1));
    acknowledge(&mut observation, at(1));
    let mut later = None;
    for second in 2..120 {
        observation.received(at(second), Acknowledgement::AfterWrite);
        observation.acknowledged(at(second), None);
        let (overdue, _) = observation.overdue(at(second));
        assert_eq!(overdue.is_some(), second % 10 == 2 && second > 10, "{overdue:?} at {second} s");
        if overdue == Some(Overdue::ProbeLate) {
            let nonce = probe(&mut observation, at(second));
            later.get_or_insert((nonce, second));
        }
    }
    let (nonce, second) = later.unwrap();
    observation.probe_received(first, at(120));
    assert_eq!(observation.proven(), at(0), "a second passes between two messages, which is new");
    observation.probe_received(nonce, at(120));
    assert_eq!(observation.proven(), at(second), "the oldest are remembered");
    assert!(observation.awaits_probe());
}

#[test]
fn a_long_queue_is_no_access_rule() {
    let mut observation = connected();
    for second in 0..60 {
        // Each acknowledgement is answered with another message before the probe is acknowledged.
        observation.received(at(second), Acknowledgement::AfterWrite);
        observation.acknowledged(at(second), None);
        if second % 10 == 0 {
            probe(&mut observation, at(second));
        }
        observation.received(at(second), Acknowledgement::AfterWrite);
        acknowledge(&mut observation, at(second));
        let (overdue, _) = observation.overdue(at(second));
        assert!(overdue.is_none_or(|overdue| overdue == Overdue::ProbeLate), "{overdue:?} at {second} s");
    }
    assert_eq!(observation.proven(), at(0));
    assert!(matches!(observation.problems(at(60)).next(), Some(Problem::MessagesLate { .. })));
}

#[test]
fn a_probe_that_is_back_is_not_late_though_it_proves_nothing() {
    let mut observation = connected();
    let slow = probe(&mut observation, at(11));
    // A machine that had no time for a moment, and a probe that may have stood still with it.
    observation.packet_received(at(12));
    observation.probe_received(slow, at(12));
    assert_eq!(observation.proven(), at(0));
    for second in 13..60 {
        observation.received(at(second), Acknowledgement::None);
    }
    assert_eq!(observation.proven(), at(59), "messages prove again");
    assert_eq!(observation.problems(at(60)).next(), None);
}

#[test]
fn a_rule_that_comes_later_is_found_while_messages_come() {
    let mut observation = connected();
    let mut told = Vec::new();
    for second in 1..40 {
        observation.received(at(second), Acknowledgement::AfterWrite);
        observation.acknowledged(at(second), None);
        if observation.probe_due(Some(at(0))).is_some_and(|due| due <= at(second)) {
            probe(&mut observation, at(second));
            acknowledge(&mut observation, at(second));
        }
        let (overdue, _) = observation.overdue(at(second));
        if overdue == Some(Overdue::ProbeLate) {
            probe(&mut observation, at(second));
        }
        told.extend(overdue.map(|overdue| (second, overdue)));
    }
    assert_eq!(told[..2], [(21, Overdue::ProbeLate), (31, Overdue::NoEcho)], "the first probe was sent at 11 s");
    assert!(observation.proven() >= at(20), "from then on acknowledgements serve as proof");
}

#[test]
fn where_rules_keep_the_probe_the_acknowledgement_has_to_do() {
    let mut observation = Observation::new(at(0), None);
    observation.connected(at(0));
    probe(&mut observation, at(1));
    acknowledge(&mut observation, at(1));
    assert_eq!(observation.overdue(at(11)), (Some(Overdue::NoEcho), None));
    assert_eq!(observation.problems(at(11)).next(), Some(Problem::NoEcho));
    probe(&mut observation, at(12));
    acknowledge(&mut observation, at(12));
    assert_eq!(observation.proven(), at(12));
    // Where the queue may not be empty, it is no proof.
    observation.received(at(13), Acknowledgement::AfterWrite);
    probe(&mut observation, at(14));
    acknowledge(&mut observation, at(14));
    assert_eq!(observation.proven(), at(13));
    // The rules have changed.
    echo(&mut observation, at(14));
    assert_eq!(observation.problems(at(14)).next(), None);
}

#[test]
fn connections_that_do_not_last_raise_a_suspicion_once() {
    let mut observation = Observation::new(at(0), None);
    let mut lasted = |from: i64, to: i64| {
        observation.connected(at(from));
        observation.disconnected(at(to), None, None);
        observation.has_become_suspicious()
    };
    let suspicions = [lasted(0, 1), lasted(2, 3), lasted(4, 5), lasted(6, 7), lasted(8, 20), lasted(21, 22)];
    assert_eq!(suspicions, [false, false, true, false, false, false]);
}

#[test]
fn a_stall_is_a_gap_if_it_is_long_and_delays_proof_if_it_is_short() {
    let mut observation = connected();
    assert_eq!(observation.interrupted(at(1), at(3), Cause::Stalled, None), None);
    observation.received(at(3), Acknowledgement::None);
    assert_eq!(observation.proven(), at(0));
    echo(&mut observation, at(4));
    let gap = Gap { since: at(5), until: at(9), cause: Cause::Stalled };
    assert_eq!(observation.interrupted(at(5), at(9), Cause::Stalled, Some(at(6))), Some(gap));
    observation.received(at(10), Acknowledgement::None);
    assert_eq!(observation.proven(), at(9), "what was published in the stall may come after it");
}

#[test]
fn a_gap_never_begins_within_the_one_before() {
    let mut observation = connected();
    observation.received(at(1), Acknowledgement::AfterWrite);
    observation.acknowledged(at(9), None);
    let nonce = probe(&mut observation, at(9));
    assert!(observation.probe_received(nonce, at_millis(9_040)).is_some());
    assert_eq!(observation.proven(), at(9));
    probe(&mut observation, at(13));
    assert_eq!(observation.disconnected(at(14), None, None), Some(at_millis(9_040)));
}

#[test]
fn connections_in_quick_succession_become_a_problem_and_cease_to_be_one() {
    let mut observation = Observation::new(at(0), None);
    let mut now = 0;
    while now < 30_000 {
        observation.connected(at_millis(now));
        echo(&mut observation, at_millis(now));
        observation.disconnected(at_millis(now + 100), None, None);
        now += 600;
    }
    assert_eq!(observation.problems(at(30)).next(), Some(Problem::HardlyConnected { connections: 50 }));
    observation.connected(at(30));
    echo(&mut observation, at(30));
    assert_eq!(observation.problems(at(640)).next(), None);
}

#[test]
fn a_gap_that_goes_on_although_there_is_a_connection_becomes_a_problem() {
    let mut observation = connected();
    observation.received(at(20), Acknowledgement::AfterWrite);
    assert_eq!(observation.acknowledged(at(51), None), Some(at(20)));
    let cause = Cause::AcknowledgementsWithheld;
    let problem = Problem::HardlyObserving { observed: Span::from_secs(20), of: Span::from_secs(51), cause };
    assert_eq!(observation.problems(at(51)).next(), Some(problem));
}

#[test]
fn a_probe_is_not_missed_while_acknowledgements_are_withheld() {
    let mut observation = connected();
    observation.received(at(1), Acknowledgement::AfterWrite);
    probe(&mut observation, at(1));
    acknowledge(&mut observation, at(1));
    assert_eq!(observation.overdue(at(13)), (None, None), "a broker with room for one message waits for it");
    observation.acknowledged(at(13), None);
    assert_eq!(observation.overdue_at(), Some(at(23)));
    assert_eq!(observation.overdue(at(22)), (None, None));
}

#[test]
fn what_was_withheld_when_the_connection_broke_belongs_to_the_gap() {
    let mut observation = connected();
    observation.received(at(1), Acknowledgement::AfterWrite);
    assert_eq!(observation.disconnected(at(6), None, None), Some(at(1)));
}
