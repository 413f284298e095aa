//! The system around the daemon: signals in, readiness and the watchdog out.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What ends the daemon.
#[derive(Debug)]
pub struct Stop {
    signals: Option<(Signal, Signal, Signal)>,
    handle: watch::Receiver<bool>,
    _keep: Option<watch::Sender<bool>>,
}

impl Stop {
    /// SIGTERM and SIGINT.
    pub fn on_signals() -> Stop {
        let (keep, handle) = watch::channel(false);
        Stop { signals: None, handle, _keep: Some(keep) }
    }

    /// A value that becomes true.
    pub fn when(handle: watch::Receiver<bool>) -> Stop {
        Stop { signals: None, handle, _keep: None }
    }

    /// Waits until the daemon has to stop.
    pub(super) async fn requested(&mut self) {
        if self._keep.is_some() && self.signals.is_none() {
            let all = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
            match all {
                (Ok(terminate), Ok(interrupt), Ok(hangup)) => self.signals = Some((terminate, interrupt, hangup)),
                (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                    tracing::error!(%error, "cannot listen for signals; stop the daemon with SIGKILL, it loses nothing");
                }
            }
        }
        let Some((terminate, interrupt, hangup)) = &mut self.signals else {
            if self.handle.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
            return;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => tracing::warn!("SIGHUP: the configuration is read at the start only; restart to apply it"),
            }
        }
    }
}

/// Says that the daemon works. It does so without a broker, too.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that it is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog: a turn was completed, its writes included.
pub(super) fn turn_completed() {
    tell(&[NotifyState::Watchdog]);
}

/// Without systemd there is nobody to tell, and that is fine.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
