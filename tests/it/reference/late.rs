//! A late wake-up changes nothing, and neither does an early one: the same recording yields the same events, byte for
//! byte, whether the engine is woken at random, exactly when it asked to be, or only by the next message.

use super::case::{Case, Line};
use super::generate::{Generator, Rng};
use annunciator::api::event;
use annunciator::replay::Player;

const CASES: u64 = 800;

fn rendered(player: &Player) -> Vec<Vec<u8>> {
    player.effects.events.iter().map(|e| event::render(e, "gw")).collect()
}

fn play(case: &Case, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut player = Player::new(super::config(case));
    let mut events = Vec::new();
    for line in lines {
        player.play(&line.json()).unwrap();
        events.extend(rendered(&player));
    }
    events
}

fn case(seed: u64) -> Case {
    let mut generator = Generator::new(seed);
    let definitions = generator.definitions();
    let lines = generator.lines(&definitions, 40);
    Case { definitions, lines }
}

/// The same lines, and between them others that only move time.
fn with_ticks(lines: &[Line], rng: &mut Rng) -> Vec<Line> {
    let mut more = Vec::new();
    for (line, next) in lines.iter().zip(&lines[1..]) {
        more.push(line.clone());
        let pause = usize::try_from(next.at - line.at).unwrap();
        let mut moments: Vec<i64> =
            (0..rng.below(4)).map(|_| line.at + i64::try_from(rng.below(pause + 1)).unwrap()).collect();
        moments.sort_unstable();
        more.extend(moments.into_iter().map(Line::tick));
    }
    more.extend(lines.last().cloned());
    more
}

#[test]
fn idle_wake_ups_change_nothing() {
    for seed in 0..CASES {
        let case = case(seed);
        let ticked = with_ticks(&case.lines, &mut Rng::new(seed));
        assert!(play(&case, &case.lines) == play(&case, &ticked), "seed {seed}:\n{}\n{}", case.toml(), case.jsonl());
    }
}

/// [`annunciator::domain::engine::Engine::next_deadline`] is a promise: just after it something happens, before it nothing does.
#[test]
fn who_wakes_at_each_deadline_is_never_late_and_never_woken_in_vain() {
    let mut wake_ups = 0;
    for seed in 0..CASES {
        let case = case(seed);
        let mut player = Player::new(super::config(&case));
        let mut events = Vec::new();
        for line in &case.lines {
            while let Some(deadline) = player.engine_mut().next_deadline().filter(|d| d.as_micros() < line.at) {
                let just_after = deadline.as_micros() + 1;
                player.play(&Line::tick(just_after).json()).unwrap();
                assert!(!player.effects.events.is_empty(), "seed {seed}: woken in vain at {just_after}");
                assert!(player.effects.events.iter().all(|e| e.at.as_micros() == deadline.as_micros()), "seed {seed}");
                events.extend(rendered(&player));
                wake_ups += 1;
            }
            player.play(&line.json()).unwrap();
            assert!(player.effects.events.iter().all(|e| e.at.as_micros() == line.at), "seed {seed}: late at {line:?}");
            events.extend(rendered(&player));
        }
        assert!(events == play(&case, &case.lines), "seed {seed}:\n{}\n{}", case.toml(), case.jsonl());
    }
    assert!(wake_ups > 2_000, "only {wake_ups} wake-ups");
}
