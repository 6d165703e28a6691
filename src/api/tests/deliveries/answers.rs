//! What receivers answer, as it is shown and kept.

use crate::api::tests::deliveries::*;
use crate::api::tests::secrets::bytes_below;
use crate::webhooks::tests::receivers::{identity, proxy, serve_tls};

/// The URL of the receiver of [`public`].
pub(in crate::api::tests) const PUBLIC_URL: &str = "https://hooks.acme.test/in";

/// A world whose deliveries go through a proxy to one public receiver.
pub(in crate::api::tests) fn public(receiver: Router) -> World {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let identity = identity("hooks.acme.test", 4_000);
    let address = runtime.block_on(async {
        let (proxy, _) = proxy(serve_tls(&identity, receiver)).await;
        proxy.address
    });
    // It serves until the process ends.
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    World::delivering(http_sender::SenderSettings {
        guard: AddressGuard::default(),
        proxy: Some(format!("http://{address}").parse().unwrap()),
        roots_pem: vec![identity.pem],
        ..inside()
    })
}

#[test]
fn an_answer_is_shown_without_the_secrets_in_it() {
    let answer = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&answer);
    let world = public(Router::new().fallback(|| async move { told.lock().unwrap().clone() }));
    let (endpoint, secret) = endpoint(&world, PUBLIC_URL);
    let random = secret.strip_prefix("whsec_").unwrap().to_owned();
    let admin = &world.acme.admin;
    let link = world.link(&world.acme.owner);
    let long = "y".repeat(5_000);
    for (answered, kept) in [
        ("thanks", "thanks"),
        ("", ""),
        ("\u{fc}ber \u{0}", "\u{fc}ber \u{0}"),
        (
            &format!("you sent {secret}, {admin} and {link}!"),
            "you sent [secret], [secret] and [secret]!",
        ),
        (&long, &long[..4_096]),
    ] {
        answered.clone_into(&mut answer.lock().unwrap());
        begun(&world, &format!("{endpoint}/ping"), &json!({}));
        let reply = attempts(&world, &endpoint);
        let attempt = &reply[0];
        assert_eq!(attempt["outcome"], "delivered", "{attempt}");
        assert_eq!(attempt["response"], kept);
        let one = format!("{endpoint}/deliveries/{}", text(&attempt["id"]));
        assert_eq!(shown(&world, &one)["attempts"][0]["response"], kept);
    }
    world.runtime.block_on(world.webhooks().stop());
    let files = bytes_below(&world.folder.path().join("data/webhooks"));
    assert!(memchr::memmem::find(&files, b"you sent [secret]").is_some());
    for secret in [&random, admin, &link] {
        assert_eq!(memchr::memmem::find(&files, secret.as_bytes()), None);
    }
}

#[test]
fn an_answer_from_inside_is_never_shown() {
    let world = World::delivering(inside());
    let address = world.runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(|| async { (StatusCode::OK, "what is inside") });
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    let (endpoint, _) = endpoint(&world, &format!("http://{address}/"));
    begun(&world, &format!("{endpoint}/ping"), &json!({}));
    let listed = attempts(&world, &endpoint);
    let answer = (&listed[0]["status_code"], &listed[0]["response"]);
    assert_eq!(answer, (&json!(200), &json!("")));
}
