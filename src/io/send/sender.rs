//! The thread that renders and sends. A slow handshake or a template that takes its time holds up nothing else.
//!
//! It has a run time of its own and no memory: attempts come in, and what became of each goes back. A message over MQTT
//! goes back rendered, because the connection to the broker is not here.

use super::action::{Action, Actions, Attempted, Channels};
use super::template::{Renderer, renderer};
use crate::domain::notify::delivery::{Delivery, Outcome, Ticket};
use crate::domain::notify::{Reaction, Reactions};
use crate::io::mqtt::Outbound;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Attempts that may wait for the thread. More reactions than this at one time are tried a second later.
const WAITING: usize = 4_096;

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    /// Who asked for it.
    pub ticket: Ticket,
    /// How.
    pub reaction: Arc<Reaction>,
    /// The channel, and what is sent over it.
    pub action: Arc<Action>,
    /// What.
    pub delivery: Arc<Delivery>,
    /// What it tells of besides.
    pub digest: Vec<Arc<Delivery>>,
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Answer {
    /// It has ended.
    Ended(Ticket, Outcome),
    /// It is a message for the broker, and it is ready.
    Publish(Ticket, Outbound, Vec<String>),
}

/// A place for what becomes of attempts.
pub fn answers() -> (mpsc::Sender<Answer>, mpsc::Receiver<Answer>) {
    mpsc::channel(WAITING)
}

/// The way to the thread. When this is dropped it finishes what has begun, and ends.
#[derive(Debug)]
pub struct Sender {
    attempts: mpsc::Sender<Attempt>,
}

impl Sender {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread, or no run time.
    pub fn start(
        gateway: &str,
        reactions: &Reactions,
        actions: &Actions,
        answers: mpsc::Sender<Answer>,
    ) -> std::io::Result<Sender> {
        let (attempts, queue) = mpsc::channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let renderer = renderer(gateway, reactions);
        let smtp = actions.smtp.clone();
        std::thread::Builder::new().name("reactions".into()).spawn(move || {
            let parts = Rc::new((renderer, Channels::new(smtp)));
            tokio::task::LocalSet::new().block_on(&runtime, work(parts, queue, answers));
        })?;
        Ok(Sender { attempts })
    }

    /// Hands over an attempt. False: there are too many already.
    pub fn attempt(&self, attempt: Attempt) -> bool {
        self.attempts.try_send(attempt).is_ok()
    }
}

async fn work(parts: Rc<(Renderer, Channels)>, mut queue: mpsc::Receiver<Attempt>, answers: mpsc::Sender<Answer>) {
    let mut running = tokio::task::JoinSet::new();
    while let Some(attempt) = queue.recv().await {
        while running.try_join_next().is_some() {}
        let (parts, answers) = (parts.clone(), answers.clone());
        running.spawn_local(async move {
            let answer = carry_out(&parts.0, &parts.1, &attempt).await;
            if answers.send(answer).await.is_err() {
                tracing::debug!("nobody waits for the end of an attempt any more");
            }
        });
    }
    // The answers of those that are on their way are still awaited.
    while running.join_next().await.is_some() {}
}

async fn carry_out(renderer: &Renderer, channels: &Channels, attempt: &Attempt) -> Answer {
    let variables = renderer.variables(&attempt.delivery, &attempt.digest, &attempt.reaction.name);
    match attempt.action.attempt(channels, attempt, renderer, &variables).await {
        Attempted::Ended(outcome) => Answer::Ended(attempt.ticket, outcome),
        Attempted::Rendered(outbound, warnings) => Answer::Publish(attempt.ticket, outbound, warnings),
    }
}
