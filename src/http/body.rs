//! JSON bodies: read within a bound, and refused with the name of the field at fault.
//!
//! A body is read only after the caller has been let in. Not JSON: 400. JSON of another shape: 422
//! naming the field. The field names come from serde's own hooks, never from the text of a message.

use std::fmt;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::{Map, Value};

use super::problem::Problem;

/// Longest body of a request that writes: the longest description, reason and metadata, escaped.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// A body with the bytes that it was read from: the digest of an idempotent command is over them.
pub(super) struct Body<T> {
    pub(super) value: T,
    pub(super) bytes: Vec<u8>,
}

/// Reads a JSON body.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<Body<T>, Problem> {
    let (bytes, kind) = bytes(request, BODY_BYTES_MAX).await?;
    check_kind(kind.as_deref())?;
    parse(&bytes).map(|value| Body { value, bytes })
}

/// Reads a JSON body that may be missing altogether.
pub(super) async fn optional_json<T: DeserializeOwned + Default>(
    request: Request,
) -> Result<Body<T>, Problem> {
    let (bytes, kind) = bytes(request, BODY_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok(Body {
            value: T::default(),
            bytes,
        });
    }
    check_kind(kind.as_deref())?;
    parse(&bytes).map(|value| Body { value, bytes })
}

/// Reads a body whole, up to `max` bytes.
pub(super) async fn bytes(
    request: Request,
    max: usize,
) -> Result<(Vec<u8>, Option<String>), Problem> {
    let (parts, body) = request.into_parts();
    let kind = content_type(&parts.headers)?;
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok((collected.to_bytes().into(), kind)),
        Err(why) if why.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("a body has at most {max} bytes here"),
        )),
        Err(_) => Err(Problem::bad_request(
            "body_unreadable",
            "the body ended too early",
        )),
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "header_twice",
            "the header Content-Type stands twice",
        )),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or("?").to_owned())),
    }
}

/// 415 unless the media type is JSON.
pub(super) fn check_kind(kind: Option<&str>) -> Result<(), Problem> {
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_not_json",
            "send Content-Type: application/json",
        ))
    }
}

/// Parses JSON into `T`, or names the field at fault.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|why| {
        let detail = format!("not JSON: line {}, column {}", why.line(), why.column());
        Problem::bad_request("not_json", detail)
    })?;
    T::deserialize(Node(value)).map_err(|why| {
        let field = if why.path.is_empty() {
            "body".to_owned()
        } else {
            why.path
        };
        Problem::invalid_field(why.code, field, why.message)
    })
}

/// What is wrong with a body, and where.
#[derive(Debug)]
struct ShapeError {
    path: String,
    code: &'static str,
    message: String,
}

impl ShapeError {
    fn within(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for ShapeError {}

impl serde::de::Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: String::new(),
            code: "field_invalid",
            message: message.to_string(),
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("unknown; known are {}", expected.join(", "));
        Self {
            path: field.to_owned(),
            code: "field_unknown",
            message,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        let message = "is missing".to_owned();
        Self {
            path: field.to_owned(),
            code: "field_missing",
            message,
        }
    }

    fn duplicate_field(field: &'static str) -> Self {
        let message = "stands twice".to_owned();
        Self {
            path: field.to_owned(),
            code: "field_invalid",
            message,
        }
    }
}

/// A JSON value that deserializes with errors which know their place.
struct Node(Value);

impl<'de> Deserializer<'de> for Node {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter().enumerate())),
            Value::Object(fields) => visitor.visit_map(Fields::new(fields)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        let Value::String(name) = self.0 else {
            return Err(ShapeError::custom("must be a string"));
        };
        visitor.visit_enum(UnitVariant(name))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        let Value::Object(fields) = self.0 else {
            return Err(ShapeError::custom("must be an object"));
        };
        visitor.visit_map(Fields::new(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct UnitVariant(String);

impl<'de> EnumAccess<'de> for UnitVariant {
    type Error = ShapeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), ShapeError> {
        let name = seed.deserialize(StrDeserializer::<ShapeError>::new(&self.0))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = ShapeError;

    fn unit_variant(self) -> Result<(), ShapeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, ShapeError> {
        Err(ShapeError::custom("must be a plain string"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ShapeError> {
        Err(ShapeError::custom("must be a plain string"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ShapeError> {
        Err(ShapeError::custom("must be a plain string"))
    }
}

struct Items(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> SeqAccess<'de> for Items {
    type Error = ShapeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ShapeError> {
        let Some((index, value)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(Node(value))
            .map(Some)
            .map_err(|why| why.within(&format!("[{index}]")))
    }
}

struct Fields {
    rest: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
}

impl Fields {
    fn new(fields: Map<String, Value>) -> Self {
        Self {
            rest: fields.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ShapeError> {
        let Some((name, value)) = self.rest.next() else {
            return Ok(None);
        };
        let key = seed.deserialize(StrDeserializer::<ShapeError>::new(&name))?;
        self.value = Some((name, value));
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ShapeError> {
        let (name, value) = self
            .value
            .take()
            .ok_or_else(|| ShapeError::custom("a value without its key"))?;
        seed.deserialize(Node(value))
            .map_err(|why| why.within(&name))
    }
}

/// Tells a field that is null from one that is missing: `Some(None)` against `None`.
pub(super) fn nullable<'de, T, D>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Sample {
        name: String,
        days: Option<u32>,
        list: Option<Vec<String>>,
    }

    #[test]
    fn a_bad_body_names_its_field() {
        for (body, expected) in [
            (r#"{"name":"a"}"#, "Ok"),
            (
                r#"{"name":1}"#,
                "name: invalid type: integer `1`, expected a string",
            ),
            ("{}", "name: is missing"),
            (
                r#"{"name":"a","x":1}"#,
                "x: unknown; known are name, days, list",
            ),
            (
                r#"{"name":"a","days":-1}"#,
                "days: invalid value: integer `-1`, expected u32",
            ),
            (
                r#"{"name":"a","list":["b",2]}"#,
                "list[1]: invalid type: integer `2`, expected a string",
            ),
            ("[]", "body: must be an object"),
            ("{", "not JSON: line 1, column 1"),
        ] {
            let outcome = match parse::<Sample>(body.as_bytes()) {
                Ok(_) => "Ok".to_owned(),
                Err(problem) => problem.detail().to_owned(),
            };
            assert_eq!(outcome, expected, "{body}");
        }
    }
}
