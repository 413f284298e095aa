//! What is done when somebody has seen enough: Ctrl-C, a signal to end, a terminal that has gone.

use super::super::Failure;
use tokio::signal::unix::{SignalKind, signal};

/// Calls `leave` at the first such signal, on a thread of its own; its answer is the exit status.
pub(crate) fn leave_with(leave: impl FnOnce() -> i32 + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
    };
    let [mut interrupt, mut terminate, mut hang_up] = signals.map(Result::ok);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                Some(()) = async { interrupt.as_mut()?.recv().await } => {}
                Some(()) = async { terminate.as_mut()?.recv().await } => {}
                Some(()) = async { hang_up.as_mut()?.recv().await } => {}
                else => std::future::pending().await,
            }
        });
        std::process::exit(leave());
    })?;
    Ok(())
}
