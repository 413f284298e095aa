//! E-mail over SMTP (RFC 5321), recipient by recipient: one that is refused does not lose the others.
//!
//! What goes wrong before the first recipient (no connection, no TLS, a wrong password) is the server's or the
//! configuration's fault and is tried again; what a recipient or the message is refused for, for good, is not. The
//! library's time limit covers the connection only, so the whole dialogue has one of its own here.

mod connections;

use self::connections::Connections;
use super::template::{Renderer, Text, Variables};
use crate::config::{Secret, Tls};
use crate::domain::notify::delivery::{Delivery, Outcome};
use crate::domain::time::{Span, Stamp};
use crate::io::mqtt::tls;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Characters of a subject. Longer ones are refused by some servers, and read by nobody.
const LONGEST_SUBJECT: usize = 200;
/// How long a parting word may take.
const ABORT_LIMIT: Duration = Duration::from_secs(2);
/// The reply by which a server takes its leave, at any point of the dialogue.
const LEAVING: u16 = 421;

/// `[smtp]`: the server that takes mails.
#[derive(Debug, Clone, PartialEq)]
pub struct Smtp {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How to talk TLS.
    pub security: Security,
    /// Certificates to trust; none: those of the system.
    pub tls: Tls,
    /// As whom to log in.
    pub login: Option<(String, Secret)>,
    /// The sender of mails.
    pub from: lettre::message::Mailbox,
    /// The name to greet with.
    pub hello: String,
    /// Time for one mail, all in all.
    pub timeout: Span,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In the clear first, then TLS, or not at all.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// In the clear.
    None,
}

/// A mail.
#[derive(Debug, Clone)]
pub struct Email {
    /// Recipients.
    pub to: Vec<lettre::message::Mailbox>,
    /// The subject; none: severity, title and state.
    pub subject: Option<Text>,
    /// The text; none: all of the event.
    pub message: Option<Text>,
}

/// Sends mails through one server.
pub(crate) struct Mailer {
    smtp: std::sync::Arc<Smtp>,
    idle: Connections<AsyncSmtpConnection>,
    tls: RefCell<Option<TlsParameters>>,
}

impl Mailer {
    pub(crate) fn new(smtp: std::sync::Arc<Smtp>) -> Mailer {
        Mailer { smtp, idle: Connections::new(), tls: RefCell::default() }
    }

    /// Sends one mail to those recipients that do not have it.
    pub(crate) async fn send(
        &self,
        email: &Email,
        delivery: &Delivery,
        variables: &Variables,
        renderer: &Renderer,
    ) -> Outcome {
        let to: Vec<&Mailbox> = email.to.iter().filter(|to| !delivery.done.contains(&to.email.to_string())).collect();
        let (message, warnings) = match compose(&self.smtp, email, delivery, variables, renderer) {
            Ok(composed) => composed,
            Err(reason) => return Outcome::Refused { reason },
        };
        let limit = self.smtp.timeout.to_std();
        let attempt = async {
            let mut connection = self.connection().await.map_err(|reason| {
                self.tls.take();
                Outcome::unreachable(reason)
            })?;
            let outcome = dialogue(&mut connection, &self.smtp, &to, &message, delivery, warnings).await;
            Ok::<_, Outcome>((connection, outcome))
        };
        match tokio::time::timeout(limit, attempt).await {
            Err(_) => Outcome::unreachable(format!("{} did not answer within {}", self.server(), self.smtp.timeout)),
            Ok(Err(outcome)) => outcome,
            Ok(Ok((connection, outcome))) => {
                self.keep(connection, matches!(outcome, Outcome::Taken { .. }));
                outcome
            }
        }
    }

    /// As much of the dialogue as can be had without sending anything, and what the server said to each recipient.
    pub(crate) async fn rehearse(&self, to: &[Mailbox]) -> Result<Vec<String>, String> {
        let attempt = async {
            let mut connection = self.connection().await?;
            let mut said = vec![format!("{}: connected, {}", self.server(), self.how(&connection))];
            connection
                .command(Mail::new(Some(self.smtp.from.email.clone()), Vec::new()))
                .await
                .map_err(|error| format!("sender {}: {}", self.smtp.from.email, explain(&error)))?;
            let mut refused = Vec::new();
            for mailbox in to {
                match connection.command(Rcpt::new(mailbox.email.clone(), Vec::new())).await {
                    Ok(answer) => said.push(format!("{}: {}", mailbox.email, words(&answer))),
                    Err(error) => refused.push(format!("{}: {}", mailbox.email, explain(&error))),
                }
            }
            connection.abort().await;
            if refused.is_empty() { Ok(said) } else { Err(refused.join("; ")) }
        };
        tokio::time::timeout(self.smtp.timeout.to_std(), attempt)
            .await
            .unwrap_or_else(|_| Err(format!("{} did not answer within {}", self.server(), self.smtp.timeout)))
    }

    fn how(&self, connection: &AsyncSmtpConnection) -> String {
        let tls = if connection.is_encrypted() { "TLS" } else { "in the clear" };
        match &self.smtp.login {
            Some((user, _)) => format!("{tls}, logged in as {user}"),
            None => tls.to_owned(),
        }
    }

    fn server(&self) -> String {
        format!("{}:{}", self.smtp.host, self.smtp.port)
    }

    /// A connection that is ready for a mail.
    async fn connection(&self) -> Result<AsyncSmtpConnection, String> {
        while let Some(mut kept) = self.idle.take() {
            if kept.test_connected().await {
                return Ok(kept);
            }
        }
        let server = self.server();
        let hello = ClientId::Domain(self.smtp.hello.clone());
        let address = (self.smtp.host.as_str(), self.smtp.port);
        let at_once = if self.smtp.security == Security::Tls { Some(self.tls_parameters()?) } else { None };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(self.smtp.timeout.to_std()), &hello, at_once, None)
                .await
                .map_err(|error| format!("{server}: {}", explain(&error)))?;
        if self.smtp.security == Security::StartTls {
            if !connection.can_starttls() {
                return Err(format!("{server}: it offers no STARTTLS"));
            }
            let parameters = self.tls_parameters()?;
            let begun = connection.starttls(parameters, &hello).await;
            begun.map_err(|error| format!("{server}: STARTTLS: {}", explain(&error)))?;
        }
        if let Some((username, secret)) = &self.smtp.login {
            let credentials = Credentials::new(username.clone(), secret.read()?);
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            login.map_err(|error| format!("{server}: login as {username}: {}", explain(&error)))?;
        }
        Ok(connection)
    }

    /// Certificates are renewed while the daemon runs: a file is read for each connection, and what the system trusts
    /// again after a connection that failed.
    fn tls_parameters(&self) -> Result<TlsParameters, String> {
        if let Some(known) = &*self.tls.borrow()
            && self.smtp.tls.ca_file.is_none()
        {
            return Ok(known.clone());
        }
        let mut builder = TlsParameters::builder(self.smtp.host.clone());
        if let Some(file) = &self.smtp.tls.ca_file {
            // Without a certificate in it, the library would find that it trusts nobody, and not say why.
            tls::roots_from(file).map_err(|reason| format!("ca_file {reason}"))?;
            let pem = tls::bytes_of(file).map_err(|reason| format!("ca_file {reason}"))?;
            let certificate = Certificate::from_pem(&pem);
            let certificate =
                certificate.map_err(|error| format!("ca_file {}: {}", file.display(), explain(&error)))?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        let parameters = builder.build_rustls().map_err(|error| explain(&error))?;
        *self.tls.borrow_mut() = Some(parameters.clone());
        Ok(parameters)
    }

    /// Keeps a connection for the next mail, or closes it. Must be called inside a `LocalSet`.
    fn keep(&self, connection: AsyncSmtpConnection, is_fine: bool) {
        if is_fine && !connection.has_broken() {
            self.idle.put_back(connection, close);
        } else {
            tokio::task::spawn_local(close(connection));
        }
    }
}

/// Says QUIT, and does not wait long for the answer.
async fn close(mut connection: AsyncSmtpConnection) {
    let _ = tokio::time::timeout(ABORT_LIMIT, connection.abort()).await;
}

/// What one recipient was refused for.
struct Refusal {
    address: Address,
    reason: String,
    for_good: bool,
}

async fn dialogue(
    connection: &mut AsyncSmtpConnection,
    smtp: &Smtp,
    to: &[&Mailbox],
    message: &[u8],
    delivery: &Delivery,
    mut warnings: Vec<String>,
) -> Outcome {
    let server = format!("{}:{}", smtp.host, smtp.port);
    let failed = |what: &str, error: &Error| Outcome::unreachable(format!("{server}: {what}: {}", explain(error)));
    if let Err(error) = connection.command(Mail::new(Some(smtp.from.email.clone()), Vec::new())).await {
        return failed("sender", &error);
    }
    let (mut accepted, mut refused): (Vec<Address>, Vec<Refusal>) = (Vec::new(), Vec::new());
    for mailbox in to {
        match connection.command(Rcpt::new(mailbox.email.clone(), Vec::new())).await {
            Ok(_) => accepted.push(mailbox.email.clone()),
            Err(error) if is_of_connection(&error) => return failed("recipient", &error),
            Err(error) => refused.push(Refusal {
                address: mailbox.email.clone(),
                reason: format!("{}: {}", mailbox.email, explain(&error)),
                for_good: error.is_permanent(),
            }),
        }
    }
    let reasons = |for_good: bool| -> Vec<String> {
        refused.iter().filter(|refusal| refusal.for_good == for_good).map(|refusal| refusal.reason.clone()).collect()
    };
    let mut done = delivery.done.clone();
    done.extend(refused.iter().filter(|refusal| refusal.for_good).map(|refusal| refusal.address.to_string()));
    let later = reasons(false);
    if accepted.is_empty() {
        return match later.as_slice() {
            // If some have it from an earlier attempt it was delivered, and the rest never will be.
            [] if !delivery.done.is_empty() => {
                Outcome::Taken { answer: "the others have it".to_owned(), warnings: reasons(true) }
            }
            [] => Outcome::Refused { reason: reasons(true).join("; ") },
            later => Outcome::Partly { done, reason: later.join("; ") },
        };
    }
    let sent = match connection.command(Data).await {
        Ok(_) => connection.message(message).await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(answer) if later.is_empty() => {
            warnings.extend(reasons(true));
            Outcome::Taken { answer: words(&answer), warnings }
        }
        Ok(_) => {
            done.extend(accepted.iter().map(ToString::to_string));
            Outcome::Partly { done, reason: later.join("; ") }
        }
        Err(error) if error.is_permanent() && !is_of_connection(&error) => {
            Outcome::Refused { reason: format!("{server}: {}", explain(&error)) }
        }
        Err(error) if is_of_connection(&error) => failed("message", &error),
        Err(error) => {
            Outcome::Later { reason: format!("{server}: {}", explain(&error)), unreachable: false, retry_after: None }
        }
    }
}

/// Whether the connection has ended or is about to: nothing was said about a recipient or a message.
fn is_of_connection(error: &Error) -> bool {
    error.status().is_none_or(|code| u16::from(code) == LEAVING)
}

/// The mail as it goes over the wire: the same bytes in every attempt.
fn compose(
    smtp: &Smtp,
    email: &Email,
    delivery: &Delivery,
    variables: &Variables,
    renderer: &Renderer,
) -> Result<(Vec<u8>, Vec<String>), String> {
    let variables = &variables.for_mail();
    let subject = renderer.for_people("subject", email.subject.as_ref(), variables, || variables.headline());
    let body = renderer.for_people("message", email.message.as_ref(), variables, || variables.plain_text());
    let mut text = body.text;
    if body.warning.is_none() && email.message.as_ref().is_some_and(|message| !message.tells_of_others()) {
        text.push_str(&variables.digest_text());
    }
    let text = without_controls(&text);
    let subject_line = one_line(&subject.text);
    let domain = smtp.from.email.domain();
    let id = format!("<{}@{domain}>", delivery.id);
    let mut builder = Message::builder()
        .from(smtp.from.clone())
        .subject(subject_line)
        .date(system_time(delivery.due_wall))
        .message_id(Some(id.clone()))
        .user_agent(concat!("annunciator/", env!("CARGO_PKG_VERSION")).to_owned())
        .header(ContentType::TEXT_PLAIN);
    for mailbox in &email.to {
        builder = builder.to(mailbox.clone());
    }
    // The first mail of an occurrence opens a thread; all others answer it.
    if let Some(first) = delivery.thread_root(variables.reaction()) {
        let root = format!("<{first}@{domain}>");
        if root != id {
            builder = builder.in_reply_to(root.clone()).references(root);
        }
    }
    let automatic = HeaderName::new_from_ascii("Auto-Submitted".to_owned()).map_err(|error| error.to_string())?;
    builder = builder.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
    let message = builder.body(text).map_err(|error| format!("the mail cannot be made: {error}"))?;
    Ok((message.formatted(), [subject.warning, body.warning].into_iter().flatten().collect()))
}

/// A subject without line ends and control characters, cut where no reader looks any more.
fn one_line(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // A reader would take it for an encoded word (RFC 2047), and show what is in there.
    let line = line.replace("=?", "= ?");
    if line.chars().count() <= LONGEST_SUBJECT {
        return line;
    }
    line.chars().take(LONGEST_SUBJECT - 1).chain(['…']).collect()
}

/// A text whose lines end as in any other mail, and in which nothing is left that is no character: servers refuse a bare
/// carriage return or a NUL, or take it for the end of something.
fn without_controls(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let is_lost = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    lines.chars().map(|c| if is_lost(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn system_time(stamp: Stamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(stamp.as_micros()).unwrap_or(0))
}

fn words(response: &Response) -> String {
    let lines: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), lines.join(" "))
}

/// The library's error with its causes, in one line.
fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_shown_as_it_was_written() {
        assert_eq!(one_line(" a\r\nb\0c "), "a  b c");
        assert_eq!(one_line("Alarm =?utf-8?b?4oCuZ25w?= now"), "Alarm = ?utf-8?b?4oCuZ25w?= now");
        assert_eq!(one_line(&"x".repeat(500)).chars().count(), LONGEST_SUBJECT);
    }
}
