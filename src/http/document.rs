//! Functions for the OpenAPI documents of all dialects.

use utoipa::ToSchema;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{ComponentsBuilder, ContentBuilder, Info, LicenseBuilder, OpenApi, Ref, RefOr, Response, Schema};

/// The media type of every answer that a document describes.
const JSON: &str = "application/json";

/// Sets title, description, version and licence of a document. By default they would be those of another package.
pub fn describe(document: &mut OpenApi, title: &str, description: &str) {
    let mut info = Info::new(title, env!("CARGO_PKG_VERSION"));
    info.description = Some(description.to_owned());
    info.license = Some(LicenseBuilder::new().name("Apache 2.0").identifier(Some(env!("CARGO_PKG_LICENSE"))).build());
    document.info = info;
}

/// Adds the envelope of a refusal, `F`, to the answers of each operation that `applies`. `statuses` are the HTTP
/// statuses of refusals and their meanings. If an answer with the status exists, both are documented.
pub fn refuses<F: ToSchema>(document: &mut OpenApi, statuses: &[(u16, &str)], applies: impl Fn(&Operation) -> bool) {
    let components = document.components.get_or_insert_with(|| ComponentsBuilder::new().build());
    components.schemas.insert(F::name().into_owned(), F::schema());
    let items = document.paths.paths.values_mut();
    let operations = items.flat_map(|item| [&mut item.get, &mut item.put, &mut item.post, &mut item.delete]);
    for operation in operations.flatten().filter(|operation| applies(operation)) {
        for (status, meaning) in statuses {
            let responses = &mut operation.responses.responses;
            let response = responses.entry(status.to_string()).or_insert_with(|| RefOr::T(Response::default()));
            if let RefOr::T(response) = response {
                join(response, Ref::from_schema_name(F::name()), meaning);
            }
        }
    }
}

fn join(response: &mut Response, refusal: Ref, meaning: &str) {
    if response.description.is_empty() {
        meaning.clone_into(&mut response.description);
    }
    let known = match response.content.get(JSON) {
        Some(RefOr::T(content)) => content.schema.clone(),
        _ => None,
    };
    let schema = match known {
        Some(answer) => RefOr::T(Schema::from(OneOfBuilder::new().item(answer).item(refusal).build())),
        None => RefOr::Ref(refusal),
    };
    response.content.insert(JSON.to_owned(), RefOr::T(ContentBuilder::new().schema(Some(schema)).build()));
}

/// An object of which a document says nothing more.
#[derive(ToSchema)]
#[schema(value_type = Object)]
pub struct AnyObject(pub serde_json::Map<String, serde_json::Value>);
