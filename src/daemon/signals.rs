//! Interface to the operating system: signals in, readiness and the watchdog of systemd out.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A request to the daemon, by a signal or by the owner of [`Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// To end.
    Stop,
    /// To read the configuration again.
    Reload,
}

/// The source of requests to stop, and to read the configuration again.
#[derive(Debug)]
pub struct Stop {
    signals: Option<(Signal, Signal, Signal)>,
    handle: watch::Receiver<bool>,
    _keep: Option<watch::Sender<bool>>,
}

impl Stop {
    /// Stops at SIGTERM and SIGINT; SIGHUP is the request to read the configuration again.
    pub fn on_signals() -> Stop {
        let (keep, handle) = watch::channel(false);
        Stop { signals: None, handle, _keep: Some(keep) }
    }

    /// Stops when the value becomes true.
    pub fn when(handle: watch::Receiver<bool>) -> Stop {
        Stop { signals: None, handle, _keep: None }
    }

    /// Waits for the next request. The first call installs the handlers of signals.
    pub(super) async fn requested(&mut self) -> StopRequest {
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
            return StopRequest::Stop;
        };
        tokio::select! {
            _ = terminate.recv() => StopRequest::Stop,
            _ = interrupt.recv() => StopRequest::Stop,
            _ = hangup.recv() => StopRequest::Reload,
        }
    }
}

/// Notifies systemd that the daemon works, with a broker or without.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Notifies systemd that the configuration is being read again, and since when.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "cannot tell systemd of the reload"),
    }
}

/// Notifies systemd that the daemon is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog: a turn was completed, its writes included.
pub(super) fn turn_completed() {
    tell(&[NotifyState::Watchdog]);
}

/// Sends a notification to systemd. Without systemd it has no effect; errors are logged at debug level.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
