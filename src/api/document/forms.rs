//! What a value of the API is, and how a schema says it.
//!
//! Owns the walk over the document's schemas and parameters; which form a field has is looked up in
//! `vocabulary` by its name and place.

use serde_json::Value;
use utoipa::Number;
use utoipa::openapi::schema::{ArrayItems, SchemaType};
use utoipa::openapi::{
    Array, KnownFormat, Object, OpenApi as Document, RefOr, Schema, SchemaFormat, Type,
};

use crate::api::document::form::{ANY, Form, ListForm};
use crate::api::document::vocabulary::{ANYWHERE, ASKED, IN_SCHEMAS, LISTS, ON_PATHS};
use crate::api::document::{operations, schemas_asked_for};

/// The 26 characters of an id after its prefix.
const ULID: &str = "[0-7][0-9A-HJKMNP-TV-Z]{25}";

/// Where a field is.
#[derive(Clone, Copy)]
enum Place<'a> {
    Schema { name: &'a str, asked: bool },
    Parameter { path: &'a str },
}

impl Place<'_> {
    fn is_asked(self) -> bool {
        match self {
            Self::Schema { asked, .. } => asked,
            Self::Parameter { .. } => true,
        }
    }

    /// What a field of this place is; `None` for a name that the vocabulary does not know.
    fn form(self, field: &str) -> Option<Form> {
        let has = |names: &[&str]| names.contains(&field);
        let own = match self {
            Self::Schema { name, .. } => IN_SCHEMAS
                .iter()
                .find(|(schemas, names, _)| schemas.contains(&name) && has(names))
                .map(|(_, _, form)| *form),
            Self::Parameter { path } => ON_PATHS
                .iter()
                .find(|(part, names, _)| {
                    (path.starts_with(part) || path.ends_with(part)) && has(names)
                })
                .map(|(_, _, form)| *form),
        };
        let of = |table: &[(&[&str], Form)]| {
            let row = table.iter().find(|(names, _)| has(names));
            row.map(|(_, form)| *form)
        };
        own.or_else(|| of(ASKED).filter(|_| self.is_asked()))
            .or_else(|| field.ends_with("_at").then_some(Form::Instant))
            .or_else(|| of(ANYWHERE))
    }
}

/// Says of every field and parameter what it is.
pub(crate) fn describe(document: &mut Document) {
    walk(document, &mut |place, field, schema| {
        if let Schema::Object(object) = schema {
            if let Some(form) = place.form(field) {
                form.say(object);
            }
        } else if let Schema::Array(array) = schema
            && place.is_asked()
            && let Some((_, form)) = LISTS.iter().find(|(names, _)| names.contains(&field))
        {
            form.say(array);
        }
    });
}

/// Shows all schemas of fields and parameters, items of lists under the name of the list.
fn walk(document: &mut Document, show: &mut impl FnMut(Place<'_>, &str, &mut Schema)) {
    let asked = schemas_asked_for(document);
    if let Some(components) = &mut document.components {
        for (name, schema) in &mut components.schemas {
            let asked = asked.contains(name);
            fields(schema, Place::Schema { name, asked }, show);
        }
    }
    for (path, operation) in operations(document) {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(schema) = &mut parameter.schema
            {
                value(schema, (Place::Parameter { path }, &parameter.name), show);
            }
        }
    }
}

fn fields(
    schema: &mut RefOr<Schema>,
    place: Place<'_>,
    show: &mut impl FnMut(Place<'_>, &str, &mut Schema),
) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            for (field, schema) in &mut object.properties {
                value(schema, (place, field), show);
            }
        }
        RefOr::T(Schema::AllOf(all)) => {
            all.items
                .iter_mut()
                .for_each(|part| fields(part, place, show));
        }
        RefOr::T(_) | RefOr::Ref(_) => {}
    }
}

fn value(
    schema: &mut RefOr<Schema>,
    at: (Place<'_>, &str),
    show: &mut impl FnMut(Place<'_>, &str, &mut Schema),
) {
    let RefOr::T(schema) = schema else { return };
    show(at.0, at.1, schema);
    if let Schema::OneOf(one) = schema {
        one.items.iter_mut().for_each(|item| value(item, at, show));
    } else if let Schema::Array(array) = schema
        && let ArrayItems::RefOrSchema(items) = &mut array.items
    {
        value(items, at, show);
    }
}

fn has_type(schema: &Object, wanted: &Type) -> bool {
    match &schema.schema_type {
        SchemaType::Type(one) => one == wanted,
        SchemaType::Array(several) => several.contains(wanted),
        SchemaType::AnyValue => false,
    }
}

/// Whether a schema is that of a text of which nothing is said yet.
fn is_plain_text(schema: &Object) -> bool {
    let said = schema.format.is_some() || schema.enum_values.is_some();
    has_type(schema, &Type::String) && !said && schema.pattern.is_none()
}

impl Form {
    fn say(self, schema: &mut Object) {
        if let Self::Number(from, to) = self {
            if has_type(schema, &Type::Integer) || has_type(schema, &Type::Number) {
                schema.minimum = Some(Number::UInt(from));
                schema.maximum = Some(Number::UInt(to));
            }
            return;
        }
        if !is_plain_text(schema) {
            return;
        }
        match self {
            Self::Id(&[prefix]) => schema.pattern = Some(format!("^{prefix}_{ULID}$")),
            Self::Id(prefixes) => {
                schema.pattern = Some(format!("^({})_{ULID}$", prefixes.join("|")));
            }
            Self::Instant => {
                schema.format = Some(SchemaFormat::KnownFormat(KnownFormat::DateTime));
            }
            Self::OneOf(names) => {
                let names = names.iter().map(|name| Value::from(*name));
                let null = has_type(schema, &Type::Null).then_some(Value::Null);
                schema.enum_values = Some(names.chain(null).collect());
            }
            Self::Chars(min, max) => {
                schema.min_length = (min > 0).then_some(min);
                schema.max_length = (max < ANY).then_some(max);
            }
            Self::Like(pattern) => schema.pattern = Some(pattern.to_owned()),
            Self::Format(name, max) => {
                schema.format = Some(SchemaFormat::Custom(name.to_owned()));
                schema.max_length = (max < ANY).then_some(max);
            }
            Self::Number(..) | Self::Free => {}
        }
    }
}

impl ListForm {
    fn say(self, schema: &mut Array) {
        schema.min_items = (self.min > 0).then_some(self.min);
        schema.max_items = (self.max < ANY).then_some(self.max);
        schema.unique_items = self.unique;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::document::vocabulary;
    use crate::degraded::Part;
    use crate::domain::kind::Kind;
    use crate::views::index::VerificationCode;

    #[test]
    fn the_vocabulary_knows_every_text() {
        let mut unknown = Vec::new();
        walk(&mut crate::api::document(), &mut |place, field, schema| {
            if let Schema::Object(object) = schema
                && is_plain_text(object)
                && place.form(field).is_none()
            {
                unknown.push(match place {
                    Place::Schema { name, .. } => format!("{name}.{field}"),
                    Place::Parameter { path } => format!("{path}?{field}"),
                });
            }
        });
        assert_eq!(unknown, Vec::<String>::new(), "say what these are");
    }

    #[test]
    fn sets_of_names_are_those_of_the_code() {
        assert_eq!(vocabulary::KINDS, Kind::ALL.map(Kind::name));
        let codes = VerificationCode::ALL.map(VerificationCode::wire_name);
        assert_eq!(vocabulary::CODES_OF_VERIFICATION, codes);
        assert_eq!(vocabulary::PARTS, Part::ALL.map(Part::name));
    }
}
