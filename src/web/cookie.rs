//! The session cookie, and whether a request that carries one comes from our own pages.
//!
//! A browser sends the cookie along whoever made it send the request. So what changes something is
//! taken only from where the public URL is, which browsers tell by two headers that no page can
//! forge; a request without either must be JSON, which no other site's form can send.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::config::PublicUrl;
use crate::domain::session::SESSION_MS;
use crate::domain::sign_in::OpaqueToken;
use crate::web::body::check_kind;
use crate::web::context::single;
use crate::web::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The cookie's name. The prefix makes browsers refuse it from other hosts and without TLS.
const fn name(is_https: bool) -> &'static str {
    if is_https {
        "__Host-keyledger"
    } else {
        "keyledger"
    }
}

/// The session's token that a request presents. Two of it are refused: one may be planted.
pub(crate) fn presented<'a>(
    headers: &'a HeaderMap,
    public_url: &PublicUrl,
) -> Result<Option<&'a str>, Problem> {
    let name = name(public_url.is_https());
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(of, _)| *of == name).map(|(_, value)| value);
    let (first, second) = (ours.next(), ours.next());
    if second.is_some() {
        let detail = format!("the cookie {name} is given more than once");
        return Err(Problem::bad_request("header_twice", detail));
    }
    Ok(first)
}

/// `Set-Cookie` for a new session.
pub(crate) fn set(token: &OpaqueToken, public_url: &PublicUrl) -> HeaderValue {
    let seconds = SESSION_MS / 1_000;
    let mut value = written(token.reveal(), seconds, public_url);
    value.set_sensitive(true);
    value
}

/// `Set-Cookie` that takes the cookie away.
pub(crate) fn clear(public_url: &PublicUrl) -> HeaderValue {
    written("", 0, public_url)
}

fn written(value: &str, seconds: i64, public_url: &PublicUrl) -> HeaderValue {
    let is_https = public_url.is_https();
    let secure = if is_https { "; Secure" } else { "" };
    let name = name(is_https);
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    // Hex digits and our own words are what a header can hold.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a method may change something.
pub(crate) fn changes(method: &Method) -> bool {
    *method != Method::GET && *method != Method::HEAD
}

/// Refuses what another site may have sent.
pub(crate) fn check_same_site(headers: &HeaderMap, public_url: &PublicUrl) -> Result<(), Problem> {
    let site = single(headers, &SEC_FETCH_SITE)?;
    let origin = single(headers, &header::ORIGIN)?;
    let foreign = site.is_some_and(|site| site != "same-origin")
        || origin.is_some_and(|origin| !public_url.is_origin(origin));
    if foreign {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site_request",
            "a session is not used from another site",
        ));
    }
    if site.is_none() && origin.is_none() {
        check_kind(headers)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_request_that_another_site_may_have_sent_is_refused() {
        let url: PublicUrl = "https://keys.example".parse().unwrap();
        let json = ("content-type", "application/json");
        for (sent, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], "ok"),
            (
                &[("sec-fetch-site", "same-site"), json],
                "cross_site_request",
            ),
            (
                &[("sec-fetch-site", "cross-site"), json],
                "cross_site_request",
            ),
            (&[("sec-fetch-site", "none"), json], "cross_site_request"),
            (&[("origin", "https://keys.example")], "ok"),
            (
                &[("origin", "https://evil.example"), json],
                "cross_site_request",
            ),
            (
                &[("origin", "http://keys.example"), json],
                "cross_site_request",
            ),
            (&[("origin", "null"), json], "cross_site_request"),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://evil.example"),
                ],
                "cross_site_request",
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://keys.example"),
                ],
                "cross_site_request",
            ),
            (&[json], "ok"),
            (&[("content-type", "application/json; charset=utf-8")], "ok"),
            (&[("content-type", "text/plain")], "media_type_not_json"),
            (&[], "media_type_not_json"),
            (&[("host", "keys.example")], "media_type_not_json"),
        ] {
            let outcome = check_same_site(&headers(sent), &url);
            let code = outcome.err().map_or("ok", |problem| problem.code());
            assert_eq!(code, expected, "{sent:?}");
        }
    }

    #[test]
    fn one_cookie_of_ours_is_taken_whatever_stands_beside_it() {
        let http = PublicUrl::default();
        let https: PublicUrl = "https://keys.example".parse().unwrap();
        for (cookie, of_http, of_https) in [
            ("keyledger=a", Some("a"), None),
            ("x=1; __Host-keyledger=b; keyledger2=c", None, Some("b")),
            ("theme=keyledger=a", None, None),
            ("keyledger", None, None),
        ] {
            let headers = headers(&[("cookie", cookie)]);
            assert_eq!(presented(&headers, &http).unwrap(), of_http, "{cookie}");
            assert_eq!(presented(&headers, &https).unwrap(), of_https, "{cookie}");
        }
        for twice in [
            &[("cookie", "keyledger=a; keyledger=b")][..],
            &[("cookie", "keyledger=a"), ("cookie", "keyledger=a")],
        ] {
            let refused = presented(&headers(twice), &http).unwrap_err();
            assert_eq!(refused.code(), "header_twice");
        }
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_of_plain_http() {
        let token = OpaqueToken::compose(&[0xab; 32]);
        let https: PublicUrl = "https://keys.example".parse().unwrap();
        let hex = "ab".repeat(32);
        for (url, expected) in [
            (
                PublicUrl::default(),
                format!("keyledger={hex}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"),
            ),
            (
                https,
                format!(
                    "__Host-keyledger={hex}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"
                ),
            ),
        ] {
            assert_eq!(set(&token, &url), expected.as_str());
        }
        let gone = "keyledger=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax";
        assert_eq!(clear(&PublicUrl::default()), gone);
    }
}
