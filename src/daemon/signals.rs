//! The system around the daemon: signals in, readiness and the watchdog out.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What somebody outside wants of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// That it ends.
    Stop,
    /// That it reads its configuration again.
    Reload,
}

/// What ends the daemon, and what makes it read its configuration again.
#[derive(Debug)]
pub struct Stop {
    signals: Option<(Signal, Signal, Signal)>,
    handle: watch::Receiver<bool>,
    _keep: Option<watch::Sender<bool>>,
}

impl Stop {
    /// SIGTERM and SIGINT; SIGHUP for the configuration.
    pub fn on_signals() -> Stop {
        let (keep, handle) = watch::channel(false);
        Stop { signals: None, handle, _keep: Some(keep) }
    }

    /// A value that becomes true.
    pub fn when(handle: watch::Receiver<bool>) -> Stop {
        Stop { signals: None, handle, _keep: None }
    }

    /// Waits until somebody wants something.
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

/// Says that the daemon works. It does so without a broker, too.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the configuration is being read again, and since when.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "cannot tell systemd of the reload"),
    }
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
