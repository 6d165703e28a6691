//! nginx, Caddy, Envoy and Traefik stand guard as the page says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::programs::{Gateway, Places, Program};
use crate::upstream::{self, WEBSOCKET_KEY, header, told};
use crate::world::{CLIENT, Key, World, through};

/// Clients that go on while their credential ends, and how often each is refused before it stops.
const CLIENTS: usize = 16;
const REFUSED_EACH: usize = 20;
/// The limit of a wait for a WebSocket's next bytes.
const PATIENCE: Duration = Duration::from_secs(20);

const IDENTITY: [&str; 7] = [
    "x-keyledger-key-id",
    "x-keyledger-kind",
    "x-keyledger-organization-id",
    "x-keyledger-project-id",
    "x-keyledger-owner-id",
    "x-keyledger-scopes",
    "x-keyledger-role",
];
const ASKED: [&str; 5] = [
    "x-keyledger-gateway",
    "x-keyledger-require-organization",
    "x-keyledger-require-project",
    "x-keyledger-require-scopes",
    "x-keyledger-query-parameter",
];

/// A gateway that is being tested: its program, the address that clients know, and a key that is
/// let through.
struct Guarded {
    gateway: Gateway,
    world: World,
    at: String,
    key: Key,
    upstream: String,
    token: String,
    _program: Program,
}

impl Guarded {
    async fn new(gateway: Gateway) -> Self {
        let world = World::new();
        let token = world.key("keys:verify").await.token;
        let upstream = upstream::echo();
        let places = Places {
            keyledger: world.server.address(),
            upstream: &upstream,
            token: &token,
        };
        let (program, at) = gateway.start(world.folder.path(), &places, |text| text);
        Self {
            gateway,
            at,
            key: world.key("cases:read").await,
            upstream,
            token,
            _program: program,
            world,
        }
    }

    /// The status of an answer without an identity.
    async fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        let reply = through(&self.at, path, headers).await;
        for header in reply.headers.keys() {
            let is_ours = header.as_str().ends_with("-key-id");
            assert!(!is_ours, "{:?} {header}", self.gateway);
        }
        reply.status
    }

    async fn stands_guard(&self) {
        self.lets_through().await;
        self.keeps_out().await;
        self.is_not_told_by_connection().await;
        self.passes_websockets();
        self.trusts_no_query().await;
        self.takes_a_parameter().await;
        self.tells_the_history().await;
        self.lets_nobody_through_after_an_end().await;
        self.lets_nobody_through_without_an_answer().await;
    }

    /// Whoever may is let through, and the upstream is told who it is by the gateway alone.
    async fn lets_through(&self) {
        let (gateway, bearer) = (self.gateway, self.key.bearer());
        let mut spoofed = vec![("authorization", bearer.as_str()), ("host", "any.example")];
        spoofed.extend(IDENTITY.iter().chain(&ASKED).map(|name| (*name, "spoofed")));
        if gateway != Gateway::Traefik {
            // Many an upstream takes these for the same.
            spoofed.push(("x_keyledger_key_id", "spoofed"));
            spoofed.push(("x-keyledger_role", "spoofed"));
        }
        let passed = through(&self.at, "/cases?q=1", &spoofed).await;
        let text = &passed.text;
        assert_eq!(passed.status, 200, "{gateway:?} {text}");
        assert!(text.starts_with("POST /cases?q=1 "), "{text}");
        assert!(!text.contains("spoofed"), "{gateway:?} {text}");
        assert!(!text.contains("{http."), "{gateway:?} {text}");
        let (id, organization) = (self.key.id.as_str(), self.world.organization.as_str());
        for (name, value) in IDENTITY.iter().zip([
            Some(id),
            Some("organization"),
            Some(organization),
            None,
            Some(organization),
            Some("cases:read"),
            None,
        ]) {
            assert_eq!(told(&passed, name), value, "{gateway:?} {name}");
        }
        for name in ASKED {
            assert_eq!(told(&passed, name), None, "{gateway:?} {name}");
        }
    }

    /// Who shows nothing, another tenant's credential, too little, or two of them.
    async fn keeps_out(&self) {
        let lacking = self.world.key("cases:write").await;
        let stranger = self.world.stranger().await.bearer();
        let (bearer, lacks) = (self.key.bearer(), lacking.bearer());
        let authorization = "authorization";
        for (headers, status) in [
            (vec![], 401),
            (vec![("x-api-key", self.key.token.as_str())], 200),
            (vec![(authorization, stranger.as_str())], 401),
            (vec![(authorization, lacks.as_str())], 403),
            (
                vec![(authorization, &bearer), ("x-api-key", &lacking.token)],
                400,
            ),
        ] {
            let got = self.status("/cases", &headers).await;
            assert_eq!(got, status, "{:?} {headers:?}", self.gateway);
        }
    }

    /// A client cannot have a gateway take our headers for its connection's: neither the identity
    /// nor a requirement goes.
    async fn is_not_told_by_connection(&self) {
        let gateway = self.gateway;
        let lacks = self.world.key("cases:write").await.bearer();
        let bearer = self.key.bearer();
        let all = IDENTITY.join(", ");
        let mut named = vec![format!("keep-alive, {all}"), all];
        named.extend(ASKED.iter().map(|name| (*name).to_owned()));
        for connection in &named {
            let headers = [
                ("authorization", bearer.as_str()),
                ("connection", connection),
            ];
            let passed = through(&self.at, "/cases", &headers).await;
            assert_eq!(passed.status, 200, "{gateway:?} {connection}");
            let id = told(&passed, "x-keyledger-key-id");
            assert_eq!(id, Some(self.key.id.as_str()), "{gateway:?} {connection}");
            let kind = told(&passed, "x-keyledger-kind");
            assert_eq!(kind, Some("organization"), "{gateway:?} {connection}");
            let lacking = [
                ("authorization", lacks.as_str()),
                ("connection", connection),
            ];
            let status = self.status("/cases", &lacking).await;
            assert_eq!(status, 403, "{gateway:?} {connection}");
        }
    }

    /// A WebSocket is opened, also one that names our headers, and carries bytes both ways.
    fn passes_websockets(&self) {
        let gateway = self.gateway;
        for connection in [
            "Upgrade",
            "keep-alive, Upgrade",
            "upgrade, x-keyledger-key-id",
        ] {
            let mut stream = TcpStream::connect(&self.at).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = |authorization: &str| {
                format!(
                    "GET /socket HTTP/1.1\r\nHost: any.example\r\nConnection: {connection}\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: {WEBSOCKET_KEY}\r\n{authorization}\r\n"
                )
            };
            let bearer = format!("Authorization: {}\r\n", self.key.bearer());
            stream.write_all(request(&bearer).as_bytes()).unwrap();
            let answer = upstream::head(&mut stream);
            let is_switched = answer.starts_with("HTTP/1.1 101 ");
            assert!(is_switched, "{gateway:?} {connection} {answer}");
            let seen = upstream::head(&mut stream);
            let id = header(&seen, "x-keyledger-key-id");
            assert_eq!(id, Some(self.key.id.as_str()), "{gateway:?} {seen}");
            stream.write_all(b"ping").unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"ping", "{gateway:?}");
            // Without a credential there is none.
            let mut stream = TcpStream::connect(&self.at).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request("").as_bytes()).unwrap();
            let answer = upstream::head(&mut stream);
            let is_refused = answer.starts_with("HTTP/1.1 401 ");
            assert!(is_refused, "{gateway:?} {connection} {answer}");
        }
    }

    /// The query is the client's: neither a credential nor a requirement comes from it.
    async fn trusts_no_query(&self) {
        let token = &self.key.token;
        let query = format!("/cases?token={token}&api_key={token}&required_scopes=cases:write");
        assert_eq!(self.status(&query, &[]).await, 401);
        let asks = [
            ("x-keyledger-query-parameter", "token"),
            ("x-forwarded-uri", query.as_str()),
        ];
        assert_eq!(self.status(&query, &asks).await, 401);
        let bearer = self.key.bearer();
        assert_eq!(
            self.status(&query, &[("authorization", &bearer)]).await,
            200
        );
    }

    /// Where the gateway says so, the credential may stand in the query, whatever the path.
    async fn takes_a_parameter(&self) {
        let places = Places {
            keyledger: self.world.server.address(),
            upstream: &self.upstream,
            token: &self.token,
        };
        let (from, to) = match self.gateway {
            // The first is that of the upstream, the second that of the question.
            Gateway::Nginx => (
                "Require-Project \"\";\n        proxy_set_header X-Keyledger-Query-Parameter \"\";\n    }",
                "Require-Project \"\";\n        proxy_set_header X-Keyledger-Query-Parameter token;\n    }",
            ),
            Gateway::Caddy => (
                "header_up -X-Keyledger-Query-Parameter",
                "header_up X-Keyledger-Query-Parameter token",
            ),
            Gateway::Envoy => (
                "- { key: X-Keyledger-Require-Scopes,",
                "- { key: X-Keyledger-Query-Parameter, value: token }\n                            \
                 - { key: X-Keyledger-Require-Scopes,",
            ),
            Gateway::Traefik => (
                "X-Keyledger-Query-Parameter: \"\"",
                "X-Keyledger-Query-Parameter: \"token\"",
            ),
        };
        let folder = self.world.folder.path();
        let (_program, at) = self.gateway.start(folder, &places, |text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
        let token = &self.key.token;
        for path in ["/badge", "/nginx", "/nginx/status", "/envoy/x"] {
            for (query, expect) in [
                (format!("token={token}"), 200),
                ("token=x".to_owned(), 401),
                (format!("other={token}"), 401),
            ] {
                let reply = through(&at, &format!("{path}?{query}"), &[]).await;
                let (gateway, text) = (self.gateway, &reply.text);
                assert_eq!(reply.status, expect, "{gateway:?} {path} {text}");
            }
        }
    }

    /// The history names the client and its request, and not the gateway's.
    async fn tells_the_history(&self) {
        let (gateway, bearer) = (self.gateway, self.key.bearer());
        let headers = [
            ("authorization", bearer.as_str()),
            ("user-agent", "curl/8.4"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
        ];
        let path = "/nginx/seen?q=1";
        assert_eq!(self.status(path, &headers).await, 200);
        let call = self.world.call(&self.key, "/nginx/seen").await;
        let field = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(field("method"), "POST", "{gateway:?}");
        assert_eq!(field("ip_address"), CLIENT.to_string(), "{gateway:?}");
        assert_eq!(field("user_agent"), "curl/8.4", "{gateway:?}");
    }

    /// Requests are on their way all the time, and the end of their credential comes between:
    /// whatever was sent after its answer is refused.
    async fn lets_nobody_through_after_an_end(&self) {
        let key = self.world.key("cases:read").await;
        let ended = Arc::new(AtomicBool::new(false));
        let passed = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (at, bearer) = (self.at.clone(), key.bearer());
            let (ended, passed) = (Arc::clone(&ended), Arc::clone(&passed));
            clients.spawn(async move {
                let mut refused = 0;
                while refused < REFUSED_EACH {
                    let sent_after = ended.load(Ordering::SeqCst);
                    let reply = through(&at, "/cases", &[("authorization", &bearer)]).await;
                    match (reply.status, sent_after) {
                        (200, false) => drop(passed.fetch_add(1, Ordering::SeqCst)),
                        (401, false) => {}
                        (401, true) => refused += 1,
                        (status, _) => panic!("{status} {}", reply.text),
                    }
                }
            });
        }
        while passed.load(Ordering::SeqCst) < CLIENTS {
            // None of them ends before the credential does, but for what it found wrong.
            if let Some(client) = clients.try_join_next() {
                client.unwrap();
            }
            tokio::task::yield_now().await;
        }
        self.world.revoke(&key).await;
        ended.store(true, Ordering::SeqCst);
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        let bearer = key.bearer();
        assert_eq!(
            self.status("/cases", &[("authorization", &bearer)]).await,
            401
        );
    }

    /// Neither a server that is down nor one that does not answer lets anybody through, and clients
    /// are told within the time limits of the block.
    async fn lets_nobody_through_without_an_answer(&self) {
        let down = format!("127.0.0.1:{}", crate::programs::port());
        let (when_down, when_silent) = match self.gateway {
            Gateway::Nginx | Gateway::Envoy => (503, Some(503)),
            Gateway::Caddy => (502, Some(504)),
            // It waits for 30 seconds.
            Gateway::Traefik => (500, None),
        };
        let silent = when_silent.map(|status| (upstream::silent(), status));
        for (keyledger, status) in [Some((down, when_down)), silent].into_iter().flatten() {
            let places = Places {
                keyledger: &keyledger,
                upstream: &self.upstream,
                token: &self.token,
            };
            let folder = self.world.folder.path();
            let (_program, at) = self.gateway.start(folder, &places, |text| text);
            let bearer = self.key.bearer();
            let headers = [("authorization", bearer.as_str())];
            let asked = through(&at, "/cases", &headers);
            let reply = tokio::time::timeout(Duration::from_secs(10), asked).await;
            let (gateway, reply) = (self.gateway, reply.unwrap());
            assert_eq!(reply.status, status, "{gateway:?} {}", reply.text);
        }
    }
}

#[tokio::test]
async fn nginx_stands_guard() {
    Guarded::new(Gateway::Nginx).await.stands_guard().await;
}

#[tokio::test]
async fn caddy_stands_guard() {
    Guarded::new(Gateway::Caddy).await.stands_guard().await;
}

#[tokio::test]
async fn envoy_stands_guard() {
    Guarded::new(Gateway::Envoy).await.stands_guard().await;
}

#[tokio::test]
async fn traefik_stands_guard() {
    Guarded::new(Gateway::Traefik).await.stands_guard().await;
}

/// The statuses that nginx cannot pass on come back by their reason.
#[tokio::test]
async fn nginx_gives_back_what_it_could_not_pass_on() {
    let folder = tempfile::tempdir().unwrap();
    for (reason, expect) in [
        ("rate_limited", 429),
        ("unavailable", 503),
        ("bad_request", 400),
    ] {
        let keyledger = upstream::stub(move |_| {
            format!(
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\
                 X-Keyledger-Reason: {reason}\r\nRetry-After: 7\r\n\r\n"
            )
        });
        let places = Places {
            keyledger: &keyledger,
            upstream: &upstream::echo(),
            token: "k",
        };
        let (_program, at) = Gateway::Nginx.start(folder.path(), &places, |text| text);
        let reply = through(&at, "/", &[]).await;
        assert_eq!(reply.status, expect, "{}", reply.text);
        assert_eq!(reply.headers["retry-after"], "7");
    }
}

/// One byte that is no text does not blank what the history says of a request.
#[tokio::test]
async fn nginx_passes_on_bytes_that_no_uri_has() {
    let guarded = Guarded::new(Gateway::Nginx).await;
    let mut stream = TcpStream::connect(&guarded.at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bearer = guarded.key.bearer();
    let request = [
        b"GET /caf\xe9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: ".as_slice(),
        bearer.as_bytes(),
        b"\r\n\r\n",
    ];
    stream.write_all(&request.concat()).unwrap();
    let answer = upstream::head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    guarded.world.call(&guarded.key, "/caf%E9").await;
}
