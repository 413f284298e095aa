//! The thread that renders and sends. A slow handshake or a template that takes its time holds up nothing else.
//!
//! It has a run time of its own and no memory: attempts come in, and what became of each goes back. A message over MQTT
//! goes back rendered, because the connection to the broker is not here.

use super::action::{Action, Actions};
use super::email::Mailer;
use super::mqtt;
use super::template::{Renderer, renderer};
use super::webhook::HttpClient;
use crate::domain::notify::delivery::{Delivery, Outcome, Ticket};
use crate::domain::notify::{Reaction, Reactions};
use crate::io::mqtt::Outbound;
use std::cell::RefCell;
use std::collections::BTreeMap;
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
            let context = Rc::new(Context { renderer, mailer: smtp.map(Mailer::new), clients: RefCell::default() });
            tokio::task::LocalSet::new().block_on(&runtime, work(context, queue, answers));
        })?;
        Ok(Sender { attempts })
    }

    /// Hands over an attempt. False: there are too many already.
    pub fn attempt(&self, attempt: Attempt) -> bool {
        self.attempts.try_send(attempt).is_ok()
    }
}

/// What all attempts use.
struct Context {
    renderer: Renderer,
    mailer: Option<Mailer>,
    clients: RefCell<BTreeMap<String, Rc<HttpClient>>>,
}

async fn work(context: Rc<Context>, mut queue: mpsc::Receiver<Attempt>, answers: mpsc::Sender<Answer>) {
    let mut running = tokio::task::JoinSet::new();
    while let Some(attempt) = queue.recv().await {
        while running.try_join_next().is_some() {}
        let (context, answers) = (context.clone(), answers.clone());
        running.spawn_local(async move {
            let answer = context.carry_out(&attempt).await;
            if answers.send(answer).await.is_err() {
                tracing::debug!("nobody waits for the end of an attempt any more");
            }
        });
    }
    // The answers of those that are on their way are still awaited.
    while running.join_next().await.is_some() {}
}

impl Context {
    async fn carry_out(&self, attempt: &Attempt) -> Answer {
        let Attempt { ticket, reaction, action, delivery, digest } = attempt;
        let variables = self.renderer.variables(delivery, digest, &reaction.name);
        let outcome = match &**action {
            Action::Email(email) => match &self.mailer {
                Some(mailer) => mailer.send(email, delivery, &variables, &self.renderer).await,
                None => Outcome::unreachable("there is no [smtp] in the configuration"),
            },
            Action::Webhook(webhook) => {
                // Certificates and keys are renewed while the daemon runs.
                let known = self.clients.borrow().get(&reaction.name).cloned();
                let known = known.filter(|client| client.is_current(webhook));
                let client = match known {
                    Some(client) => Ok(client),
                    None => HttpClient::new(webhook).map(Rc::new),
                };
                match client {
                    Ok(client) => {
                        self.clients.borrow_mut().insert(reaction.name.clone(), client.clone());
                        let outcome = client.send(webhook, delivery, &variables, &self.renderer).await;
                        if matches!(outcome, Outcome::Later { unreachable: true, .. }) {
                            // Whom the system trusts may have changed, too.
                            self.clients.borrow_mut().remove(&reaction.name);
                        }
                        outcome
                    }
                    // A certificate that cannot be read may be there the next time.
                    Err(reason) => Outcome::unreachable(reason),
                }
            }
            Action::Mqtt(message) => match mqtt::compose(message, &variables, &self.renderer) {
                Ok((outbound, warnings)) => return Answer::Publish(*ticket, outbound, warnings),
                Err(reason) => Outcome::Refused { reason },
            },
        };
        Answer::Ended(*ticket, outcome)
    }
}
