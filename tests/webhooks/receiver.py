"""Receives webhooks, and says who verifies each: Standard Webhooks' library, or Ed25519.

A line of stdin is the name of a key and its text: `whsec_...` or `whpk_...`. What is said is a line
of JSON on stdout: the port, each key that is known, each delivery with the names of the keys that
verify it and of those that verify it changed.
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

keys = {}
saying = threading.Lock()


def say(said):
    with saying:
        print(json.dumps(said), flush=True)


def verifies_v1(secret, body, headers):
    try:
        return Webhook(secret).verify(body, headers) == json.loads(body)
    except WebhookVerificationError:
        return False


def verifies_v1a(public, body, headers):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for entry in headers["webhook-signature"].split(" "):
        version, signature = entry.split(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(signature), signed)
            return True
        except InvalidSignature:
            pass
    return False


def verifying(body, headers):
    return sorted(
        name
        for name, text in keys.items()
        if (verifies_v1a if text.startswith("whpk_") else verifies_v1)(text, body, headers)
    )


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        say({
            "path": self.path,
            "id": headers["webhook-id"],
            "name": json.loads(body)["data"]["name"],
            "verified": verifying(body, headers),
            "changed": verifying(body.replace(b"k", b"c", 1), headers),
        })
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # The server that is tested may end with connections open.
        if not issubclass(sys.exc_info()[0], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
say({"port": server.server_port})
for line in sys.stdin:
    name, text = line.split()
    keys[name] = text
    say({"knows": name})
