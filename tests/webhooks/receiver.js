// Receives webhooks, and says who verifies each: Standard Webhooks' library, or Ed25519 of Node.
//
// A line of stdin is the name of a key and its text: `whsec_...` or `whpk_...`. What is said is a
// line of JSON on stdout: the port, each key that is known, each delivery with the names of the
// keys that verify it and of those that verify it changed.

"use strict";

const crypto = require("node:crypto");
const http = require("node:http");
const readline = require("node:readline");
const { isDeepStrictEqual } = require("node:util");

const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const keys = new Map();

function say(said) {
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

function verifiesV1(secret, body, headers) {
  try {
    const read = new Webhook(secret).verify(body, headers);
    return isDeepStrictEqual(read, JSON.parse(body.toString()));
  } catch (why) {
    if (why instanceof WebhookVerificationError) return false;
    throw why;
  }
}

function verifiesV1a(text, body, headers) {
  const raw = Buffer.from(text.slice("whpk_".length), "base64");
  const jwk = { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") };
  const key = crypto.createPublicKey({ key: jwk, format: "jwk" });
  const prefix = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`;
  const signed = Buffer.concat([Buffer.from(prefix), body]);
  return headers["webhook-signature"].split(" ").some((entry) => {
    const [version, signature] = entry.split(",");
    const bytes = Buffer.from(signature, "base64");
    return version === "v1a" && crypto.verify(null, signed, key, bytes);
  });
}

function verifying(body, headers) {
  const verifies = ([, text]) =>
    (text.startsWith("whpk_") ? verifiesV1a : verifiesV1)(text, body, headers);
  return [...keys].filter(verifies).map(([name]) => name).sort();
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    const changed = Buffer.from(body.toString().replace("k", "c"));
    say({
      path: request.url,
      id: request.headers["webhook-id"],
      name: JSON.parse(body.toString()).data.name,
      verified: verifying(body, request.headers),
      changed: verifying(changed, request.headers),
    });
    response.writeHead(204).end();
  });
});

server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [name, text] = line.split(" ");
  keys.set(name, text);
  say({ knows: name });
});
lines.on("close", () => process.exit());
