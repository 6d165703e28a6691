//! Of a call, what may say who made it: the client's address and name, the path, the request's id.
//!
//! Owns how they are written within a record, and the flags that say which are there.

use std::net::IpAddr;

use super::Call;
use super::record::{Bytes, put_long, put_short};

pub(super) const ENDPOINT_MAX: usize = 1_024;
pub(super) const METHOD_MAX: usize = 32;
pub(super) const REQUEST_ID_MAX: usize = 128;
pub(super) const USER_AGENT_MAX: usize = 256;

const HAS_V4: u16 = 4;
const HAS_V6: u16 = 8;
const HAS_REQUEST_ID: u16 = 16;
const HAS_USER_AGENT: u16 = 32;

/// The texts of a call and where it came from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Texts<'a> {
    pub(super) ip: Option<IpAddr>,
    pub(super) endpoint: &'a str,
    pub(super) method: &'a str,
    pub(super) request_id: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// Those of a call, as long as they may be.
    pub(super) fn of(call: &Call<'a>) -> Self {
        Self {
            ip: call.ip,
            endpoint: cut(call.endpoint, ENDPOINT_MAX),
            method: cut(call.method, METHOD_MAX),
            request_id: call.request_id.map(|id| cut(id, REQUEST_ID_MAX)),
            user_agent: call.user_agent.map(|agent| cut(agent, USER_AGENT_MAX)),
        }
    }

    /// Which are there.
    pub(super) fn flags(&self) -> u16 {
        let flag = |has: bool, bit: u16| if has { bit } else { 0 };
        flag(matches!(self.ip, Some(IpAddr::V4(_))), HAS_V4)
            | flag(matches!(self.ip, Some(IpAddr::V6(_))), HAS_V6)
            | flag(self.request_id.is_some(), HAS_REQUEST_ID)
            | flag(self.user_agent.is_some(), HAS_USER_AGENT)
    }

    /// Appends them.
    pub(super) fn put(&self, to: &mut Vec<u8>) {
        match self.ip {
            Some(IpAddr::V4(ip)) => to.extend_from_slice(&ip.octets()),
            Some(IpAddr::V6(ip)) => to.extend_from_slice(&ip.octets()),
            None => {}
        }
        put_long(to, self.endpoint);
        put_short(to, self.method);
        if let Some(id) = self.request_id {
            put_short(to, id);
        }
        if let Some(agent) = self.user_agent {
            put_long(to, agent);
        }
    }

    /// Takes those that the flags name.
    pub(super) fn take(from: &mut Bytes<'a>, flags: u16) -> Option<Self> {
        let has = |bit: u16| flags & bit != 0;
        let ip = match (has(HAS_V4), has(HAS_V6)) {
            (true, _) => Some(IpAddr::from(from.array::<4>()?)),
            (false, true) => Some(IpAddr::from(from.array::<16>()?)),
            (false, false) => None,
        };
        let (endpoint, method) = (from.long()?, from.short()?);
        let request_id = match has(HAS_REQUEST_ID) {
            true => Some(from.short()?),
            false => None,
        };
        let user_agent = match has(HAS_USER_AGENT) {
            true => Some(from.long()?),
            false => None,
        };
        Some(Self {
            ip,
            endpoint,
            method,
            request_id,
            user_agent,
        })
    }
}

/// At most `max` bytes of a text, whole characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}
