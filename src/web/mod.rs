//! Transport: how requests come in and answers go out.
//!
//! Connections and their limits, the frame around every route, credentials and cookies, bodies,
//! lists, streams, and problems, whose statuses are made in `problem` alone. The only room beside
//! `api` that knows HTTP.

pub(crate) mod answer;
pub(crate) mod app;
pub(crate) mod auth;
pub(crate) mod authorization;
pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod codes;
pub(crate) mod connection_limits;
pub(crate) mod connections;
pub(crate) mod context;
pub(crate) mod cookie;
pub(crate) mod forwarded;
pub(crate) mod frame;
pub(crate) mod http_settings;
pub(crate) mod ledger_position;
pub(crate) mod list_cursor;
pub(crate) mod lists;
pub(crate) mod load;
pub(crate) mod method_name;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod past_reads;
pub(crate) mod path;
pub(crate) mod problem;
pub(crate) mod record_usage;
pub(crate) mod request_id;
pub(crate) mod route_rules;
pub(crate) mod shares;
pub(crate) mod spans;
pub(crate) mod streams;
pub(crate) mod tls;
pub(crate) mod trace;
