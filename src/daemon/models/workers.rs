//! Two threads of low priority: one for what takes its time, one for the looks at what is new, which do not wait for the
//! other. Each does one job at a time; what waits, waits in the loop, where it can still be taken back.

use super::jobs::{Done, Job, carry_out};
use super::past::Progress;
use crate::io::store::keeper::Keeper;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The lowest priority that there is: whatever else wants to run, runs first.
const NICE: i32 = 19;

/// Which of the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Builds, looks at the past.
    Slow,
    /// Looks at what is new.
    Quick,
}

/// The result of a job, and the thread that has done it.
#[derive(Debug)]
pub(in crate::daemon) struct Finished {
    pub(super) lane: Lane,
    pub(super) done: Done,
}

type Order = (Job, Arc<Progress>);

/// The threads, as far as they were needed.
#[derive(Debug)]
pub(super) struct Workers {
    keeper: Keeper,
    slow: Option<SyncSender<Order>>,
    quick: Option<SyncSender<Order>>,
    answers: Sender<Finished>,
    done: Receiver<Finished>,
}

impl Workers {
    pub(super) fn new(keeper: Keeper) -> Workers {
        let (answers, done) = channel(2);
        Workers { keeper, slow: None, quick: None, answers, done }
    }

    /// Begins a job on a thread that has none.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn begin(&mut self, lane: Lane, job: Job, progress: Arc<Progress>) -> std::io::Result<()> {
        let place = match lane {
            Lane::Slow => &mut self.slow,
            Lane::Quick => &mut self.quick,
        };
        let thread = match place {
            Some(thread) => thread,
            None => place.insert(start(lane, self.keeper.clone(), self.answers.clone())?),
        };
        thread.try_send((job, progress)).map_err(|_| std::io::Error::other("the thread has ended"))
    }

    /// Waits for the next result.
    pub(super) async fn done(&mut self) -> Finished {
        match self.done.recv().await {
            Some(done) => done,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }
}

fn start(lane: Lane, keeper: Keeper, answers: Sender<Finished>) -> std::io::Result<SyncSender<Order>> {
    let (thread, orders) = sync_channel::<Order>(1);
    let name = match lane {
        Lane::Slow => "models",
        Lane::Quick => "scores",
    };
    std::thread::Builder::new().name(name.into()).spawn(move || {
        // On Linux a priority is a thread's own.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "models are built at normal priority");
        }
        for (job, progress) in orders {
            let failed = match &job {
                Job::Build(_) => |error| Done::Built(Err(error)),
                Job::Look(_) => |error| Done::Looked(Err(error)),
                Job::Show(_) => |error| Done::Shown(Err(error)),
            };
            let done = catch_unwind(AssertUnwindSafe(|| carry_out(job, &keeper, &progress)));
            let done = done.unwrap_or_else(|_| failed("the values have led to a mistake in the program".to_owned()));
            if answers.blocking_send(Finished { lane, done }).is_err() {
                return;
            }
        }
    })?;
    Ok(thread)
}
