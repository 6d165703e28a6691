//! Events of sessions, and what an event changes of how a member signs in.
//!
//! A session that ends leaves the state: its events are over. A snapshot may have been taken after
//! that, so an end without a session is nothing to complain of. The means to sign in have a
//! position of their own, as chains and commands have: an event may change them beside its subject.

use super::{WRONG_SUBJECT, new_stamp, organization_of, touch};
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::ids::{Principal, SessionId, Subject, UserId};
use crate::domain::session::{MemberPassword, Session, SignInLink, SignInMeans, SignedInBy};
use crate::domain::state::State;

impl State {
    pub(super) fn apply_to_session(
        &mut self,
        id: SessionId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        if let Fact::SessionStarted(data) = fact {
            let session = Session {
                id,
                organization: organization_of(event)?,
                user: data.user_id,
                hash: data.hash,
                by: data.by,
                expires_at: data.expires_at,
                ended: None,
                stamp: new_stamp(event, Some(Principal::User(data.user_id))),
            };
            self.sessions.set(id, session);
            self.sessions_of.set((data.user_id, id), ());
        } else if let Fact::SessionEnded(data) = fact {
            let Some(session) = self.sessions.get(&id) else {
                return Ok(());
            };
            let mut session = (**session).clone();
            touch(&mut session.stamp, event);
            session.ended = Some((event.occurred_at, data.reason));
            self.sessions.remove(id);
            self.sessions_of.remove((session.user, id));
            self.sessions_ended.push(session.into());
        } else {
            return Err(WRONG_SUBJECT);
        }
        Ok(())
    }

    /// What an event changes of a member's link and password. What could be used under an earlier
    /// role or beside an earlier password cannot be used any more.
    pub(super) fn apply_means(&mut self, event: &Event) {
        match (event.subject, &event.fact) {
            (Subject::Member(user), Fact::SignInLinkIssued(data)) => {
                self.change_means(user, event, |means| {
                    means.link = Some(SignInLink {
                        hash: data.hash,
                        expires_at: data.expires_at,
                    });
                });
            }
            (Subject::Member(user), Fact::PasswordSet(data)) => {
                self.change_means(user, event, |means| {
                    means.link = None;
                    means.password = Some(MemberPassword {
                        hash: data.password.clone(),
                        set_by: event.id,
                    });
                });
            }
            (Subject::Member(user), Fact::MemberRoleChanged(data)) => {
                self.end_means(user, event, |means| {
                    means.link = None;
                    means.password = means.password.take().filter(|_| !data.password_ended);
                });
            }
            (Subject::Member(user), Fact::MemberRemoved(_)) => {
                if self.sign_ins.contains(&user) {
                    self.sign_ins.remove(user);
                }
            }
            (Subject::Session(_), Fact::SessionStarted(data)) if data.by == SignedInBy::Link => {
                self.end_means(data.user_id, event, |means| means.link = None);
            }
            (_, _) => {}
        }
    }

    /// Changes the means of a member that has some; others get none by it.
    fn end_means(&mut self, user: UserId, event: &Event, change: impl FnOnce(&mut SignInMeans)) {
        if self.sign_ins.contains(&user) {
            self.change_means(user, event, change);
        }
    }

    fn change_means(&mut self, user: UserId, event: &Event, change: impl FnOnce(&mut SignInMeans)) {
        let known = self.sign_ins.get(&user);
        let Some(place) = event.organization else {
            return;
        };
        if known.is_some_and(|known| known.position >= event.position) {
            return;
        }
        let mut means = known.map_or_else(
            || SignInMeans {
                user,
                organization: place.id,
                link: None,
                password: None,
                position: event.position,
            },
            |known| (**known).clone(),
        );
        means.position = event.position;
        change(&mut means);
        self.sign_ins.set(user, means);
    }
}
