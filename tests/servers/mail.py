#!/usr/bin/python3
"""A real SMTP server (aiosmtpd) that does what a test tells it to.

    mail.py PORT CERT KEY MODE         MODE: starttls, login (STARTTLS, and no other mechanism), tls or none

Standard output: one JSON object a line: {"ready": true}, then each mail with its envelope and headers.
Standard input: one word a line changes how it behaves from then on:

    fine              takes everything
    greylist          451 to every recipient
    full              452 to every recipient
    unknown NAME      550 to recipients whose local part is NAME
    refuse            554 after the message
    stall             never answers DATA
    leave             closes the connection after DATA
"""

import asyncio, email, json, ssl, sys, threading
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

port, cert, key, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
behaviour = ["fine"]


def say(what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        word = behaviour[0].split()
        if word[0] == "greylist":
            return "451 4.7.1 Greylisted, come back later"
        if word[0] == "full":
            return "452 4.2.2 Mailbox full"
        if word[0] == "unknown" and address.split("@")[0] == word[1]:
            return "550 5.1.1 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        word = behaviour[0].split()
        if word[0] == "stall":
            await asyncio.sleep(3600)
        if word[0] == "leave":
            server.transport.abort()
            await asyncio.sleep(1)
        if word[0] == "refuse":
            return "554 5.6.0 I do not like this message"
        message = email.message_from_bytes(envelope.content)
        headers = {name.lower(): str(email.header.make_header(email.header.decode_header(value)))
                   for name, value in message.items()}
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": headers,
            "body": message.get_payload(decode=True).decode("utf-8"),
            "login": session.auth_data.login.decode() if session.auth_data else None,
            "raw": envelope.content.decode("latin-1"),
            "tls": session.ssl is not None or mode == "tls",
        })
        return "250 2.0.0 Ok: queued as " + headers.get("message-id", "?")


def authenticate(server, session, envelope, mechanism, data):
    if isinstance(data, LoginPassword) and data.login == b"gw-01" and data.password == b"correct horse":
        return AuthResult(success=True, auth_data=data)
    return AuthResult(success=False, handled=False)


context = None
if mode != "none":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)


class Server(Controller):
    def factory(self):
        settings = dict(hostname="mail.test", data_size_limit=1 << 20)
        if mode in ("starttls", "login"):
            settings.update(tls_context=context, require_starttls=True)
        if mode != "none":
            settings.update(authenticator=authenticate, auth_required=True, auth_require_tls=mode != "tls")
        if mode == "login":
            settings.update(auth_exclude_mechanism=["PLAIN"])
        return SMTP(self.handler, **settings)


server = Server(Handler(), hostname="127.0.0.1", port=port, ssl_context=context if mode == "tls" else None)
server.start()
say({"ready": True})
for line in sys.stdin:
    behaviour[0] = line.strip()
    say({"behaves": line.strip()})
server.stop()
