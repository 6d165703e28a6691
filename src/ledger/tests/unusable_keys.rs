//! Damaged and missing data keys: each kind of damage to each kind of key. The ledger starts, names
//! the key, refuses what needs it, takes what revokes, and goes on as before once it is mended.

use std::fs;
use std::path::PathBuf;

use super::company::{create_organization, organization};
use super::{Setup, World, api_key, credential, network, refusal, revoke, submission};
use crate::clock::Entropy;
use crate::degraded::Part;
use crate::domain::command::{
    Actor, AddMember, Command, CreateEndpoint, EndpointTarget, EraseMember, IssueSignInLink,
    RemoveMember, RotateEndpointSecret, RotateKey, SetPassword, SignIn, SignInProof,
};
use crate::domain::ids::{EndpointId, OrganizationId, SecretId, SessionId, UserId};
use crate::domain::personal::Personal;
use crate::domain::record::SignatureScheme;
use crate::ledger::history::PastNetwork;
use crate::ledger::key_holder::KeyHolder;
use crate::ledger::unusable_keys::KeyProblem;
use crate::ledger::{Answer, Record, Submission, SubmitError};
use crate::seal::tests::DAMAGE;

/// Acme with a member and an endpoint, and its neighbor.
struct Acme {
    organization: OrganizationId,
    dora: UserId,
    endpoint: EndpointId,
    secret: SecretId,
    globex: OrganizationId,
}

fn add(organization: OrganizationId, email: &str) -> AddMember {
    AddMember {
        organization,
        email: email.to_owned(),
        name: Some("Dora Diaz".to_owned()),
        role: "viewer".to_owned(),
    }
}

fn new_endpoint(organization: OrganizationId) -> CreateEndpoint {
    CreateEndpoint {
        organization,
        url: "https://acme.example/hook".to_owned(),
        description: None,
        event_types: vec!["api_key.*".to_owned()],
        project: None,
        ordered: false,
        signature: SignatureScheme::V1,
        secret: None,
    }
}

fn acme(world: &World) -> Acme {
    let organization_id = organization(&world.run(create_organization("Acme", "a@acme.example")));
    let globex = organization(&world.run(create_organization("Globex", "b@globex.example")));
    let Record::Member(dora) = world.run(add(organization_id, "d@acme.example")).records[0].clone()
    else {
        panic!("no member");
    };
    let made = world.run(new_endpoint(organization_id));
    let Record::WebhookEndpoint(endpoint) = made.records[0].clone() else {
        panic!("{made:?}");
    };
    Acme {
        organization: organization_id,
        dora: dora.id,
        endpoint: endpoint.id,
        secret: endpoint.secrets[0].id,
        globex,
    }
}

impl Acme {
    fn holders(&self) -> [KeyHolder; 3] {
        let (endpoint, secret) = (self.endpoint, self.secret);
        [
            KeyHolder::Organization(self.organization),
            KeyHolder::Member(self.dora),
            KeyHolder::EndpointSecret { endpoint, secret },
        ]
    }

    fn endpoint_target(&self) -> EndpointTarget {
        EndpointTarget {
            organization: self.organization,
            endpoint: self.endpoint,
        }
    }
}

fn file(setup: &Setup, holder: KeyHolder) -> PathBuf {
    setup.folder().keys().join(holder.data_key().to_string())
}

/// Submits from an address, as HTTP does.
fn submit(world: &World, actor: Actor, command: impl Into<Command>) -> Result<Answer, SubmitError> {
    world.ledger.submit_blocking(Submission {
        network: Some(network("203.0.113.7")),
        ..submission(actor, command)
    })
}

fn sign_in(world: &World, of: &Acme) -> SessionId {
    let link = IssueSignInLink {
        organization: of.organization,
        member: of.dora,
    };
    let link = world.run(Command::IssueSignInLink(link)).sign_in.unwrap();
    let command = Command::SignIn(SignIn {
        organization: of.organization,
        member: of.dora,
        proof: SignInProof::Link(link.hash()),
    });
    let answer = submit(world, Actor::Anonymous, command).unwrap();
    let session = answer.records.iter().find_map(|record| match record {
        Record::Session(session) => Some(session.id),
        Record::Ledger
        | Record::Organization(_)
        | Record::Project(_)
        | Record::Member(_)
        | Record::ServiceAccount(_)
        | Record::Credential(_)
        | Record::WebhookEndpoint(_) => None,
    });
    session.unwrap()
}

fn password(of: &Acme) -> Command {
    Command::SetPassword(SetPassword {
        organization: of.organization,
        password: Personal::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned()),
        current: None,
    })
}

/// Nothing was added to the log, and nothing is staged: the next command stands on the same state.
#[track_caller]
fn refused(world: &World, outcome: Result<Answer, SubmitError>, holder: KeyHolder, before: u64) {
    assert_eq!(refusal(outcome), format!("KeyUnusable({holder:?})"));
    assert_eq!(world.events(), before);
}

/// What works and what does not while a key cannot be used.
fn check_commands(world: &World, of: &Acme, holder: KeyHolder) {
    let revoked = credential(&world.run(api_key(of.organization, "leaked"))).id();
    let rotated = credential(&world.run(api_key(of.organization, "rotated"))).id();
    let before = world.events();
    match holder {
        KeyHolder::Organization(_) => {
            let create = api_key(of.organization, "new");
            refused(
                world,
                submit(world, Actor::Operator, create),
                holder,
                before,
            );
        }
        KeyHolder::Member(_) => {
            let session = sign_in(world, of);
            let before = world.events();
            let outcome = submit(world, Actor::Session(session), password(of));
            refused(world, outcome, holder, before);
        }
        KeyHolder::EndpointSecret { .. } => {
            submit(world, Actor::Operator, api_key(of.organization, "new")).unwrap();
        }
    }
    let answer = submit(world, Actor::Operator, revoke(of.organization, revoked)).unwrap();
    let network = world.ledger.event(answer.position).unwrap().network;
    let is_recorded = !matches!(holder, KeyHolder::Organization(_));
    assert_eq!(matches!(network, PastNetwork::Shown(_)), is_recorded);
    let rotate = RotateKey {
        target: super::target(of.organization, rotated),
        grace_period_seconds: 0,
        unpresented: None,
    };
    submit(world, Actor::Operator, rotate).unwrap();
    let disable = Command::DisableEndpoint(of.endpoint_target());
    submit(world, Actor::Operator, disable).unwrap();
    // The neighbor sees nothing of it.
    let neighbor = submit(world, Actor::Operator, api_key(of.globex, "new")).unwrap();
    let network = world.ledger.event(neighbor.position).unwrap().network;
    assert!(matches!(network, PastNetwork::Shown(_)));
}

fn check(events_between_snapshots: u64, seed: u64) {
    for index in 0..3 {
        for (how, damage) in DAMAGE {
            let mut setup = Setup::new(seed);
            setup.events_between_snapshots = events_between_snapshots;
            let world = setup.create();
            let of = acme(&world);
            let holder = of.holders()[index];
            let setup = world.stopped();
            let kept = fs::read(file(&setup, holder)).unwrap();
            damage(&file(&setup, holder));

            let world = setup.open();
            let unusable = world.ledger.unusable_keys();
            assert_eq!(unusable.len(), 1, "{how}: {unusable:?}");
            assert_eq!(unusable[0].holder, holder, "{how}");
            assert_eq!(unusable[0].file, file(&world.setup, holder), "{how}");
            let missing = unusable[0].problem == KeyProblem::Missing;
            assert_eq!(missing, how == "missing", "{how}");
            assert!(unusable[0].cure().contains("keys import"), "{how}");
            let degraded = world.ledger.degraded().list();
            assert_eq!(degraded.len(), 1, "{how}: {degraded:?}");
            assert_eq!(degraded[0].part, Part::Keys, "{how}");
            check_commands(&world, &of, holder);

            // Mended, it is as if nothing had been.
            let setup = world.stopped();
            let path = file(&setup, holder);
            if path.is_dir() {
                fs::remove_dir(&path).unwrap();
            }
            fs::write(path, kept).unwrap();
            let world = setup.open();
            assert_eq!(world.ledger.unusable_keys(), []);
            let dora = world
                .ledger
                .views()
                .directory
                .member(of.organization, of.dora);
            assert_eq!(dora.unwrap().email.text(), Some("d@acme.example"));
            submit(&world, Actor::Operator, api_key(of.organization, "new")).unwrap();
        }
    }
}

#[test]
fn any_damage_to_any_data_key_is_named_and_stops_neither_revocations_nor_neighbors() {
    check(500_000, 1);
}

#[test]
fn the_same_from_a_snapshot() {
    check(3, 2);
}

#[test]
fn what_no_export_holds_is_renewed_rotated_or_erased_and_added_again() {
    let world = World::new(3);
    let of = acme(&world);
    let setup = world.stopped();
    for holder in of.holders() {
        fs::remove_file(file(&setup, holder)).unwrap();
    }
    let world = setup.open();
    assert_eq!(world.ledger.unusable_keys().len(), 3);
    let id = KeyHolder::Organization(of.organization).data_key();
    world
        .ledger
        .keys()
        .replace_unusable_data_key(id, &mut Entropy::seeded(9))
        .unwrap();
    let rotate = Command::RotateEndpointSecret(RotateEndpointSecret {
        target: of.endpoint_target(),
        overlap_seconds: 0,
        secret: None,
    });
    let rotated = submit(&world, Actor::Operator, rotate).unwrap();
    assert!(rotated.endpoint_secret.is_some());
    let erase = Command::EraseMember(EraseMember {
        organization: of.organization,
        member: of.dora,
        reason: "the key is lost".to_owned(),
    });
    submit(&world, Actor::Operator, erase).unwrap();
    submit(
        &world,
        Actor::Operator,
        add(of.organization, "d@acme.example"),
    )
    .unwrap();
    let world = world.restarted();
    assert_eq!(world.ledger.unusable_keys(), []);
}

#[test]
fn a_member_goes_whatever_is_in_the_place_of_the_key() {
    for (how, damage) in DAMAGE {
        for erased in [true, false] {
            let world = World::new(4);
            let of = acme(&world);
            let setup = world.stopped();
            let path = file(&setup, KeyHolder::Member(of.dora));
            damage(&path);
            let world = setup.open();
            let (organization, member) = (of.organization, of.dora);
            let command = if erased {
                Command::EraseMember(EraseMember {
                    organization,
                    member,
                    reason: "asked for it".to_owned(),
                })
            } else {
                Command::RemoveMember(RemoveMember {
                    organization,
                    member,
                })
            };
            submit(&world, Actor::Operator, command).unwrap();
            let delete = Command::DeleteEndpoint(of.endpoint_target());
            submit(&world, Actor::Operator, delete).unwrap();
            assert!(!erased || !path.exists(), "{how}");
            let world = world.restarted();
            let left = world.ledger.unusable_keys().len();
            assert_eq!(left, usize::from(!erased), "{how}");
        }
    }
}
