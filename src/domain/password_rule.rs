//! Which passwords may be set.

use super::rejection::Rejection;
use super::sign_in::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, Password};

impl Password {
    /// Whether it may be set. Length is all that is asked: rules of composition make people choose
    /// what they can be guessed by.
    pub fn check(&self) -> Result<(), Rejection> {
        if self.expose().chars().count() < PASSWORD_CHARS_MIN {
            return Err(Rejection::PasswordTooShort);
        }
        if !self.is_presentable() {
            return Err(Rejection::FieldTooLong {
                field: "password",
                max: PASSWORD_BYTES_MAX,
                unit: "bytes",
            });
        }
        Ok(())
    }
}
