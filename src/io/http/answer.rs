//! Which request gets which answer.

use super::since_turn;
use crate::api::openmetrics::{self, Dialect, Snapshot};
use crate::domain::time::{Moment, Span};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use std::net::{IpAddr, SocketAddr};

/// A loop that has not turned for this long hangs. It turns once a second; what holds it up most is a write to a slow
/// card, and no card that works takes this long.
const HANGS: Span = Span::from_secs(10);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PATHS: &str = "/metrics  figures for Prometheus\n/health   200 while the daemon works, 503 when it hangs\n\
                     /ready    200 while it is connected to the broker and listens\n";

/// Which names of the host a request may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Whoever reaches the address may call it what they like.
    Any,
    /// Names of this machine as seen from itself. With any other name in the request, a browser on this machine was sent here
    /// by a page from elsewhere, which must not read the answer (DNS rebinding).
    Loopback,
}

impl Names {
    /// Those for an address that is listened on.
    pub(super) fn of(address: SocketAddr) -> Names {
        if address.ip().is_loopback() { Names::Loopback } else { Names::Any }
    }

    fn include<B>(self, request: &Request<B>) -> bool {
        let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
        let host = request.uri().authority().map(Authority::as_str).or(host);
        match (self, host) {
            // A client of HTTP/1.0, which is no browser, names none.
            (Names::Any, _) | (Names::Loopback, None) => true,
            (Names::Loopback, Some(host)) => is_loopback(host),
        }
    }
}

/// Whether a name, with or without a port, is one of this machine as seen from itself.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) || name.eq_ignore_ascii_case("localhost")
}

/// The answer to a request.
pub(super) fn to<B>(
    request: &Request<B>,
    names: Names,
    snapshot: Option<&Snapshot>,
    now: Moment,
) -> Response<Full<Bytes>> {
    if !names.include(request) {
        return response(StatusCode::MISDIRECTED_REQUEST, TEXT, "this address answers to localhost only\n");
    }

    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let since_turn = since_turn(snapshot, now);
    let turns = since_turn.is_some_and(|since| since < HANGS);
    match request.uri().path() {
        "/metrics" => match snapshot {
            Some(snapshot) => {
                let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
                let dialect = Dialect::for_request(&accepted.collect::<String>());
                response(StatusCode::OK, dialect.content_type(), openmetrics::metrics(snapshot, dialect))
            }
            None => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the daemon is starting\n"),
        },
        "/health" => response(status(turns), JSON, openmetrics::health(snapshot, since_turn, turns)),
        "/ready" => {
            let ready = turns && snapshot.is_some_and(|snapshot| snapshot.is_linked);
            response(status(ready), JSON, openmetrics::health(snapshot, since_turn, ready))
        }
        "/" => response(StatusCode::OK, TEXT, PATHS),
        _ => response(StatusCode::NOT_FOUND, TEXT, PATHS),
    }
}

fn status(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::alarm_metrics::Figures;
    use crate::api::problem::StatusProblems;
    use crate::api::status::{Metrics, Status};
    use crate::domain::alarm_metrics::{Performance, Standing};
    use crate::domain::time::{Now, Stamp};

    fn snapshot(at: Moment) -> Snapshot {
        let now = Now { at, wall: Stamp::from_micros(0) };
        let status = Status {
            since: now.wall,
            alarms: 0,
            active: 0,
            durable: true,
            problems: StatusProblems::default(),
            last_gap: None,
        };
        let figures = Figures { report: Performance::new(at).report(at), standing: Standing::default(), now };
        Snapshot { gateway: "gw".to_owned(), is_linked: true, status, metrics: Metrics::default(), figures }
    }

    #[test]
    fn on_the_loopback_only_names_of_the_loopback_are_answered() {
        for (host, own) in [
            ("localhost", true),
            ("LocalHost:9184", true),
            ("127.0.0.1:9184", true),
            ("127.1.2.3", true),
            ("[::1]:9184", true),
            ("[::1]", true),
            ("evil.example:9184", false),
            ("192.168.1.7", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            let status = |names: Names| {
                let request = Request::get("/").header(HOST, host).body(()).unwrap();
                to(&request, names, None, Moment::default()).status().as_u16()
            };
            assert_eq!(status(Names::Loopback), if own { 200 } else { 421 }, "{host}");
            assert_eq!(status(Names::Any), 200, "{host}");
        }
    }

    #[test]
    fn a_loop_that_stands_still_is_not_healthy() {
        let shown = snapshot(Moment::from_micros(0));
        for path in ["/health", "/ready"] {
            let ask = |snapshot: Option<&Snapshot>, now: Span| {
                let request = Request::get(path).body(()).unwrap();
                to(&request, Names::Loopback, snapshot, Moment::from_micros(0) + now).status().as_u16()
            };
            assert_eq!(ask(Some(&shown), Span::from_millis(9_999)), 200, "{path}");
            assert_eq!(ask(Some(&shown), HANGS), 503, "{path}");
            assert_eq!(ask(None, Span::ZERO), 503, "{path}: nothing is known yet");
        }
    }
}
