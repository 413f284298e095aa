//! A thread for the store: a card that takes a second to sync must not keep the daemon from listening.

use super::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait: a write, a page of outbound events, one slice of each search that is going on, and one of each look at
/// the values of the past.
const QUEUE: usize = 16;

/// Something for the store to do; it tells whoever waits for it.
pub(crate) type Job = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// The store, seen from the daemon's loop.
#[derive(Debug, Clone)]
pub struct Keeper {
    jobs: mpsc::Sender<Job>,
}

impl Keeper {
    /// Gives the store to a thread of its own. It ends when the keeper is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut store: Box<dyn Store>) -> std::io::Result<Keeper> {
        let (keeper, mut queue) = Keeper::without_thread();
        std::thread::Builder::new().name("store".into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                // What it was asked for fails, and who waits for it is told; the next job may go well.
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(store.as_mut())));
                if done.is_err() {
                    tracing::error!("a job of the store has failed badly");
                }
            }
        })?;
        Ok(keeper)
    }

    /// A keeper whose jobs somebody else does.
    pub(crate) fn without_thread() -> (Keeper, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        (Keeper { jobs }, queue)
    }

    /// Has something done on the store's thread. Writes wait for it, so it has to be short.
    ///
    /// # Errors
    /// What was asked for has failed, or the thread is not there.
    pub async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, wait) = job(what);
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::new("cannot reach the store", "too much waits for it"),
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        wait.await.map_err(|_| gone())?
    }

    /// The same for another thread, which waits until it is its turn.
    ///
    /// # Errors
    /// What was asked for has failed, or the thread is not there.
    pub fn wait<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, wait) = job(what);
        self.jobs.blocking_send(job).map_err(|_| gone())?;
        wait.blocking_recv().map_err(|_| gone())?
    }
}

type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

fn job<T: Send + 'static>(
    what: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
) -> (Job, Answer<T>) {
    let (answer, wait) = oneshot::channel();
    let job: Job = Box::new(move |store| {
        // An answer that nobody waits for any more is none the worse for it.
        let _ = answer.send(what(store));
    });
    (job, wait)
}

fn gone() -> StoreError {
    StoreError::new("cannot reach the store", "its thread has ended")
}
