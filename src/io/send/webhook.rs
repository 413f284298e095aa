//! HTTP calls: one request, one answer, and what the answer means.
//!
//! A 2xx is a delivery. What is wrong with this very request (400, 413, 422 and their like) is never accepted; all else,
//! an address that is not there and a login that is refused included, is tried again: somebody may repair it. Redirections
//! are not followed unless asked for, and never to another origin: signature, keys and event are meant for the one that
//! the file names. Answers are read up to a limit, and the whole call has a time limit.

use super::rehearsal::{Finding, Rehearsal};
use super::template::{Renderer, Text, Variables};
use crate::api::topics;
use crate::config::{Secret, Tls};
use crate::domain::notify::delivery::{Delivery, Outcome};
use crate::domain::time::Span;
use crate::io::clock;
use crate::io::mqtt::tls::{self, Roots};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use tokio::time::Sleep;
use url::Url;

/// Characters of an answer that are shown to people.
const SHOWN: usize = 200;

/// A request.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to.
    pub url: Text,
    /// Scheme, host and port, if they are the same for every event.
    pub origin: Option<String>,
    /// How.
    pub method: hyper::Method,
    /// With which headers.
    pub headers: BTreeMap<String, Text>,
    /// With which body; none: the event as JSON.
    pub body: Option<Text>,
    /// What signs the body.
    pub secret: Option<Secret>,
    /// What shows who is calling.
    pub token: Option<Secret>,
    /// Certificates.
    pub tls: Tls,
    /// Time for one call, all in all.
    pub timeout: Span,
    /// Redirections that are followed.
    pub redirects: usize,
    /// Bytes of an answer that are read.
    pub response_max: usize,
}

/// Calls for one reaction.
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The content of its certificates and key.
    files: Vec<Vec<u8>>,
}

/// The clients of all reactions that call, by their names.
#[derive(Default)]
pub(crate) struct Clients(RefCell<BTreeMap<String, Rc<HttpClient>>>);

impl Clients {
    /// Calls for a reaction. Its certificates and keys are read anew when their files have changed.
    pub(crate) async fn send(
        &self,
        reaction: &str,
        webhook: &Webhook,
        delivery: &Delivery,
        variables: &Variables,
        renderer: &Renderer,
    ) -> Outcome {
        let known = self.0.borrow().get(reaction).cloned().filter(|client| client.is_current(webhook));
        let client = match known.map_or_else(|| HttpClient::new(webhook).map(Rc::new), Ok) {
            Ok(client) => client,
            // A certificate that cannot be read may be there the next time.
            Err(reason) => return Outcome::unreachable(reason),
        };
        self.0.borrow_mut().insert(reaction.to_owned(), client.clone());
        let outcome = client.send(webhook, delivery, variables, renderer).await;
        if matches!(outcome, Outcome::Later { unreachable: true, .. }) {
            // The roots of the system may have changed, too.
            self.0.borrow_mut().remove(reaction);
        }
        outcome
    }
}

/// Why an attempt has come to nothing.
enum Trouble {
    /// It may be better the next time.
    Unreachable(String),
    /// It never will be.
    Final(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Trouble {
        Trouble::Unreachable(reason)
    }
}

/// A request that is ready, but for where a redirection leads.
struct Call {
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl HttpClient {
    /// A client with the certificates of this reaction.
    pub(crate) fn new(webhook: &Webhook) -> Result<HttpClient, String> {
        // Without https there is nothing to trust, and a machine without certificates can do without.
        let needs_tls = webhook.origin.as_ref().is_none_or(|origin| !origin.starts_with("http://"));
        let files = contents(&webhook.tls)?;
        let config = tls::client_config(&webhook.tls, if needs_tls { Roots::System } else { Roots::None })?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(http);
        Ok(HttpClient { client: Client::builder(TokioExecutor::new()).build(connector), files })
    }

    /// Whether its certificates and its key are still those in the files.
    pub(crate) fn is_current(&self, webhook: &Webhook) -> bool {
        contents(&webhook.tls).is_ok_and(|files| files == self.files)
    }

    /// Calls, and says what came of it.
    pub(crate) async fn send(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        variables: &Variables,
        renderer: &Renderer,
    ) -> Outcome {
        let (call, warnings) = match compose(webhook, delivery, variables, renderer) {
            Ok(composed) => composed,
            Err(outcome) => return outcome,
        };
        match self.exchange(webhook, call).await {
            Ok(answer) => classify(answer, warnings),
            Err(Trouble::Unreachable(reason)) => Outcome::unreachable(reason),
            Err(Trouble::Final(reason)) => Outcome::Refused { reason },
        }
    }

    /// Calls, follows redirections, and listens to the answer; all within the time limit.
    async fn exchange(&self, webhook: &Webhook, mut call: Call) -> Result<Answer, Trouble> {
        let mut limit = pin!(tokio::time::sleep(webhook.timeout.to_std()));
        let mut redirects = webhook.redirects;
        loop {
            let response = tokio::select! {
                response = self.once(&call) => response?,
                () = &mut limit => return Err(format!("no answer within {}", webhook.timeout).into()),
            };
            let status = response.status();
            let Some(next) = location(&response).filter(|_| status.is_redirection()) else {
                return Ok(read(response, webhook.response_max, limit).await);
            };
            if redirects == 0 {
                // Another origin is never followed, however often it is tried.
                let is_elsewhere = target(&call.uri, &next).is_some_and(|target| !is_same_origin(&target, &call.uri));
                return match is_elsewhere {
                    true => Err(Trouble::Final(elsewhere(status, &next))),
                    false => Ok(read(response, webhook.response_max, limit).await),
                };
            }
            call = follow(call, status, &next)?;
            redirects -= 1;
        }
    }

    async fn once(&self, call: &Call) -> Result<Response<Incoming>, String> {
        let mut request = Request::new(Full::new(call.body.clone()));
        request.method_mut().clone_from(&call.method);
        request.uri_mut().clone_from(&call.uri);
        request.headers_mut().clone_from(&call.headers);
        self.client.request(request).await.map_err(|error| explain(&error))
    }

    /// Whether somebody answers there, whatever they say.
    pub(crate) async fn knock(&self, webhook: &Webhook, origin: &str) -> Result<String, String> {
        let uri: Uri = format!("{origin}/").parse().map_err(|error| format!("{origin}: {error}"))?;
        let call = Call { uri, method: Method::HEAD, headers: HeaderMap::new(), body: Bytes::new() };
        match tokio::time::timeout(webhook.timeout.to_std(), self.once(&call)).await {
            Ok(Ok(response)) => Ok(format!("{origin} answers ({})", response.status())),
            Ok(Err(reason)) => Err(format!("{origin}: {reason}")),
            Err(_) => Err(format!("{origin}: no answer within {}", webhook.timeout)),
        }
    }
}

/// Reads the secrets of a call, and finds out whether its server answers.
pub(super) async fn rehearse(reaction: &str, webhook: &Webhook, rehearsal: &mut Rehearsal) {
    let what = format!("reaction {reaction}");
    for secret in [&webhook.secret, &webhook.token].into_iter().flatten() {
        if let Err(error) = secret.read() {
            rehearsal.add(Finding::new(&what, Err(error)));
        }
    }
    let result = match (&webhook.origin, HttpClient::new(webhook)) {
        (_, Err(error)) => Err(error),
        (None, Ok(_)) => Ok("its url depends on the event: not tried".to_owned()),
        (Some(origin), Ok(client)) => client.knock(webhook, origin).await,
    };
    rehearsal.add(Finding::new(what, result));
}

/// What is in the files that a connection needs.
fn contents(files: &Tls) -> Result<Vec<Vec<u8>>, String> {
    let of_client = files.client.iter().flat_map(|(cert_file, key_file)| [cert_file, key_file]);
    files.ca_file.iter().chain(of_client).map(|path| tls::bytes_of(path)).collect()
}

/// What the other side said.
struct Answer {
    status: StatusCode,
    retry_after: Option<u64>,
    location: Option<String>,
    text: String,
}

async fn read(response: Response<Incoming>, most: usize, limit: Pin<&mut Sleep>) -> Answer {
    let status = response.status();
    let retry_after = text_of(&response, header::RETRY_AFTER).and_then(|text| seconds_until(&text));
    let location = location(&response);
    // What cannot be read to its end, or not in time, has been said all the same: the status is the answer.
    let body = tokio::select! {
        body = Limited::new(response.into_body(), most).collect() => body.map(|body| body.to_bytes()).unwrap_or_default(),
        () = limit => Bytes::new(),
    };
    let text = String::from_utf8_lossy(&body);
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect::<String>();
    Answer { status, retry_after, location, text: text.trim().to_owned() }
}

fn location(response: &Response<Incoming>) -> Option<String> {
    text_of(response, header::LOCATION)
}

fn text_of(response: &Response<Incoming>, name: HeaderName) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// `Retry-After` in seconds, or as a date (RFC 9110).
fn seconds_until(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(seconds);
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let ahead = date.timestamp().as_microsecond() - clock::wall().as_micros();
    u64::try_from(ahead / 1_000_000).ok()
}

fn classify(answer: Answer, warnings: Vec<String>) -> Outcome {
    let Answer { status, retry_after, location, text } = answer;
    let said = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    if status.is_success() {
        return Outcome::Taken { answer: said, warnings };
    }
    if let Some(target) = location.filter(|_| status.is_redirection()) {
        let reason = format!("{status} to {target}: redirections are followed as far as redirects says");
        return Outcome::Later { reason, unreachable: false, retry_after };
    }
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_ACCEPTABLE
        | StatusCode::GONE
        | StatusCode::LENGTH_REQUIRED
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Outcome::Refused { reason: said },
        _ => {
            let is_away = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            Outcome::Later { reason: said, unreachable: is_away, retry_after }
        }
    }
}

/// The next call, if it goes where this one went.
fn follow(call: Call, status: StatusCode, location: &str) -> Result<Call, Trouble> {
    let uri = target(&call.uri, location)
        .ok_or_else(|| Trouble::Final(format!("{status}: it redirects to {location:?}, which is no http address")))?;
    if !is_same_origin(&uri, &call.uri) {
        return Err(Trouble::Final(elsewhere(status, location)));
    }
    let repeats = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let has_taken = status == StatusCode::SEE_OTHER || matches!(call.method, Method::GET | Method::HEAD);
    if !repeats && !has_taken {
        return Err(Trouble::Final(format!(
            "{status}: it redirects to {location:?}, where the call would go without its event: write that url"
        )));
    }
    let mut next = Call { uri, ..call };
    if !repeats {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(header::CONTENT_TYPE);
    }
    Ok(next)
}

/// Where a redirection leads.
fn target(from: &Uri, location: &str) -> Option<Uri> {
    let from = Url::parse(&from.to_string()).ok()?;
    let mut target = from.join(location).ok().filter(|target| matches!(target.scheme(), "http" | "https"))?;
    // Who follows keeps it for himself.
    target.set_fragment(None);
    target.as_str().parse().ok()
}

/// Why a redirection to another origin is the end.
fn elsewhere(status: StatusCode, target: &str) -> String {
    format!(
        "{status}: it redirects to {target:?}, another origin, where neither event nor secrets go: write its url if they should"
    )
}

/// Whether two addresses have scheme, host and port in common.
fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
        (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
    };
    origin(one) == origin(other)
}

fn compose(
    webhook: &Webhook,
    delivery: &Delivery,
    variables: &Variables,
    renderer: &Renderer,
) -> Result<(Call, Vec<String>), Outcome> {
    let refused = |reason: String| Outcome::Refused { reason };
    let url = renderer
        .render(&webhook.url, variables)
        .map_err(|error| refused(format!("the template of url has failed: {error}")))?;
    let uri = address(webhook, &url).map_err(refused)?;
    let mut warnings = Vec::new();
    let body = match (&webhook.body, &webhook.method) {
        (None, method) if *method == Method::GET => String::new(),
        (body, _) => {
            let rendered = renderer.for_people("body", body.as_ref(), variables, || variables.event_json());
            warnings.extend(rendered.warning);
            rendered.text
        }
    };
    let mut headers = HeaderMap::new();
    let content =
        if body.trim_start().starts_with(['{', '[']) { "application/json" } else { "text/plain; charset=utf-8" };
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("annunciator/", env!("CARGO_PKG_VERSION"))));
    for (name, text) in &webhook.headers {
        let rendered = renderer.render(text, variables).and_then(|value| {
            let value = value.parse::<HeaderValue>().map_err(|error| error.to_string())?;
            Ok((name.parse::<HeaderName>().map_err(|error| error.to_string())?, value))
        });
        match rendered {
            Ok((name, value)) => {
                headers.insert(name, value);
            }
            Err(error) => warnings.push(format!("header {name} was left out: {error}")),
        }
    }
    if let Ok(id) = delivery.id.parse() {
        headers.insert(HeaderName::from_static("idempotency-key"), id);
    }
    if let Some(token) = &webhook.token {
        // A secret that cannot be read may be there the next time.
        let token = token.read_for_header().map_err(Outcome::unreachable)?;
        let value = format!("Bearer {token}").parse::<HeaderValue>();
        let mut value = value.map_err(|error| Outcome::unreachable(format!("token: {error}")))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(secret) = &webhook.secret {
        let secret = secret.read().map_err(Outcome::unreachable)?;
        let seconds = clock::wall().as_micros() / 1_000_000;
        if let Ok(value) = sign(&secret, seconds, &body).parse() {
            headers.insert(HeaderName::from_static("x-annunciator-signature"), value);
        }
    }
    Ok((Call { uri, method: webhook.method.clone(), headers, body: body.into() }, warnings))
}

/// The address that was rendered, if it is the one that the file means: values fill places in its path and query, and
/// choose neither the host nor another folder, and cut nothing off.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn address(webhook: &Webhook, url: &str) -> Result<Uri, String> {
    let uri: Uri = url.trim().parse().map_err(|error| {
        format!("{url:?} is no url ({error}); a part that may hold any character needs | urlencode")
    })?;
    if uri.host().is_none_or(str::is_empty) || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("{url:?} is no http address"));
    }
    let origin = webhook.origin.as_ref().and_then(|origin| origin.parse::<Uri>().ok());
    if origin.is_some_and(|origin| !is_same_origin(&origin, &uri)) {
        return Err(format!("{url:?} leads to another host than the url of the configuration"));
    }
    if webhook.url.is_plain() {
        return Ok(uri);
    }
    if climbs(uri.path()) {
        return Err(format!("{url:?} has . or .. for a part of its path, which would lead into another folder"));
    }
    if url.contains('#') && !webhook.url.0.contains('#') {
        return Err(format!("{url:?} would end at its #; a part that may hold any character needs | urlencode"));
    }
    Ok(uri)
}

/// Whether a server may take a part of this path for the folder above. Dots, slashes and percent signs may be escaped,
/// more than once; some servers take backslashes for slashes, and cut off what is behind a semicolon.
fn climbs(path: &str) -> bool {
    let mut path = path.to_owned();
    while let Cow::Owned(decoded) = topics::decode(&path) {
        if decoded == path {
            break;
        }
        path = decoded;
    }
    let mut parts = path.split(['/', '\\']).map(|part| part.split(';').next().unwrap_or_default());
    parts.any(|part| matches!(part.trim(), "." | ".."))
}

/// `t=<seconds>,v1=<hex>`: HMAC-SHA256 over `<seconds>.<body>`, so that an old request cannot be sent again as a new one.
fn sign(secret: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    tag.as_ref().iter().fold(format!("t={seconds},v1="), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The library's error with its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_stay_within_the_origin() {
        let call = || Call {
            uri: "https://one.example/api/alarms?x=1".parse().unwrap(),
            method: Method::POST,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
        };
        let to =
            |location: &str| follow(call(), StatusCode::PERMANENT_REDIRECT, location).map(|next| next.uri.to_string());
        for (location, uri) in [
            ("/v2", "https://one.example/v2"),
            ("v2?y=2", "https://one.example/api/v2?y=2"),
            ("https://ONE.example:443/v2", "https://one.example/v2"),
            ("//one.example/v2", "https://one.example/v2"),
            ("?y=2", "https://one.example/api/alarms?y=2"),
            ("../v2#there", "https://one.example/v2"),
            ("", "https://one.example/api/alarms?x=1"),
        ] {
            let next = to(location).ok().unwrap();
            assert_eq!(next.to_lowercase().replace(":443", ""), uri, "{location}");
        }
        for location in [
            "http://one.example/v2",
            "https://two.example/",
            "//two.example",
            "https://one.example:8443/",
            "ftp://one.example/",
            "https://",
        ] {
            assert!(matches!(to(location), Err(Trouble::Final(reason)) if reason.contains(location)), "{location}");
        }
        // One that has taken the event says where its answer is; all others would lead to where the event does not go.
        let get = follow(call(), StatusCode::SEE_OTHER, "/v2").ok().unwrap();
        assert!(get.method == Method::GET && get.body.is_empty());
        for status in [StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND, StatusCode::NOT_MODIFIED] {
            let lost = follow(call(), status, "/login");
            assert!(matches!(lost, Err(Trouble::Final(reason)) if reason.contains("without its event")), "{status}");
            let asked = follow(Call { method: Method::GET, ..call() }, status, "/v2");
            assert!(asked.is_ok(), "{status}");
        }
    }

    #[test]
    fn no_way_of_writing_a_folder_above_is_overlooked() {
        for path in [
            "/a/../b",
            "/a/%2E%2e/b",
            "/a/..%2fb",
            "/a/..\\b",
            "/a/..%5cb",
            "/a/..;x/b",
            "/a/%252e%252e/b",
            "/.",
            "/a/.%2F",
            "/..%20/",
        ] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/", "/a/b", "/a%2Fb", "/a..b/...", "/press%201;v=1/x.y", "/100%/%zz", "/\u{e9}%C3%A9"] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        // printf '1777636814.{}' | openssl dgst -sha256 -hmac hunter2
        assert_eq!(
            sign("hunter2", 1_777_636_814, "{}"),
            "t=1777636814,v1=012b91a797b9413772bb1ba7c509a815c5b9ff7d9719320cb5da609a8b457fdc"
        );
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        assert_eq!(seconds_until("120"), Some(120));
        assert!(seconds_until("Fri, 31 Dec 2049 23:59:59 GMT").is_some_and(|seconds| seconds > 1_000_000));
        assert_eq!(seconds_until("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(seconds_until("soon"), None);
    }
}
