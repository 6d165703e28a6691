//! Signing in by an address and a password.
//!
//! Members of several organizations may have the same address, and none of those organizations may
//! learn of the others, nor keep a member of another from signing in. So a sign-in that names no
//! organization is compared with every member of that address, takes as long whether there are any,
//! and counts the same. What fits decides; only what fits several asks for the organization.

use axum::http::StatusCode;

use crate::api::sessions::attempts::{Attempts, Begun};
use crate::api::sessions::passwords::HashClient;
use crate::api::sessions::sign_ins::SignIns;
use crate::api::sessions::unauthenticated::unauthenticated_submission;
use crate::domain::canonical::address_key;
use crate::domain::command::{Actor, Command, SignIn, SignInFailure, SignInProof};
use crate::domain::ids::{EventId, OrganizationId, UserId};
use crate::domain::rejection::Rejection;
use crate::domain::sign_in::Password;
use crate::web::app::App;
use crate::web::context::Context;
use crate::web::problem::Problem;

/// Members with one address that a sign-in without an organization is compared with. Those that
/// came first, so that no later one keeps them out; more need the organization.
const MEMBERS_MAX: usize = 8;
/// A password that was set so recently may have been set to guess at another member's with the same
/// address: what it fits counts as a guess.
const RECENT_MS: i64 = 60 * 60 * 1_000;

/// An address and a password as they were typed.
pub(crate) struct Typed {
    pub(crate) email: String,
    pub(crate) password: Password,
    pub(crate) organization: Option<OrganizationId>,
}

/// An account as it was named, and the members that this may mean.
pub(crate) struct Account {
    /// What failures count under.
    pub(crate) name: String,
    /// The organization, if it was named.
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) members: Vec<(OrganizationId, UserId)>,
}

impl Account {
    fn of_address(app: &App, address: &str, organization: Option<OrganizationId>) -> Self {
        let sessions = &app.ledger.views().sessions;
        let key = address_key(address);
        Self {
            members: sessions.members_by_address(address, organization, MEMBERS_MAX),
            name: match organization {
                Some(organization) => format!("{organization} {key}"),
                None => key,
            },
            organization,
        }
    }

    /// Hashes that a comparison takes, however many members there are. An address has one member
    /// in an organization at most.
    const fn hashes(&self, is_alone: bool) -> usize {
        match self.organization {
            None if !is_alone => MEMBERS_MAX,
            None | Some(_) => 1,
        }
    }
}

/// A member whose password fits, and the event that set it.
pub(crate) struct Fitting {
    pub(crate) organization: OrganizationId,
    pub(crate) member: UserId,
    pub(crate) set_by: EventId,
}

/// What a member signs in with, if the password is that of one member.
pub(crate) async fn sign_in(
    app: &App,
    sign_ins: &SignIns,
    context: &Context,
    typed: Typed,
) -> Result<SignIn, Problem> {
    let account = Account::of_address(app, &typed.email, typed.organization);
    let fitting = compare(app, sign_ins, context, &account, typed.password).await?;
    match fitting.as_slice() {
        [] => Err(Rejection::SignInRefused.into()),
        [one] => Ok(SignIn {
            organization: one.organization,
            member: one.member,
            proof: SignInProof::Password(one.set_by),
        }),
        several => Err(organization_required(several)),
    }
}

/// 409 for a password that fits in several organizations, all of which its owner may know.
fn organization_required(several: &[Fitting]) -> Problem {
    let ids = several.iter().map(|one| one.organization.to_string());
    let ids = ids.collect::<Vec<_>>().join(", ");
    let message = format!("is needed, as the password fits in several: one of {ids}");
    Problem::invalid_field("organization_required", "organization_id", message)
        .turned_into(StatusCode::CONFLICT, "organization_required")
}

/// Compares a password with those of the members. Nothing of the outcome, the time, or what the
/// next attempt waits for depends on members whose it is not.
pub(crate) async fn compare(
    app: &App,
    sign_ins: &SignIns,
    context: &Context,
    account: &Account,
    password: Password,
) -> Result<Vec<Fitting>, Problem> {
    let address = context.address(app);
    let now_ms = app.ledger.monotonic_ms();
    let admitted = sign_ins.attempts.admit(address, now_ms);
    admitted.map_err(Problem::too_many_attempts)?;
    let begun = sign_ins.attempts.begin(&account.name, address, now_ms);
    let begun = begun.map_err(Problem::too_many_attempts)?;
    // Not of an organization that is named: strangers would take its members' places.
    let client = HashClient {
        address,
        organization: None,
    };
    let (known, mut stored) = known(app, &account.members);
    stored.resize(account.hashes(is_alone(app)), None);
    let fits = match password.is_presentable() {
        true => sign_ins.passwords.is_behind(client, password, stored).await,
        false => Ok(vec![false; stored.len()]),
    };
    // Without a place nothing was compared; it counts at its network all the same.
    let fits = fits.inspect_err(|_busy| sign_ins.attempts.undo(&begun))?;
    let fitting = known.into_iter().zip(fits).filter(|(_, fits)| *fits);
    let fitting: Vec<Fitting> = fitting.map(|(known, _)| known).collect();
    if fitting.is_empty() {
        note(app, &sign_ins.attempts, context, account, &begun);
    } else if !fitting.iter().any(|one| one.is_recent(app)) {
        sign_ins.attempts.succeeded(&begun);
    }
    Ok(fitting)
}

/// The passwords of members that have one, with their hashes.
fn known(app: &App, members: &[(OrganizationId, UserId)]) -> (Vec<Fitting>, Vec<Option<String>>) {
    let sessions = &app.ledger.views().sessions;
    let known = members.iter().filter_map(|(organization, member)| {
        let means = sessions.sign_in_means_of_member(*member)?;
        let password = means.password.as_ref()?;
        let known = Fitting {
            organization: *organization,
            member: *member,
            set_by: password.set_by,
        };
        Some((known, password.hash.text().map(str::to_owned)))
    });
    known.unzip()
}

/// Notes failures of members that are there. Nothing waits for it: an answer that came later would
/// tell that they are there. Where several organizations may be meant, none of them is told where
/// the attempt came from.
fn note(app: &App, attempts: &Attempts, context: &Context, account: &Account, begun: &Begun) {
    if account.members.is_empty() {
        // It takes no room of the notes either.
        return;
    }
    let Some(failures) = attempts.failed(begun, app.ledger.monotonic_ms()) else {
        return;
    };
    let alone = is_alone(app);
    for (organization, member) in &account.members {
        let command = Command::NoteSignInFailure(SignInFailure {
            organization: *organization,
            member: *member,
            failures,
        });
        let mut note = unauthenticated_submission(app, context, Actor::System, command);
        if account.organization.is_none() && !alone {
            (note.request_id, note.network) = (None, None);
        }
        if let Err(why) = app.ledger.submit_unattended(note) {
            tracing::warn!(%why, "a failure to sign in could not be noted");
        }
    }
}

/// Whether the ledger has one organization, so that no other has a member of the same address.
fn is_alone(app: &App) -> bool {
    let directory = &app.ledger.views().directory;
    directory.only_organization().is_some()
}

impl Fitting {
    fn is_recent(&self, app: &App) -> bool {
        let EventId(set_by) = self.set_by;
        let set_ms = i64::try_from(set_by.timestamp_ms()).unwrap_or(i64::MAX);
        app.ledger.now().0.saturating_sub(set_ms) < RECENT_MS
    }
}
