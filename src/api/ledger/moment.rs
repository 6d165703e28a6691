//! Reads of the past: `as_of`, and how many of them run at once.
//!
//! `as_of` is a position (digits), or an instant that is resolved to one; the answer names it in
//! `Ledger-Position`. Statuses are those of that instant. Logs are read in turns, off the async
//! threads.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::log_point::{InvalidLogPoint, LogPoint, Moment};
use crate::domain::record::Credential;
use crate::domain::state::Changes;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;
use crate::ledger::{Ledger, Record};
use crate::tiles::Tiles;
use crate::views::directory::Directory;
use crate::web::app::App;
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::past_reads::HeldPast;
use crate::web::problem::Problem;

/// `as_of` of a read of one record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AsOf {
    pub(crate) as_of: Option<String>,
}

impl Moment {
    /// The moment that `as_of` names.
    pub(crate) async fn named(call: &Call, as_of: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::invalid_query("as_of", why);
        match as_of.parse() {
            Ok(LogPoint::Position(position)) => {
                call.app.ledger.check_position(position)?;
                let at = off_thread(call, move |ledger| ledger.happened_at(position)).await??;
                let position = Some(position);
                Ok(Self { position, at })
            }
            Ok(LogPoint::Instant(at)) if at > call.now() => Err(wrong("lies in the future")),
            Ok(LogPoint::Instant(at)) => {
                let position = off_thread(call, move |ledger| ledger.position_at(at)).await??;
                Ok(Self { position, at })
            }
            Err(no_point @ InvalidLogPoint) => Err(wrong(&no_point.to_string())),
        }
    }

    /// Now, as the views show it.
    pub(crate) fn present(call: &Call) -> Self {
        Self {
            position: call.views().position(),
            at: call.now(),
        }
    }

    /// A credential as it was then; `None` if it was not there yet.
    pub(crate) async fn credential(
        self,
        call: &Call,
        subject: Subject,
    ) -> Result<Option<Arc<Credential>>, Problem> {
        let Some(position) = self.position else {
            return Ok(None);
        };
        let read =
            move |ledger: &Ledger, turn: &mut Turn| ledger.record_as_of(subject, position, turn);
        match in_turn(call, read).await?? {
            Record::Credential(record) => Ok(Some(record)),
            Record::Ledger
            | Record::Organization(_)
            | Record::Project(_)
            | Record::Member(_)
            | Record::ServiceAccount(_)
            | Record::Session(_)
            | Record::WebhookEndpoint(_) => Ok(None),
        }
    }

    /// What `select` takes of the credentials of an organization as they were then, oldest first.
    pub(crate) async fn credentials<T: Default + Send + 'static>(
        self,
        call: &Call,
        organization: OrganizationId,
        select: impl FnOnce(&[Arc<Credential>]) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Some(position) = self.position else {
            return Ok(T::default());
        };
        // It ends with the reading, also after the caller has gone away.
        let mut held = call.hold_past()?;
        let read = move |ledger: &Ledger, turn: &mut Turn| {
            held.reading(turn, |pace| {
                let all = ledger.credentials_as_of(organization, position, pace)?;
                Ok(select(&all))
            })
        };
        Ok(in_turn(call, read).await??)
    }

    /// Names the position in an answer.
    pub(crate) fn stamp(self, response: &mut Response) {
        if let Some(position) = self.position {
            let value = HeaderValue::from(position);
            response.headers_mut().insert(LEDGER_POSITION, value);
        }
    }
}

/// The members, projects, accounts and endpoints of an organization: as they are, or as they were.
pub(crate) enum Then<'a> {
    /// As the views show them.
    Now(&'a Directory),
    /// As they were.
    Was(Box<Past>),
}

/// What there was, in RAM until it has been answered.
pub(crate) struct Past {
    directory: Directory,
    moment: Moment,
    _held: Option<HeldPast>,
}

impl<'a> Then<'a> {
    /// All of an organization's, for a list; or all that there are.
    pub(crate) async fn all(
        call: &'a Call,
        organization: Option<OrganizationId>,
        as_of: Option<&str>,
    ) -> Result<Self, Problem> {
        let Some(as_of) = as_of else {
            return Ok(Self::Now(&call.views().directory));
        };
        let moment = Moment::named(call, as_of).await?;
        // It ends with the reading, also after the caller has gone away.
        let mut held = call.hold_past()?;
        let read = move |ledger: &Ledger, turn: &mut Turn| {
            let events = moment.events();
            let fold = held.reading(turn, |pace| ledger.folded(organization, events, pace))?;
            let directory = Directory::default();
            directory.apply(&fold.state().everything());
            let _held = Some(held);
            Ok::<_, HistoryError>(Past {
                directory,
                moment,
                _held,
            })
        };
        let past = in_turn(call, read).await??;
        Ok(Self::Was(Box::new(past)))
    }

    /// One record alone.
    pub(crate) async fn one(
        call: &'a Call,
        subject: Subject,
        as_of: Option<&str>,
    ) -> Result<Self, Problem> {
        let Some(as_of) = as_of else {
            return Ok(Self::Now(&call.views().directory));
        };
        let moment = Moment::named(call, as_of).await?;
        let directory = Directory::default();
        if let Some(position) = moment.position {
            let read = move |ledger: &Ledger, turn: &mut Turn| {
                ledger.record_as_of(subject, position, turn)
            };
            let mut changes = Changes::default();
            match in_turn(call, read).await?? {
                Record::Organization(record) => changes.organizations.push(record),
                Record::Project(record) => changes.projects.push(record),
                Record::Member(record) => changes.members.push(record),
                Record::ServiceAccount(record) => changes.accounts.push(record),
                Record::WebhookEndpoint(record) => changes.endpoints.push(record),
                Record::Ledger | Record::Credential(_) | Record::Session(_) => {}
            }
            directory.apply(&changes);
        }
        Ok(Self::Was(Box::new(Past {
            directory,
            moment,
            _held: None,
        })))
    }

    /// What there is, or was.
    pub(crate) fn directory(&self) -> &Directory {
        match self {
            Self::Now(directory) => directory,
            Self::Was(past) => &past.directory,
        }
    }

    /// Names the position in an answer that is of the past.
    pub(crate) fn stamped(&self, mut response: Response) -> Response {
        if let Self::Was(past) = self {
            past.moment.stamp(&mut response);
        }
        response
    }
}

/// A read of the past, on a thread that may block, in the turn of the caller's organization: also
/// where a caller of the platform reads another one's records.
pub(crate) async fn in_turn<T: Send + 'static>(
    call: &Call,
    read: impl FnOnce(&Ledger, &mut Turn) -> T + Send + 'static,
) -> Result<T, Problem> {
    let ledger = call.app.ledger.clone();
    let turns = call.app.ledger.turns();
    let of = call.caller.authority.organization;
    Ok(turns.run(of, move |turn| read(&ledger, turn)).await?)
}

/// The same of a read that is shorter than a turn.
pub(crate) async fn off_thread<T: Send + 'static>(
    call: &Call,
    read: impl FnOnce(&Ledger) -> T + Send + 'static,
) -> Result<T, Problem> {
    in_turn(call, |ledger, _turn| read(ledger)).await
}

/// A read of the published tree, which needs no credential: such reads have one line among those
/// of the organizations, and a share by address of the places in it.
pub(crate) async fn published<T: Send + 'static>(
    app: &App,
    address: Option<IpAddr>,
    read: impl FnOnce(&Tiles) -> T + Send + 'static,
) -> Result<T, Problem> {
    let _place = app.past.read_tiles(address)?;
    let tiles = app.ledger.tiles().clone();
    let turns = app.ledger.turns();
    Ok(turns.run_bounded(None, move |_turn| read(&tiles)).await?)
}
