//! What the dialect still takes and will not for ever: its users are told so by a header and in the log.

use serde_json::Value;

/// A field of a request's body, by method and path. A value alone may be what is deprecated.
struct Field(&'static str, &'static str, &'static str, fn(&Value) -> bool);

fn whatever(value: &Value) -> bool {
    !value.is_null()
}

/// The first version of the metadata service, which is also what is meant if none is named.
fn first_version(value: &Value) -> bool {
    value.is_null() || value == "V1"
}

const FIELDS: &[Field] = &[
    Field("PUT", "/machine-config", "cpu_template", whatever),
    Field("PATCH", "/machine-config", "cpu_template", whatever),
    Field("PUT", "/vsock", "vsock_id", whatever),
    Field("PUT", "/mmds/config", "version", first_version),
    Field("PUT", "/snapshot/load", "mem_file_path", whatever),
    Field("PUT", "/snapshot/load", "enable_diff_snapshots", whatever),
];

/// The field of a body that is deprecated, if it has one.
pub fn field(method: &str, path: &str, body: &[u8]) -> Option<&'static str> {
    let mut fields = FIELDS.iter().filter(|field| (field.0, field.1) == (method, path)).peekable();
    fields.peek()?;
    let body: Value = serde_json::from_slice(body).ok()?;
    fields.find(|field| (field.3)(&body[field.2])).map(|field| field.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_deprecated_where_it_is_given_and_the_first_metadata_service_always() {
        let template = br#"{"vcpu_count":1,"mem_size_mib":64,"cpu_template":"None"}"#;
        assert_eq!(field("PUT", "/machine-config", template), Some("cpu_template"));
        assert_eq!(field("PUT", "/machine-config", br#"{"cpu_template":null}"#), None);
        assert_eq!(field("PUT", "/boot-source", template), None);
        for (body, expected) in [
            ("{}", Some("version")),
            (r#"{"version":"V1"}"#, Some("version")),
            (r#"{"version":"V2"}"#, None),
            ("{", None),
        ] {
            assert_eq!(field("PUT", "/mmds/config", body.as_bytes()), expected, "{body}");
        }
    }
}
