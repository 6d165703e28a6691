//! Sessions, links and passwords in RAM: the member behind a cookie, the means to sign in.
//!
//! Owns when each session was last used. That is kept nowhere else: after a restart a session
//! counts as last used when it began, which the log can prove, so that a restart revives nothing.
//! Must never let a cookie wait for the writer: sessions are in a map that is read without locks.
//! Records flow in from committed batches by [`SessionsView::apply`], one thread at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use papaya::HashMap as LockFreeMap;

use crate::domain::access::Authority;
use crate::domain::canonical::ComparedAddress;
use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{OrganizationId, SessionId, UserId};
use crate::domain::record::Member;
use crate::domain::secret::SecretHash;
use crate::domain::session::{IDLE_MS, Session, SignInMeans};
use crate::domain::sign_in::presented;
use crate::domain::state::Changes;
use crate::domain::time::Timestamp;

use super::directory::Directory;

/// Not used for so long that it is dead for good, whatever the clock says later: no use is later.
const DEAD: i64 = i64::MAX;

/// Every session that has not ended, and what each member can sign in with.
pub struct SessionsView {
    by_hash: LockFreeMap<[u8; 32], Arc<LiveSession>>,
    shelves: RwLock<SignInShelves>,
}

/// A session with its member, whose role stays as it is: a change of it ends the session.
struct LiveSession {
    session: Arc<Session>,
    member: Arc<Member>,
    last_seen_ms: AtomicI64,
}

#[derive(Default)]
struct SignInShelves {
    of_members: BTreeMap<(UserId, SessionId), [u8; 32]>,
    means: BTreeMap<UserId, Arc<SignInMeans>>,
    links: BTreeMap<[u8; 32], UserId>,
    /// Members by the key of their address.
    addresses: BTreeMap<String, BTreeSet<(OrganizationId, UserId)>>,
    /// The same by the member: the record of an erased member no longer holds it.
    address_of: BTreeMap<UserId, ComparedAddress>,
}

/// A session that is accepted.
#[derive(Clone, Debug)]
pub struct SignedInMember {
    pub session: Arc<Session>,
    /// What its member can do.
    pub authority: Authority,
}

/// A session as its member sees it.
#[derive(Clone, Debug)]
pub struct SessionLastSeen {
    pub session: Arc<Session>,
    /// When it was last used, as far as this process knows.
    pub last_seen_at: Timestamp,
}

impl fmt::Debug for SessionsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsView")
            .field("sessions", &self.by_hash.len())
            .finish_non_exhaustive()
    }
}

impl Default for SessionsView {
    fn default() -> Self {
        Self {
            by_hash: LockFreeMap::new(),
            shelves: RwLock::default(),
        }
    }
}

impl LiveSession {
    /// Whether the session can be used at `now`; one that was idle for too long never again, also
    /// if the clock is set back.
    fn is_live(&self, now: Timestamp) -> bool {
        let seen = self.last_seen_ms.load(Ordering::Acquire);
        if seen == DEAD || !self.session.is_live(now) {
            return false;
        }
        if Timestamp(seen).plus_ms(IDLE_MS) > now {
            return true;
        }
        self.last_seen_ms.store(DEAD, Ordering::Release);
        false
    }

    fn touch(&self, now: Timestamp) {
        self.last_seen_ms.fetch_max(now.0, Ordering::AcqRel);
    }
}

impl SessionsView {
    /// Takes what a committed batch changed, after the directory has. When it returns, no request
    /// that starts later is let in by a session that the batch ended.
    pub fn apply(&self, changes: &Changes, directory: &Directory) {
        let news = &changes.sign_ins;
        if changes.members.is_empty() && news.sessions.is_empty() && news.means.is_empty() {
            return;
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        for session in &news.sessions {
            self.put(session, directory, &mut shelves);
        }
        for means in &news.means {
            shelves.put_means(means);
        }
        for member in &changes.members {
            shelves.put_member(member);
        }
    }

    fn put(&self, session: &Arc<Session>, directory: &Directory, shelves: &mut SignInShelves) {
        let key = (session.user, session.id);
        let member = directory.member(session.organization, session.user);
        let (None, Some(member)) = (session.ended, member) else {
            self.by_hash.pin().remove(&session.hash.0);
            shelves.of_members.remove(&key);
            return;
        };
        shelves.of_members.insert(key, session.hash.0);
        let entry = LiveSession {
            session: Arc::clone(session),
            member,
            last_seen_ms: AtomicI64::new(session.stamp.created_at.0),
        };
        self.by_hash.pin().insert(session.hash.0, Arc::new(entry));
    }

    /// The member whose session a presented token is, if it can be used at `now`; counts as a use.
    pub fn authenticate_and_touch(
        &self,
        token: &str,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Option<SignedInMember> {
        let sessions = self.by_hash.pin();
        let entry = sessions.get(&presented(token)?.0)?;
        if !entry.is_live(now) {
            return None;
        }
        entry.touch(now);
        let session = Arc::clone(&entry.session);
        let authority = Authority::of_session(session.id, &entry.member, catalogue);
        Some(SignedInMember { session, authority })
    }

    /// The sessions of a member that can be used at `now`, newest first.
    #[must_use]
    pub fn live_sessions_of_member(&self, member: UserId, now: Timestamp) -> Vec<SessionLastSeen> {
        let shelves = self.read();
        let first = (member, SessionId(ulid::Ulid(0)));
        let of_member = shelves.of_members.range(first..);
        let of_member = of_member.take_while(|((of, _), _)| *of == member);
        let sessions = self.by_hash.pin();
        let mut seen: Vec<SessionLastSeen> = of_member
            .filter_map(|(_, hash)| sessions.get(hash))
            .filter(|entry| entry.is_live(now))
            .map(|entry| SessionLastSeen {
                session: Arc::clone(&entry.session),
                last_seen_at: Timestamp(entry.last_seen_ms.load(Ordering::Acquire)),
            })
            .collect();
        seen.reverse();
        seen
    }

    /// What a member can sign in with.
    #[must_use]
    pub fn sign_in_means_of_member(&self, member: UserId) -> Option<Arc<SignInMeans>> {
        self.read().means.get(&member).cloned()
    }

    /// The sign-in means of the member whose link has this hash, if it can be used at `now`.
    #[must_use]
    pub fn sign_in_means_by_link(
        &self,
        hash: SecretHash,
        now: Timestamp,
    ) -> Option<Arc<SignInMeans>> {
        let shelves = self.read();
        let means = shelves.means.get(shelves.links.get(&hash.0)?)?;
        means.takes_link(hash, now).then(|| Arc::clone(means))
    }

    /// The members with this address, in the organization if one is named: at most `max`, those
    /// whose address is spelled so before the others, then those that have a password, then those
    /// that came first.
    #[must_use]
    pub fn members_by_address(
        &self,
        address: &str,
        organization: Option<OrganizationId>,
        max: usize,
    ) -> Vec<(OrganizationId, UserId)> {
        let asked = ComparedAddress::of(address);
        let shelves = self.read();
        let members = shelves.addresses.get(&asked.key);
        let members = members.into_iter().flatten().copied();
        let mut members: Vec<_> = members
            .filter(|(of, _)| organization.is_none_or(|organization| organization == *of))
            .collect();
        members.sort_by_key(|(_, member)| {
            let means = shelves.means.get(member);
            let has_password = means.is_some_and(|means| means.password.is_some());
            let address = shelves.address_of.get(member);
            let is_spelled_so = address.is_some_and(|own| own.is_spelled_like(&asked));
            (!is_spelled_so, !has_password, *member)
        });
        members.truncate(max);
        members
    }

    fn read(&self) -> RwLockReadGuard<'_, SignInShelves> {
        // A panic between two inserts leaves whole records, so that a poisoned lock is still good.
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignInShelves {
    fn put_means(&mut self, means: &Arc<SignInMeans>) {
        self.drop_means(means.user);
        if let Some(link) = &means.link {
            self.links.insert(link.hash.0, means.user);
        }
        self.means.insert(means.user, Arc::clone(means));
    }

    fn drop_means(&mut self, user: UserId) {
        let old = self.means.remove(&user);
        if let Some(link) = old.as_ref().and_then(|means| means.link.as_ref()) {
            self.links.remove(&link.hash.0);
        }
    }

    fn put_member(&mut self, member: &Member) {
        if member.removed {
            self.drop_means(member.id);
        }
        let key = (member.organization, member.id);
        if let Some(address) = self.address_of.remove(&member.id)
            && let Some(holders) = self.addresses.get_mut(&address.key)
        {
            holders.remove(&key);
            if holders.is_empty() {
                self.addresses.remove(&address.key);
            }
        }
        let address = member.email.text().filter(|_| !member.removed);
        if let Some(address) = address.map(ComparedAddress::of) {
            let holders = self.addresses.entry(address.key.clone()).or_default();
            holders.insert(key);
            self.address_of.insert(member.id, address);
        }
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::EventId;
    use crate::domain::personal::Personal;
    use crate::domain::session::{
        MemberPassword, SESSION_MS, SessionEnd, SignInChanges, SignInLink, SignedInBy,
    };
    use crate::domain::sign_in::OpaqueToken;
    use crate::views::fixtures::stamp;

    const OF: OrganizationId = OrganizationId(Ulid(1));
    const ANN: UserId = UserId(Ulid(2));

    fn member(of: OrganizationId, id: UserId, removed: bool) -> Arc<Member> {
        Arc::new(Member {
            id,
            organization: of,
            email: Personal::new("Ann@Acme.example".to_owned()),
            name: None,
            role: "viewer".to_owned(),
            removed,
            erased_at: None,
            sealed_by: EventId(Ulid(0)),
            stamp: stamp(1, Timestamp(0)),
        })
    }

    fn token(id: u8) -> OpaqueToken {
        OpaqueToken::compose(&[id; 32])
    }

    fn session(id: u8) -> Session {
        Session {
            id: SessionId(Ulid(u128::from(id))),
            organization: OF,
            user: ANN,
            hash: token(id).hash(),
            by: SignedInBy::Link,
            expires_at: Timestamp(SESSION_MS),
            ended: None,
            stamp: stamp(1, Timestamp(0)),
        }
    }

    /// Sessions of Ann, begun at 0.
    fn of_ann(ids: &[u8]) -> (SessionsView, Directory) {
        let (sessions, directory) = (SessionsView::default(), Directory::default());
        let changes = Changes {
            members: vec![member(OF, ANN, false)],
            sign_ins: SignInChanges {
                sessions: ids.iter().map(|id| Arc::new(session(*id))).collect(),
                means: Vec::new(),
            },
            ..Changes::default()
        };
        directory.apply(&changes);
        sessions.apply(&changes, &directory);
        (sessions, directory)
    }

    fn live(sessions: &SessionsView, id: u8, ms: i64) -> bool {
        let catalogue = Catalogue::embedded().unwrap();
        let found = sessions.authenticate_and_touch(token(id).reveal(), &catalogue, Timestamp(ms));
        found.is_some()
    }

    #[test]
    fn a_session_that_is_used_lasts_and_an_idle_one_never_comes_back() {
        let (sessions, _) = of_ann(&[1, 2]);
        for hour in 1..12 {
            let last = hour * IDLE_MS - hour;
            assert!(live(&sessions, 1, last), "{hour}");
        }
        assert!(!live(&sessions, 1, SESSION_MS));
        assert!(!live(&sessions, 2, IDLE_MS));
        // The clock goes back.
        assert!(!live(&sessions, 2, 1));
        assert!(sessions.live_sessions_of_member(ANN, Timestamp(1)).len() == 1);
        assert!(!live(&sessions, 3, 0));
    }

    #[test]
    fn an_ended_session_is_gone() {
        let (sessions, directory) = of_ann(&[1, 2]);
        let seen = sessions.live_sessions_of_member(ANN, Timestamp(1));
        let newest = seen.iter().map(|seen| seen.session.id.ulid().0);
        assert_eq!(newest.collect::<Vec<_>>(), [2, 1]);
        let ended = Session {
            ended: Some((Timestamp(1), SessionEnd::SignedOut)),
            ..session(1)
        };
        let mut changes = Changes::default();
        changes.sign_ins.sessions.push(Arc::new(ended));
        sessions.apply(&changes, &directory);
        assert!(!live(&sessions, 1, 1) && live(&sessions, 2, 1));
        assert_eq!(sessions.live_sessions_of_member(ANN, Timestamp(1)).len(), 1);
    }

    #[test]
    fn a_link_is_found_until_another_takes_its_place_or_the_member_goes() {
        let (sessions, directory) = of_ann(&[]);
        let means = |id, position| SignInMeans {
            user: ANN,
            organization: OF,
            link: Some(SignInLink {
                hash: token(id).hash(),
                expires_at: Timestamp(10),
            }),
            password: None,
            position,
        };
        let put = |means| {
            let mut changes = Changes::default();
            changes.sign_ins.means.push(Arc::new(means));
            sessions.apply(&changes, &directory);
        };
        let found = |id| {
            sessions
                .sign_in_means_by_link(token(id).hash(), Timestamp(9))
                .is_some()
        };
        put(means(7, 1));
        assert!(found(7));
        assert!(
            sessions
                .sign_in_means_by_link(token(7).hash(), Timestamp(10))
                .is_none()
        );
        put(means(8, 2));
        assert!(found(8) && !found(7));
        let changes = Changes {
            members: vec![member(OF, ANN, true)],
            ..Changes::default()
        };
        sessions.apply(&changes, &directory);
        assert!(!found(8) && sessions.sign_in_means_of_member(ANN).is_none());
    }

    #[test]
    fn an_address_names_its_members() {
        let (sessions, directory) = of_ann(&[]);
        let globex = OrganizationId(Ulid(9));
        let put = |removed| {
            let changes = Changes {
                members: vec![member(globex, UserId(Ulid(3)), removed)],
                ..Changes::default()
            };
            sessions.apply(&changes, &directory);
        };
        let address = "ANN@acme.EXAMPLE";
        let of = |organization| sessions.members_by_address(address, organization, 8);
        let (ann, other) = ((OF, ANN), (globex, UserId(Ulid(3))));
        assert_eq!(of(None), [ann]);
        put(false);
        let mut both = [ann, other];
        both.sort_by_key(|(_, member)| *member);
        assert_eq!(of(None), both);
        assert_eq!(sessions.members_by_address(address, None, 1), both[..1]);
        assert_eq!((of(Some(OF)), of(Some(globex))), (vec![ann], vec![other]));
        // A password comes before a member without one.
        let with_password = SignInMeans {
            user: other.1,
            organization: globex,
            link: None,
            password: Some(MemberPassword {
                hash: Personal::new("$argon2id$".to_owned()),
                set_by: EventId(Ulid(5)),
            }),
            position: 9,
        };
        let mut changes = Changes::default();
        changes.sign_ins.means = vec![Arc::new(with_password)];
        sessions.apply(&changes, &directory);
        assert_eq!(sessions.members_by_address(address, None, 1), [other]);
        put(true);
        assert_eq!(of(None), [ann]);
        assert_eq!(of(Some(globex)), []);
        // The record of an erased member says no address any more.
        let mut erased = Member::clone(&member(OF, ANN, true));
        erased.email.open(None);
        let changes = Changes {
            members: vec![Arc::new(erased)],
            ..Changes::default()
        };
        sessions.apply(&changes, &directory);
        assert_eq!(of(None), []);
        assert_eq!(sessions.members_by_address("eve@acme.example", None, 8), []);
    }

    #[test]
    fn an_address_is_found_in_whatever_form_it_was_stored() {
        let (sessions, directory) = (SessionsView::default(), Directory::default());
        let older = [
            "jose\u{301}@b\u{fc}cher.example",
            "jos\u{e9}@b\u{fc}cher.example",
        ];
        let members = (1..).zip(older).map(|(id, email)| {
            let mut member = Member::clone(&member(OF, UserId(Ulid(id)), false));
            member.email = Personal::new(email.to_owned());
            Arc::new(member)
        });
        let changes = Changes {
            members: members.collect(),
            ..Changes::default()
        };
        directory.apply(&changes);
        sessions.apply(&changes, &directory);
        let found = |address: &str| {
            let members = sessions.members_by_address(address, Some(OF), 8);
            members
                .into_iter()
                .map(|(_, id)| id.ulid().0)
                .collect::<Vec<_>>()
        };
        // Each by its own form first, by any other form both.
        assert_eq!(found(older[0]), [1, 2]);
        assert_eq!(found("JOSE\u{301}@B\u{dc}CHER.example"), [1, 2]);
        assert_eq!(found(older[1]), [2, 1]);
        assert_eq!(found(" jos\u{e9}@xn--bcher-kva.example"), [1, 2]);
        assert_eq!(found("jose@xn--bcher-kva.example"), [0; 0]);
    }
}
