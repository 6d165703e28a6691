//! A race: verifications in flight while keys are revoked, rotated, narrowed and disabled. Not one
//! that begins after the answer of the end is accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use serde_json::json;
use tokio::task::JoinSet;

use super::{World, answered, ask, text};

/// How each key ends.
const ENDS: [&str; 4] = ["revoke", "rotate", "narrow", "disable"];
/// Keys of each.
const EACH: usize = 60;
/// Tasks that verify, each as fast as it can.
const VERIFIERS: usize = 4;

/// A key and whether its end has been answered.
struct Target {
    path: String,
    raw: String,
    end: &'static str,
    ended: AtomicBool,
}

/// How one way of asking tells of a secret: whether it is accepted.
async fn accepted(router: &Router, way: usize, (gateway, raw): (&str, &str)) -> bool {
    let form = "application/x-www-form-urlencoded";
    let scopes = ["cases:write"];
    match way {
        0 => {
            let body = json!({"key": raw, "required_scopes": scopes});
            let verify = ask("POST", "/v1/verify").by(gateway).json(&body);
            answered(router.clone(), verify).await.expect(200)["valid"] == true
        }
        1 => {
            let body = json!({"keys": [{"key": raw, "required_scopes": scopes}]});
            let batch = ask("POST", "/v1/verify/batch").by(gateway).json(&body);
            let answer = answered(router.clone(), batch).await.expect(200);
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
            let answer = answered(router.clone(), asked).await.expect(200);
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
    let targets = Arc::new(targets);
    let (before, after) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(3).enable_all().build().unwrap();
    let admin = world.acme.admin.clone();
    runtime.block_on(async {
        let mut verifiers = JoinSet::new();
        for way in 0..VERIFIERS {
            let (router, targets) = (world.router.clone(), Arc::clone(&targets));
            let (before, after) = (Arc::clone(&before), Arc::clone(&after));
            let (done, gateway) = (Arc::clone(&done), gateway.clone());
            verifiers.spawn(async move {
                for (round, target) in targets.iter().cycle().enumerate() {
                    let ended = target.ended.load(Ordering::SeqCst);
                    let good = accepted(&router, (way + round) % 4, (&gateway, &target.raw)).await;
                    assert!(!(ended && good), "accepted after its {}", target.end);
                    let count = if good { &before } else { &after };
                    count.fetch_add(1, Ordering::Relaxed);
                    if round % targets.len() == 0 && done.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
        }
        for target in targets.iter() {
            end(&world.router, &admin, target).await;
            // The others are to run in between.
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::SeqCst);
        while let Some(verified) = verifiers.join_next().await {
            verified.unwrap();
        }
    });
    let (before, after) = (
        before.load(Ordering::Relaxed),
        after.load(Ordering::Relaxed),
    );
    assert!(
        before > 50 && after > 50,
        "{before} accepted, {after} refused"
    );
    // What was recorded is what was answered: each of the ways leaves one call.
    world.usage.settle();
    let calls = targets.iter().map(|target| {
        let id = text(&json!(target.path.rsplit('/').next().unwrap()));
        let usage = world.usage.of(id.parse().unwrap());
        usize::try_from(usage.accepted + usage.denied).unwrap()
    });
    assert_eq!(calls.sum::<usize>(), before + after);
}
