//! The listening end of the link. It knows how far its reader is: to whoever has not yet received that a connection is gone,
//! the next one is not there, although it may be.
//!
//! Otherwise what is sent between the two would leave before what has to be sent again, and events would come out of
//! their order.

use super::link::Shared;
use super::{LinkEvent, Received};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

/// The listening end: what happens on the link, in order.
#[derive(Debug)]
pub struct Listener {
    queue: Receiver<Received>,
    shared: Rc<RefCell<Shared>>,
}

impl Listener {
    pub(super) fn new(queue: Receiver<Received>, shared: Rc<RefCell<Shared>>) -> Listener {
        Listener { queue, shared }
    }

    /// Waits for the next thing that happens; none: the connection was closed for good.
    pub async fn recv(&mut self) -> Option<Received> {
        let received = self.queue.recv().await;
        received.inspect(|received| self.read(received))
    }

    /// The next thing that has happened, if there is one.
    ///
    /// # Errors
    /// There is none now, or none will come any more.
    pub fn try_recv(&mut self) -> Result<Received, TryRecvError> {
        let received = self.queue.try_recv()?;
        self.read(&received);
        Ok(received)
    }

    fn read(&self, received: &Received) {
        if matches!(received.event, LinkEvent::Up { .. }) {
            self.shared.borrow_mut().known_generation = Some(received.generation);
        }
    }
}
