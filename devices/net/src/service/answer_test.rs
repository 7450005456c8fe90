//! Tests of answers, row by row of the dialect.

use super::super::metadata::Settings;
use super::super::request::{Read, read};
use super::super::testing::metadata;
use super::*;

const CONTENT: &str = r#"{"latest":{"meta-data":{"ami-id":"ami-1","tags":{"a":"b"},"n":5,"on":true,"list":["x","y"],"nil":null}},"key/with":"slash"}"#;

fn of(settings: Settings) -> std::sync::Arc<Metadata> {
    metadata(settings, CONTENT)
}

fn v1() -> std::sync::Arc<Metadata> {
    of(Settings::default())
}

fn v2() -> std::sync::Arc<Metadata> {
    of(Settings { version: Version::V2, ..Settings::default() })
}

/// The request line and headers, each ended.
fn ask_at(service: &Metadata, head: &str, now: Instant) -> Answer {
    let text = format!("{head}\r\n");
    let Read::Whole(request, _) = read(text.as_bytes()) else { panic!("{text}") };
    service.answer(&request, now)
}

fn ask(service: &Metadata, head: &str) -> Answer {
    ask_at(service, head, Instant::now())
}

fn get(service: &Metadata, path: &str, headers: &str) -> (Status, String) {
    let answer = ask(service, &format!("GET {path} HTTP/1.1\r\n{headers}"));
    (answer.status, answer.body)
}

const JSON: &str = "Accept: application/json\r\n";

#[test]
fn values_come_as_text_or_as_json() {
    let service = v1();
    let rows = [
        ("/latest/meta-data", "", Status::Ok, "ami-id\nlist\nn\nnil\non\ntags/"),
        ("/latest/meta-data/ami-id", "", Status::Ok, "ami-1"),
        ("/latest//meta-data/ami-id/", "Accept: */*\r\n", Status::Ok, "ami-1"),
        ("/latest/meta-data/ami-id", JSON, Status::Ok, "\"ami-1\""),
        ("/latest/meta-data/tags", JSON, Status::Ok, r#"{"a":"b"}"#),
        ("/latest/meta-data/n", JSON, Status::Ok, "5"),
        ("/latest/meta-data/list/1", "", Status::Ok, "y"),
        ("/key~1with", "", Status::Ok, "slash"),
        ("/", "", Status::Ok, "key/with\nlatest/"),
    ];
    for (path, headers, status, body) in rows {
        assert_eq!(get(&service, path, headers), (status, body.to_string()), "{path} {headers}");
    }
    let unsupported = "Cannot retrieve value. The value has an unsupported type.".to_string();
    for path in ["n", "on", "list", "nil"] {
        let path = format!("/latest/meta-data/{path}");
        assert_eq!(get(&service, &path, ""), (Status::NotImplemented, unsupported.clone()));
    }
    let missing = (Status::NotFound, "Resource not found: /a/b.".to_string());
    assert_eq!(get(&service, "/a//b/", ""), missing);
    assert_eq!(get(&service, "/a//b/", JSON), missing);
}

#[test]
fn an_empty_store_is_null() {
    let service = metadata(Settings::default(), "null");
    assert_eq!(get(&service, "/", JSON), (Status::Ok, "null".into()));
    assert_eq!(get(&service, "/", "").0, Status::NotImplemented);
}

#[test]
fn with_imds_compat_text_comes_whatever_is_asked_for() {
    let service = of(Settings { imds_compat: true, ..Settings::default() });
    let answer = ask(&service, &format!("GET /latest/meta-data/tags HTTP/1.1\r\n{JSON}"));
    assert_eq!((answer.status, answer.form, answer.body.as_str()), (Status::Ok, Form::Json, "a"));
}

fn token(service: &Metadata, ttl: &str, now: Instant) -> String {
    let head = format!("PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: {ttl}\r\n");
    let answer = ask_at(service, &head, now);
    assert_eq!(answer.status, Status::Ok, "{}", answer.body);
    assert_eq!(answer.header, Some(("X-metadata-token-ttl-seconds", ttl.to_string())));
    answer.body
}

#[test]
fn a_session_needs_its_token() {
    let (service, now) = (v2(), Instant::now());
    let missing = "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the session token.";
    let answer = ask_at(&service, "GET /latest HTTP/1.1\r\n", now);
    assert_eq!((answer.status, answer.body.as_str()), (Status::Unauthorized, missing));
    assert_eq!(answer.token, TokenUse::Missing);
    let token = token(&service, "60", now);
    for name in ["X-metadata-token", "x-aws-ec2-metadata-TOKEN"] {
        let head = format!("GET /latest/meta-data/ami-id HTTP/1.1\r\n{name}: {token}\r\n");
        let answer = ask_at(&service, &head, now);
        assert_eq!((answer.status, answer.body.as_str()), (Status::Ok, "ami-1"));
        let late = now + Duration::from_secs(60);
        let answer = ask_at(&service, &head, late);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (Status::Unauthorized, "MMDS token not valid.")
        );
        assert_eq!(answer.token, TokenUse::Bad);
    }
    // Not even whether it exists is told without one.
    assert_eq!(ask_at(&service, "GET /nothing HTTP/1.1\r\n", now).status, Status::Unauthorized);
}

#[test]
fn version_1_makes_tokens_and_needs_none() {
    let (service, now) = (v1(), Instant::now());
    token(&service, "21600", now);
    let answer =
        ask(&service, "GET /latest/meta-data/ami-id HTTP/1.1\r\nX-metadata-token: bad\r\n");
    assert_eq!((answer.status, answer.token), (Status::Ok, TokenUse::Bad));
    let answer = ask(&service, "GET /latest/meta-data/ami-id HTTP/1.1\r\n");
    assert_eq!((answer.status, answer.token), (Status::Ok, TokenUse::Missing));
}

#[test]
fn tokens_are_made_for_clients_that_say_how_long() {
    let service = v2();
    let put = |path: &str, headers: &str| {
        let answer = ask(&service, &format!("PUT {path} HTTP/1.1\r\n{headers}"));
        (answer.status, answer.body)
    };
    for ttl in ["0", "21601", "-1", "1.5", "x", "", "99999999999"] {
        for name in ["X-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token-ttl-seconds"] {
            let wrong = (Status::BadRequest, format!("Invalid value. Key:{name}; Value:{ttl}"));
            assert_eq!(put("/latest/api/token", &format!("{name}: {ttl}\r\n")), wrong);
        }
    }
    let (status, body) = put("/latest/api/token", "");
    assert_eq!(status, Status::BadRequest);
    assert!(body.contains("`X-aws-ec2-metadata-token-ttl-seconds`"), "{body}");
    let forwarded = "X-metadata-token-ttl-seconds: 5\r\nX-Forwarded-For: 1.2.3.4\r\n";
    let why = "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For".to_string();
    assert_eq!(put("/latest/api/token", forwarded), (Status::BadRequest, why));
    let elsewhere = (Status::NotFound, "Resource not found: /latest.".to_string());
    assert_eq!(put("/latest/", "X-metadata-token-ttl-seconds: 5\r\n"), elsewhere);
}

#[test]
fn other_methods_and_bodies_are_refused() {
    let service = v1();
    for method in ["PATCH", "DELETE"] {
        let answer = ask(&service, &format!("{method} / HTTP/1.1\r\n"));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (Status::MethodNotAllowed, "Not allowed HTTP method.")
        );
        assert_eq!(answer.header, Some(("Allow", "GET, PUT".to_string())));
    }
    for method in ["POST", "HEAD", "OPTIONS"] {
        let answer = ask(&service, &format!("{method} / HTTP/1.1\r\n"));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (Status::NotImplemented, "Unsupported HTTP method.")
        );
    }
    let answer = ask(&service, "GET / HTTP/1.1\r\nContent-Length: 3\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (Status::BadRequest, "Invalid request."));
}

#[test]
fn an_answer_is_http() {
    let mut text = Vec::new();
    let service = v1();
    ask(&service, "PATCH / HTTP/1.1\r\n").write(false, &mut text);
    let text = String::from_utf8(text).unwrap();
    let expected = "HTTP/1.1 405 Method Not Allowed\r\nServer: vmm\r\nConnection: keep-alive\r\n\
                    Content-Type: text/plain\r\nContent-Length: 24\r\nAllow: GET, PUT\r\n\r\n\
                    Not allowed HTTP method.";
    assert_eq!(text, expected);
    let mut text = Vec::new();
    Answer::bad_request().write(true, &mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\nServer: vmm\r\nConnection: close\r\n"));
}
