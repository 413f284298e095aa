//! Which filters the broker's session has, which it should have, and what to ask of it next.
//!
//! The broker remembers subscriptions for longer than a connection, and for longer than a run of this program. So what
//! is wanted is subscribed at every connect, and what is not wanted any more is remembered until the broker has
//! confirmed that it is gone. New filters are subscribed before old ones are unsubscribed: no message falls between.
//!
//! It decides what to ask; it sends nothing.

use super::library::Filter;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Filters in one SUBSCRIBE: some brokers limit its size.
const FILTERS_PER_PACKET: usize = 64;
/// Requests that may be without an answer at one time. Each uses a packet id, and the library does not look whether it
/// is free; of the smallest window that brokers offer (20 ids, mosquitto's default) this leaves more than half.
const AT_ONCE: usize = 4;

/// Something to ask of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// To send what fits these filters.
    Subscribe(Vec<Filter>),
    /// Not to send any more what fits only this one.
    Unsubscribe(String),
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// What the session should have.
    wanted: Vec<Filter>,
    /// What it may have besides.
    obsolete: BTreeSet<String>,
    /// What is to be asked on this connection, in order.
    queue: VecDeque<Ask>,
    /// What was asked and is not answered, in order.
    asked: VecDeque<Ask>,
    /// What the broker has refused, with its reasons.
    refused: BTreeMap<String, String>,
    /// While true, nothing is asked but what was asked for a look.
    is_looking: bool,
}

impl Subscriptions {
    /// What is wanted from now on. If there is a connection, the differences are asked for.
    pub(super) fn want(&mut self, filters: Vec<Filter>, is_connected: bool) {
        let before = std::mem::replace(&mut self.wanted, filters);
        let fresh: Vec<Filter> = self.wanted.iter().filter(|filter| !before.contains(filter)).cloned().collect();
        let mut gone = before;
        gone.retain(|(old, _)| !self.wanted.iter().any(|(filter, _)| filter == old));
        for (filter, _) in &self.wanted {
            self.obsolete.remove(filter);
            self.queue.retain(|ask| !matches!(ask, Ask::Unsubscribe(old) if old == filter));
        }
        for (filter, _) in &gone {
            self.refused.remove(filter);
            self.obsolete.insert(filter.clone());
        }
        if is_connected {
            self.queue.extend(fresh.chunks(FILTERS_PER_PACKET).map(|chunk| Ask::Subscribe(chunk.to_vec())));
            self.queue.extend(gone.into_iter().map(|(filter, _)| Ask::Unsubscribe(filter)));
        }
    }

    /// Asks once more for some of what is wanted: the broker answers with what is retained there.
    pub(super) fn again(&mut self, filters: &[Filter]) {
        self.queue.extend(filters.chunks(FILTERS_PER_PACKET).map(|chunk| Ask::Subscribe(chunk.to_vec())));
    }

    /// Filters that the session may have from an earlier run.
    pub(super) fn inherit(&mut self, filters: impl IntoIterator<Item = String>) {
        let wanted = &self.wanted;
        let unwanted = filters.into_iter().filter(|old| !wanted.iter().any(|(filter, _)| filter == old));
        self.obsolete.extend(unwanted);
    }

    /// A new connection: the broker may have lost the session, and then it has no subscriptions at all.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.disconnected();
        if !session_present {
            self.obsolete.clear();
        }
        self.queue.extend(self.wanted.chunks(FILTERS_PER_PACKET).map(|chunk| Ask::Subscribe(chunk.to_vec())));
        self.queue.extend(self.obsolete.iter().cloned().map(Ask::Unsubscribe));
    }

    /// Asks for one topic before everything else, and for everything else when that is over ([`Subscriptions::looked`]).
    pub(super) fn look(&mut self, topic: &str) -> Ask {
        self.is_looking = true;
        let ask = Ask::Subscribe(vec![(topic.to_owned(), 0)]);
        self.asked.push_back(ask.clone());
        ask
    }

    /// The look is over.
    pub(super) fn looked(&mut self) {
        self.is_looking = false;
    }

    /// Nothing will be answered any more.
    pub(super) fn disconnected(&mut self) {
        self.is_looking = false;
        self.queue.clear();
        self.asked.clear();
        self.refused.clear();
    }

    /// What to ask now.
    pub(super) fn next(&mut self) -> Option<Ask> {
        if self.is_looking || self.asked.len() >= AT_ONCE {
            return None;
        }
        let ask = self.queue.pop_front()?;
        self.asked.push_back(ask.clone());
        Some(ask)
    }

    /// The oldest SUBSCRIBE is answered; for each of its filters why it was refused, if it was.
    pub(super) fn subscribed(&mut self, refusals: Vec<Option<String>>) {
        let place = self.asked.iter().position(|ask| matches!(ask, Ask::Subscribe(_)));
        let Some(Ask::Subscribe(filters)) = place.and_then(|place| self.asked.remove(place)) else { return };
        for ((filter, _), refusal) in filters.into_iter().zip(refusals) {
            match refusal {
                Some(reason) if self.wanted.iter().any(|(wanted, _)| *wanted == filter) => {
                    self.refused.insert(filter, reason);
                }
                Some(_) | None => {
                    self.refused.remove(&filter);
                }
            }
        }
    }

    /// The oldest UNSUBSCRIBE is answered.
    pub(super) fn unsubscribed(&mut self) {
        let place = self.asked.iter().position(|ask| matches!(ask, Ask::Unsubscribe(_)));
        let Some(Ask::Unsubscribe(filter)) = place.and_then(|place| self.asked.remove(place)) else { return };
        let is_asked_again = self.queue.contains(&Ask::Unsubscribe(filter.clone()));
        if !is_asked_again {
            self.obsolete.remove(&filter);
        }
    }

    /// Whether there is something that the broker has to answer.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether all that is wanted was answered.
    pub(super) fn hears_all(&self) -> bool {
        !self.queue.iter().chain(&self.asked).any(|ask| matches!(ask, Ask::Subscribe(_)))
    }

    /// Whether the session is as it should be, but for what was refused.
    pub(super) fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty()
    }

    /// All that is refused, with the reasons.
    pub(super) fn refused(&self) -> Vec<(String, String)> {
        self.refused.iter().map(|(filter, reason)| (filter.clone(), reason.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(names: &[&str]) -> Vec<Filter> {
        names.iter().map(|name| ((*name).to_owned(), 1)).collect()
    }

    fn subscribe(names: &[&str]) -> Ask {
        Ask::Subscribe(filters(names))
    }

    fn unsubscribe(name: &str) -> Ask {
        Ask::Unsubscribe(name.to_owned())
    }

    /// Answers everything, and gives what was asked.
    fn settle(subscriptions: &mut Subscriptions) -> Vec<Ask> {
        let mut all = Vec::new();
        while let Some(ask) = subscriptions.next() {
            match &ask {
                Ask::Subscribe(filters) => subscriptions.subscribed(vec![None; filters.len()]),
                Ask::Unsubscribe(_) => subscriptions.unsubscribed(),
            }
            all.push(ask);
        }
        assert!(subscriptions.is_settled());
        all
    }

    fn connected(names: &[&str]) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(filters(names), false);
        subscriptions.connected(false);
        assert_eq!(settle(&mut subscriptions), [subscribe(names)]);
        subscriptions
    }

    #[test]
    fn only_differences_are_asked_for_new_ones_first() {
        let mut subscriptions = connected(&["a", "b"]);
        subscriptions.want(filters(&["b", "c"]), true);
        assert!(!subscriptions.hears_all());
        assert_eq!(settle(&mut subscriptions), [subscribe(&["c"]), unsubscribe("a")]);
        subscriptions.want(filters(&["c", "b"]), true);
        assert!(subscriptions.is_settled(), "the same in another order");
        subscriptions.again(&filters(&["c"]));
        assert_eq!(settle(&mut subscriptions), [subscribe(&["c"])], "what is retained there is wanted once more");
        subscriptions.want(vec![("b".to_owned(), 0), ("c".to_owned(), 1)], true);
        assert_eq!(
            settle(&mut subscriptions),
            [Ask::Subscribe(vec![("b".to_owned(), 0)])],
            "another quality of service"
        );
    }

    #[test]
    fn what_a_lost_connection_left_undone_is_done_at_the_next() {
        let mut subscriptions = connected(&["a", "b"]);
        subscriptions.want(filters(&["b"]), true);
        assert_eq!(subscriptions.next(), Some(unsubscribe("a")));
        subscriptions.disconnected();
        subscriptions.want(filters(&["d"]), false);
        assert_eq!(subscriptions.next(), None, "there is nobody to ask");
        subscriptions.connected(true);
        assert_eq!(settle(&mut subscriptions), [subscribe(&["d"]), unsubscribe("a"), unsubscribe("b")]);
        subscriptions.connected(true);
        assert_eq!(settle(&mut subscriptions), [subscribe(&["d"])]);
    }

    #[test]
    fn what_an_earlier_run_has_left_in_the_session_is_unsubscribed() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(filters(&["a"]), false);
        subscriptions.inherit(["a".to_owned(), "old".to_owned()]);
        subscriptions.connected(true);
        assert_eq!(settle(&mut subscriptions), [subscribe(&["a"]), unsubscribe("old")]);
        subscriptions.inherit(["older".to_owned()]);
        subscriptions.connected(false);
        assert_eq!(settle(&mut subscriptions), [subscribe(&["a"])], "a session that is lost has nothing");
    }

    #[test]
    fn a_filter_that_is_wanted_again_stays() {
        let mut subscriptions = connected(&["a", "b"]);
        subscriptions.want(filters(&["b"]), true);
        subscriptions.want(filters(&["a", "b"]), true);
        assert_eq!(settle(&mut subscriptions), [subscribe(&["a"])]);
        subscriptions.want(filters(&["b"]), true);
        assert_eq!(subscriptions.next(), Some(unsubscribe("a")));
        subscriptions.want(filters(&["a", "b"]), true);
        assert_eq!(subscriptions.next(), Some(subscribe(&["a"])), "after what was asked already");
    }

    #[test]
    fn refusals_are_kept_until_something_changes_them() {
        let mut subscriptions = connected(&["a"]);
        subscriptions.want(filters(&["a", "b", "c"]), true);
        assert!(subscriptions.next().is_some());
        subscriptions.subscribed(vec![Some("no".to_owned()), None]);
        assert_eq!(subscriptions.refused(), [("b".to_owned(), "no".to_owned())]);
        subscriptions.want(filters(&["a", "b", "c", "d"]), true);
        settle(&mut subscriptions);
        assert_eq!(subscriptions.refused().len(), 1, "another filter's answer says nothing about it");
        subscriptions.want(filters(&["a"]), true);
        settle(&mut subscriptions);
        assert_eq!(subscriptions.refused(), []);
    }

    #[test]
    fn few_requests_are_without_an_answer_at_one_time() {
        let many: Vec<String> = (0..1_000).map(|number| format!("t/{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(filters(&many), false);
        subscriptions.connected(true);
        assert_eq!(std::iter::from_fn(|| subscriptions.next()).count(), AT_ONCE);
        for _ in 0..AT_ONCE {
            subscriptions.subscribed(vec![None; FILTERS_PER_PACKET]);
        }
        assert_eq!(settle(&mut subscriptions).len(), 1_000_usize.div_ceil(FILTERS_PER_PACKET) - AT_ONCE);
    }
}
