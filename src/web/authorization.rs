//! The token that a request presents in `Authorization`: by itself as a bearer token, or in the
//! place of a password.
//!
//! Tools that know nothing but a user name and a password send the token as the password; the user
//! name is not looked at. Pure. A bearer token, which nearly all requests have, is not copied.

use std::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A token that a header presents.
pub(crate) enum PresentedToken<'a> {
    Bearer(&'a str),
    Password(Zeroizing<String>),
}

impl Deref for PresentedToken<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Bearer(token) => token,
            Self::Password(token) => token,
        }
    }
}

/// Why a header presents no token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoToken {
    /// Its scheme is neither Bearer nor Basic.
    OtherScheme,
    /// Its Basic is not base64 of a user name, a colon and a password.
    NotBasic,
}

/// The token in the value of an `Authorization` header.
pub(crate) fn presented_token(value: &str) -> Result<PresentedToken<'_>, NoToken> {
    let (scheme, rest) = value.split_once(' ').ok_or(NoToken::OtherScheme)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(PresentedToken::Bearer(rest.trim()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(NoToken::OtherScheme);
    }
    let pair = STANDARD.decode(rest.trim()).map(Zeroizing::new);
    let pair = pair.map_err(|_no_base64| NoToken::NotBasic)?;
    let pair = std::str::from_utf8(&pair).map_err(|_no_text| NoToken::NotBasic)?;
    let (_user, password) = pair.split_once(':').ok_or(NoToken::NotBasic)?;
    Ok(PresentedToken::Password(Zeroizing::new(
        password.to_owned(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_by_itself_or_as_a_password() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (value, expected) in [
            ("Bearer abc".to_owned(), Ok("abc")),
            ("bearer  abc ".to_owned(), Ok("abc")),
            (basic("ada@example.com:abc"), Ok("abc")),
            (basic(":abc"), Ok("abc")),
            (basic("a:b:c"), Ok("b:c")),
            (basic("a:").replace("Basic", "BASIC"), Ok("")),
            (basic("abc"), Err(NoToken::NotBasic)),
            ("Basic !".to_owned(), Err(NoToken::NotBasic)),
            ("Basic /w==".to_owned(), Err(NoToken::NotBasic)),
            ("Basic".to_owned(), Err(NoToken::OtherScheme)),
            ("Token abc".to_owned(), Err(NoToken::OtherScheme)),
            ("abc".to_owned(), Err(NoToken::OtherScheme)),
        ] {
            let found = presented_token(&value);
            let found = found.as_ref().map(|token| &**token).map_err(|why| *why);
            assert_eq!(found, expected, "{value}");
        }
    }
}
