//! A race: thousands of verifications in flight while keys are revoked, rotated, narrowed and
//! disabled. Not one that begins after the answer of the end is accepted.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::stream;
use serde_json::json;
use tokio::task::{JoinSet, yield_now};

use crate::api::tests::{Ask, World, answered, ask, text};

/// How each key ends.
const ENDS: [&str; 4] = ["revoke", "rotate", "narrow", "disable"];
/// Keys of each.
const EACH: usize = 60;
/// Tasks that verify, each one request after another.
const VERIFIERS: usize = 3_000;
/// Requests that have begun and are not answered, at the least, at some time.
const IN_FLIGHT: usize = 2_000;
/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A key and whether its end has been answered.
struct Target {
    path: String,
    raw: String,
    end: &'static str,
    ended: AtomicBool,
}

/// The same request, whose body comes when all others have had their turn: until then it is in
/// flight, with its caller let in.
async fn slowly(Ask(request): Ask) -> Ask {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let late = stream::once(async {
        yield_now().await;
        Ok::<_, Infallible>(bytes)
    });
    Ask(axum::http::Request::from_parts(
        parts,
        Body::from_stream(late),
    ))
}

/// How one way of asking tells of a secret: whether it is accepted.
async fn accepted(router: &Router, way: usize, (gateway, raw): (&str, &str)) -> bool {
    let form = "application/x-www-form-urlencoded";
    let scopes = ["cases:write"];
    match way {
        0 => {
            let body = json!({"key": raw, "required_scopes": scopes});
            let verify = ask("POST", "/v1/verify").by(gateway).json(&body);
            answered(router.clone(), slowly(verify).await)
                .await
                .expect(200)["valid"]
                == true
        }
        1 => {
            let body = json!({"keys": [{"key": raw, "required_scopes": scopes}]});
            let batch = ask("POST", "/v1/verify/batch").by(gateway).json(&body);
            let answer = answered(router.clone(), slowly(batch).await).await;
            let answer = answer.expect(200);
            answer["results"][0]["valid"] == true
        }
        2 => {
            let asked = ask("GET", "/v1/forward-auth/x").by(raw);
            let asked = asked.with("x-keyledger-gateway", gateway);
            let asked = asked.with("x-keyledger-require-scopes", "cases:write");
            answered(router.clone(), asked).await.status == 200
        }
        _ => {
            let asked = ask("POST", "/oauth2/introspect").by(gateway);
            let asked = asked
                .with("content-type", form)
                .body(format!("token={raw}"));
            let answer = answered(router.clone(), slowly(asked).await).await;
            let answer = answer.expect(200);
            let scope = answer["scope"].as_str().unwrap_or_default();
            answer["active"] == true && scope.contains("cases:write")
        }
    }
}

async fn end(router: &Router, admin: &str, target: &Target) {
    let request = match target.end {
        "narrow" => ask("PATCH", &target.path).json(&json!({"scopes": ["cases:read"]})),
        end => ask("POST", &format!("{}/{end}", target.path)).json(&json!({})),
    };
    answered(router.clone(), request.by(admin))
        .await
        .expect(200);
    target.ended.store(true, Ordering::SeqCst);
}

/// What the verifiers have seen.
#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    done: AtomicBool,
}

/// Verifies one key after another, until all ends have been answered and once more.
async fn verify(
    (router, gateway): (Router, String),
    targets: Arc<Vec<Target>>,
    seen: Arc<Seen>,
    number: usize,
) {
    for round in 0.. {
        let last = seen.done.load(Ordering::SeqCst);
        let target = &targets[(number + round * 7) % targets.len()];
        let ended = target.ended.load(Ordering::SeqCst);
        let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let way = (number / targets.len() + round) % 4;
        let good = accepted(&router, way, (&gateway, &target.raw)).await;
        seen.in_flight.fetch_sub(1, Ordering::SeqCst);
        assert!(!(ended && good), "accepted after its {}", target.end);
        let count = if good { &seen.accepted } else { &seen.refused };
        count.fetch_add(1, Ordering::SeqCst);
        if last {
            break;
        }
    }
}

#[test]
fn nothing_that_begins_after_the_answer_of_an_end_is_accepted() {
    let world = World::new();
    let (_, gateway) = world.key(&json!({"name": "gateway", "scopes": ["keys:verify"]}));
    let mut targets = Vec::new();
    for number in 0..ENDS.len() * EACH {
        let body = json!({"name": "CI", "scopes": ["cases:read", "cases:write"]});
        let (id, raw) = world.key(&body);
        targets.push(Target {
            path: format!("{}/api-keys/{id}", world.acme.path),
            raw,
            end: ENDS[number % ENDS.len()],
            ended: AtomicBool::new(false),
        });
    }
    let (targets, seen) = (Arc::new(targets), Arc::new(Seen::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(3).enable_all().build().unwrap();
    let admin = world.acme.admin.clone();
    let race = async {
        let mut verifiers = JoinSet::new();
        for number in 0..VERIFIERS {
            let asks = (world.router.clone(), gateway.clone());
            let (targets, seen) = (Arc::clone(&targets), Arc::clone(&seen));
            verifiers.spawn(verify(asks, targets, seen, number));
        }
        while seen.most_in_flight.load(Ordering::SeqCst) < IN_FLIGHT {
            yield_now().await;
        }
        for target in targets.iter() {
            end(&world.router, &admin, target).await;
        }
        seen.done.store(true, Ordering::SeqCst);
        while let Some(verified) = verifiers.join_next().await {
            verified.unwrap();
        }
    };
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, race).await })
        .expect("the race ends");
    let accepted = seen.accepted.load(Ordering::SeqCst);
    let refused = seen.refused.load(Ordering::SeqCst);
    // Each of them asks once after the last end.
    assert!(accepted > 0, "{refused} refused");
    assert!(
        refused >= VERIFIERS,
        "{accepted} accepted, {refused} refused"
    );
    // What was recorded is what was answered: each of the ways leaves one call.
    world.usage.wait_until_settled();
    let calls = targets.iter().map(|target| {
        let id = text(&json!(target.path.rsplit('/').next().unwrap()));
        let usage = world.usage.usage_of(id.parse().unwrap());
        usize::try_from(usage.accepted + usage.denied).unwrap()
    });
    assert_eq!(calls.sum::<usize>(), accepted + refused);
}
