//! Connections that have served and wait for the next mail.
//!
//! A connection is closed [`IDLE`] after it was last put back, and not after some earlier time: each one is found by the
//! number that it got when it was put back, so the timer of an earlier wait finds nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// How long a connection waits for the next mail. Servers close idle ones after some minutes.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// Idle connections to one server, the one that served last at the end.
#[derive(Debug)]
pub(super) struct Connections<C> {
    idle: Rc<RefCell<VecDeque<(u64, C)>>>,
    next_number: Cell<u64>,
}

impl<C> Connections<C> {
    pub(super) fn new() -> Connections<C> {
        Connections { idle: Rc::default(), next_number: Cell::default() }
    }

    /// The connection that served last: its server is the least likely to have ended it.
    pub(super) fn take(&self) -> Option<C> {
        self.idle.borrow_mut().pop_back().map(|(_, connection)| connection)
    }

    /// Lets a connection wait; `close` is called with it if it is not taken within [`IDLE`]. Must be called inside a
    /// `LocalSet`.
    pub(super) fn put_back<F>(&self, connection: C, close: impl FnOnce(C) -> F + 'static)
    where
        C: 'static,
        F: Future<Output = ()>,
    {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.idle.borrow_mut().push_back((number, connection));
        let idle = self.idle.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(IDLE).await;
            let left = {
                let mut idle = idle.borrow_mut();
                let place = idle.iter().position(|(waiting, _)| *waiting == number);
                place.and_then(|place| idle.remove(place))
            };
            if let Some((_, connection)) = left {
                close(connection).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits, in the virtual time of the tests, and lets timers do their work.
    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
        tokio::task::yield_now().await;
    }

    /// Runs a test in virtual time; it gets connections (names), a function that puts one back, and what was closed.
    fn in_virtual_time<F: Future<Output = ()>>(
        test: impl FnOnce(Rc<Connections<&'static str>>, Rc<RefCell<Vec<&'static str>>>) -> F,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, test(Rc::new(Connections::new()), Rc::default()));
    }

    fn put_back(connections: &Connections<&'static str>, name: &'static str, closed: &Rc<RefCell<Vec<&'static str>>>) {
        let closed = closed.clone();
        connections.put_back(name, |name| async move { closed.borrow_mut().push(name) });
    }

    #[test]
    fn a_connection_that_served_again_waits_its_whole_time_again() {
        in_virtual_time(|connections, closed| async move {
            put_back(&connections, "first", &closed);
            pass(IDLE * 4 / 5).await;
            assert_eq!(connections.take(), Some("first"));
            put_back(&connections, "first", &closed);
            pass(IDLE * 4 / 5).await;
            assert!(closed.borrow().is_empty(), "the timer of the first wait closed it");
            pass(IDLE / 5 + Duration::from_millis(1)).await;
            assert_eq!(*closed.borrow(), ["first"]);
            assert_eq!(connections.take(), None);
        });
    }

    #[test]
    fn a_timer_closes_its_own_connection_and_no_other() {
        in_virtual_time(|connections, closed| async move {
            put_back(&connections, "older", &closed);
            pass(IDLE / 2).await;
            put_back(&connections, "newer", &closed);
            pass(IDLE / 2 + Duration::from_millis(1)).await;
            assert_eq!(*closed.borrow(), ["older"]);
            assert_eq!(connections.take(), Some("newer"));
            pass(IDLE).await;
            assert_eq!(*closed.borrow(), ["older"], "what serves is not closed");
        });
    }
}
