//! A filter that was narrowed: what it does not hold any more goes to no address.

use crate::api::tests::Reply;
use crate::api::tests::deliveries::*;

const HOUR_MS: i64 = 3_600_000;

/// An endpoint of Acme for everything, and a key that manages endpoints and may not read the
/// ledger.
struct Managed {
    world: World,
    endpoint: String,
    hooks: String,
    old: Receiver,
    new: Receiver,
}

impl Managed {
    fn new(ordered: bool) -> Self {
        let world = World::delivering(inside());
        let (old, new) = (Receiver::start(&world), Receiver::start(&world));
        let hooks = world.holder(&["webhooks:write"]);
        let body = json!({"url": old.url(), "event_types": ["*"], "ordered": ordered});
        let (endpoint, _) = endpoint_for(&world, &body);
        Self {
            world,
            endpoint,
            hooks,
            old,
            new,
        }
    }

    fn add_member(&self, name: &str) {
        let body = json!({"email": format!("{name}@acme.example"), "role": "viewer"});
        let members = format!("{}/members", self.world.acme.path);
        let made = self.world.post(&self.world.acme.admin, &members, &body);
        made.expect(201);
    }

    /// The delivery of an event of this type, as an administrator sees it.
    fn delivery(&self, kind: &str) -> String {
        self.world.settled();
        let list = format!("{}/deliveries?type={kind}", self.endpoint);
        let id = text(&shown(&self.world, &list)[0]["id"]);
        format!("{}/deliveries/{id}", self.endpoint)
    }

    /// The key narrows the filter, then leads the endpoint somewhere else.
    fn narrow_and_move(&self) {
        for change in [
            json!({"event_types": ["api_key.*"]}),
            json!({"url": self.new.url()}),
        ] {
            let reply = self.world.patch(&self.hooks, &self.endpoint, &change);
            reply.expect(200);
        }
    }

    fn redeliver(&self, by: &str, delivery: &str) -> Reply {
        let path = format!("{delivery}/redeliver");
        self.world.post(by, &path, &json!({}))
    }

    /// The types of all that the new address has got, after a day of retries.
    fn got(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..24 {
            let got = self.new.all(&self.world);
            names.extend(got.iter().map(|sent| text(&sent.json()["type"])));
            self.world.clock.advance_ms(HOUR_MS);
        }
        names
    }
}

#[test]
fn nothing_of_the_filter_before_reaches_another_address() {
    for (ordered, state) in [
        (false, "delivered"),
        (true, "delivered"),
        (false, "waiting"),
        (true, "waiting"),
        (false, "disabled"),
        (true, "disabled"),
    ] {
        let mut managed = Managed::new(ordered);
        let admin = managed.world.acme.admin.clone();
        let call = |verb: &str| {
            let path = format!("{}/{verb}", managed.endpoint);
            managed.world.post(&managed.hooks, &path, &json!({}))
        };
        if state != "delivered" {
            managed.old.answers(500);
        }
        managed.add_member("before");
        let delivery = managed.delivery("member.added");
        if state == "disabled" {
            call("disable").expect(200);
            managed.add_member("while-disabled");
        }
        managed.narrow_and_move();
        if state == "disabled" {
            call("enable").expect(200);
        }
        let expected = if state == "delivered" {
            state
        } else {
            "skipped"
        };
        managed.world.settled();
        let one = shown(&managed.world, &delivery);
        assert_eq!(one["status"], expected, "{ordered} {state}");
        assert_eq!(one["next_attempt_at"], Value::Null);
        // Asking for it again is in vain, with the leave to read the ledger too.
        let refused = managed.redeliver(&managed.hooks, &delivery);
        assert_eq!(refused.refused(403), "forbidden");
        let refused = managed.redeliver(&admin, &delivery);
        assert_eq!(refused.refused(409), "outside_filter");
        assert!(refused.text.contains("member.added"), "{refused:?}");
        assert_eq!(managed.got(), [""; 0], "{ordered} {state}");
        // What it asks for now arrives.
        key(&managed.world, "CI");
        assert_eq!(managed.got(), ["api_key.created"], "{ordered} {state}");
        let status = shown(&managed.world, &format!("{}/status", managed.endpoint));
        assert_eq!(status["pending"], 0, "{ordered} {state}");
    }
}

#[test]
fn what_the_filter_still_holds_goes_to_the_new_address() {
    let mut managed = Managed::new(false);
    managed.old.answers(500);
    key(&managed.world, "CI");
    managed.add_member("ben");
    managed.world.settled();
    managed.narrow_and_move();
    assert_eq!(managed.got(), ["api_key.created"]);
    let delivery = managed.delivery("api_key.created");
    managed.redeliver(&managed.hooks, &delivery).expect(202);
    assert_eq!(managed.got(), ["api_key.created"]);
}

#[test]
fn deliveries_beyond_the_open_families_are_shown_with_leave_to_read_the_ledger() {
    let managed = Managed::new(false);
    let (world, hooks) = (&managed.world, &managed.hooks);
    let auditor = world.holder(&["webhooks:write", "ledger:read"]);
    key(world, "CI");
    world.settled();
    managed.add_member("ben");
    world.settled();
    let example = json!({"type": "member.removed"});
    begun(world, &format!("{}/example", managed.endpoint), &example);
    let (open, closed) = (
        managed.delivery("api_key.created"),
        managed.delivery("member.added"),
    );
    let test = managed.delivery("member.removed");
    let kinds = |by: &str| {
        let list = world.get(by, &format!("{}/deliveries", managed.endpoint));
        let list = list.expect(200);
        let kinds = list.as_array().unwrap().iter();
        kinds.map(|one| text(&one["type"])).collect::<Vec<_>>()
    };
    // The key of the auditor is made after the endpoint.
    let created = "api_key.created";
    let all = ["member.removed", "member.added", created, created];
    assert_eq!(kinds(&auditor), all);
    assert_eq!(kinds(hooks), ["member.removed", created, created]);
    let list = format!("{}/deliveries?type=member.added", managed.endpoint);
    assert_eq!(world.get(hooks, &list).expect(200), json!([]));
    for delivery in [&open, &test] {
        world.get(hooks, delivery).expect(200);
    }
    assert_eq!(world.get(hooks, &closed).refused(403), "forbidden");
    world.get(&auditor, &closed).expect(200);
    // The filter holds it, and still it takes that leave.
    let refused = managed.redeliver(hooks, &closed);
    assert_eq!(refused.refused(403), "forbidden");
    managed.redeliver(&auditor, &closed).expect(202);
    managed.redeliver(hooks, &open).expect(202);
}

#[test]
fn what_was_before_the_endpoint_is_sent_once_more_with_leave_to_read_the_ledger() {
    let managed = Managed::new(false);
    let admin = &managed.world.acme.admin;
    let from = json!({"from": 0, "types": ["api_key.created"]});
    let replay = format!("{}/replay", managed.endpoint);
    managed.world.post(admin, &replay, &from).expect(202);
    let early = managed.delivery("api_key.created");
    let refused = managed.redeliver(&managed.hooks, &early);
    assert_eq!(refused.refused(403), "forbidden");
    managed.redeliver(admin, &early).expect(202);
}
