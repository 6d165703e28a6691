//! Of a call, what may say who made it: the client's address and name, the path, the request's id.
//!
//! Owns how they are written within a record, and the flags that say which are there.

use std::net::IpAddr;

use super::CredentialCall;
use super::call_record::{ByteReader, put_long_text, put_short_text};

pub(super) const ENDPOINT_BYTES_MAX: usize = 1_024;
pub(super) const METHOD_BYTES_MAX: usize = 32;
pub(super) const REQUEST_ID_BYTES_MAX: usize = 128;
pub(super) const USER_AGENT_BYTES_MAX: usize = 256;

const HAS_V4: u16 = 4;
const HAS_V6: u16 = 8;
const HAS_REQUEST_ID: u16 = 16;
const HAS_USER_AGENT: u16 = 32;

/// The texts of a call and where it came from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct CallTexts<'a> {
    pub(super) ip: Option<IpAddr>,
    pub(super) endpoint: &'a str,
    pub(super) method: &'a str,
    pub(super) request_id: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
}

impl<'a> CallTexts<'a> {
    /// Those of a call, as long as they may be.
    pub(super) fn truncated_from(call: &CredentialCall<'a>) -> Self {
        Self {
            ip: call.ip,
            endpoint: truncate_to_bytes(call.endpoint, ENDPOINT_BYTES_MAX),
            method: truncate_to_bytes(call.method, METHOD_BYTES_MAX),
            request_id: call
                .request_id
                .map(|id| truncate_to_bytes(id, REQUEST_ID_BYTES_MAX)),
            user_agent: call
                .user_agent
                .map(|agent| truncate_to_bytes(agent, USER_AGENT_BYTES_MAX)),
        }
    }

    /// Which are there.
    pub(super) fn presence_flags(&self) -> u16 {
        let flag = |has: bool, bit: u16| if has { bit } else { 0 };
        flag(matches!(self.ip, Some(IpAddr::V4(_))), HAS_V4)
            | flag(matches!(self.ip, Some(IpAddr::V6(_))), HAS_V6)
            | flag(self.request_id.is_some(), HAS_REQUEST_ID)
            | flag(self.user_agent.is_some(), HAS_USER_AGENT)
    }

    /// Appends them.
    pub(super) fn put_texts(&self, to: &mut Vec<u8>) {
        match self.ip {
            Some(IpAddr::V4(ip)) => to.extend_from_slice(&ip.octets()),
            Some(IpAddr::V6(ip)) => to.extend_from_slice(&ip.octets()),
            None => {}
        }
        put_long_text(to, self.endpoint);
        put_short_text(to, self.method);
        if let Some(id) = self.request_id {
            put_short_text(to, id);
        }
        if let Some(agent) = self.user_agent {
            put_long_text(to, agent);
        }
    }

    /// Takes those that the flags name.
    pub(super) fn read_texts(from: &mut ByteReader<'a>, flags: u16) -> Option<Self> {
        let has = |bit: u16| flags & bit != 0;
        let ip = match (has(HAS_V4), has(HAS_V6)) {
            (true, _) => Some(IpAddr::from(from.read_array::<4>()?)),
            (false, true) => Some(IpAddr::from(from.read_array::<16>()?)),
            (false, false) => None,
        };
        let (endpoint, method) = (from.read_long_text()?, from.read_short_text()?);
        let request_id = match has(HAS_REQUEST_ID) {
            true => Some(from.read_short_text()?),
            false => None,
        };
        let user_agent = match has(HAS_USER_AGENT) {
            true => Some(from.read_long_text()?),
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
fn truncate_to_bytes(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}
