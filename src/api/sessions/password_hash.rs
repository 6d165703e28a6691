//! Passwords: argon2id, with the parameters in the hash itself.
//!
//! Slow by intent: a hash takes tens of milliseconds and 19 MiB, so it never runs on a thread that
//! others wait for. The hash is text in PHC form; it is sealed under the member's data key before
//! it is stored. A salt is handed in, never drawn here.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::domain::sign_in::Password;

/// Memory of one hash: OWASP's first choice for argon2id, 19 MiB with two passes.
pub(super) const PASSWORD_HASH_MEMORY_KIB: u32 = 19 * 1_024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes: one thread a hash, so that what runs at once is what is let in at once.
const LANES: u32 = 1;

/// Bytes of a salt.
pub(super) const PASSWORD_SALT_BYTES: usize = 16;

/// A password could not be hashed: the memory cannot be allocated.
#[derive(Debug, thiserror::Error)]
#[error("a password could not be hashed: {0}")]
pub(super) struct PasswordHashError(String);

fn argon2id() -> Result<Argon2<'static>, PasswordHashError> {
    let params = Params::new(PASSWORD_HASH_MEMORY_KIB, PASSES, LANES, None);
    let params = params.map_err(|why| PasswordHashError(why.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash of a password in PHC form: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
///
/// # Errors
/// When the memory is not to be had.
pub(super) fn hash_password(
    password: &Password,
    salt: &[u8; PASSWORD_SALT_BYTES],
) -> Result<String, PasswordHashError> {
    let hash: PasswordHash = argon2id()?
        .hash_password_with_salt(password.expose().as_bytes(), salt)
        .map_err(|why| PasswordHashError(why.to_string()))?;
    Ok(hash.to_string())
}

/// Whether a password is the one behind a hash. Without a hash it takes as long and is not.
///
/// # Errors
/// When the memory cannot be allocated, or the stored hash cannot be parsed.
pub(super) fn verify_password(
    password: &Password,
    stored: Option<&str>,
) -> Result<bool, PasswordHashError> {
    let Some(stored) = stored else {
        hash_password(password, &[0; PASSWORD_SALT_BYTES])?;
        return Ok(false);
    };
    let stored = PasswordHash::new(stored).map_err(|why| PasswordHashError(why.to_string()))?;
    let bytes = password.expose().as_bytes();
    match argon2id()?.verify_password(bytes, &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(why) => Err(PasswordHashError(why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn a_hash_takes_its_own_password_and_no_other() {
        let stored = hash_password(&password("correct horse"), &[7; PASSWORD_SALT_BYTES]).unwrap();
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert!(!stored.contains("horse"));
        assert_ne!(
            stored,
            hash_password(&password("correct horse"), &[8; PASSWORD_SALT_BYTES]).unwrap()
        );
        for (text, stored, expected) in [
            ("correct horse", Some(stored.as_str()), true),
            ("Correct horse", Some(&stored), false),
            ("", Some(&stored), false),
            ("correct horse", None, false),
        ] {
            assert_eq!(
                verify_password(&password(text), stored).unwrap(),
                expected,
                "{text}"
            );
        }
        assert!(verify_password(&password("x"), Some("$1$nonsense")).is_err());
    }
}
