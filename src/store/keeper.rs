//! A thread for the store: a card that takes a second to sync must not keep the daemon from listening.

use super::{Batch, Store, StoreError, record};
use crate::outbox::Letter;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Jobs that may wait. The daemon waits for each before it gives the next, so one would do.
const QUEUE: usize = 4;

type Letters = Vec<(u64, Letter)>;

enum Job {
    Commit(Batch, oneshot::Sender<Result<(), StoreError>>),
    Letters(u64, usize, oneshot::Sender<Result<Letters, StoreError>>),
}

/// The store, seen from the daemon's loop.
#[derive(Debug)]
pub struct Keeper {
    jobs: mpsc::SyncSender<Job>,
}

impl Keeper {
    /// Gives the store to a thread of its own. It ends when the keeper is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut store: Box<dyn Store>) -> std::io::Result<Keeper> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        std::thread::Builder::new().name("store".into()).spawn(move || {
            // An answer that nobody waits for any more is none the worse for it.
            for job in queue {
                match job {
                    Job::Commit(batch, answer) => {
                        let _ = answer.send(store.commit(&batch));
                    }
                    Job::Letters(from, limit, answer) => {
                        let _ = answer.send(record::letters(store.as_mut(), from, limit));
                    }
                }
            }
        })?;
        Ok(Keeper { jobs })
    }

    /// Writes a batch; when it returns, the batch survives a power cut.
    ///
    /// # Errors
    /// Why it may not be on disk.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let (answer, wait) = oneshot::channel();
        self.ask(Job::Commit(batch, answer), wait).await
    }

    /// Letters from this number on.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn letters(&self, from: u64, limit: usize) -> Result<Letters, StoreError> {
        let (answer, wait) = oneshot::channel();
        self.ask(Job::Letters(from, limit, answer), wait).await
    }

    async fn ask<T>(&self, job: Job, wait: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        let gone = || StoreError::new("cannot reach the store", "its thread has ended");
        self.jobs.try_send(job).map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}
