//! What a request is answered: Firecracker's metadata service, and EC2's as far as that is the same.

use std::time::{Duration, Instant};

use super::metadata::{Metadata, Version};
use super::request::{Form, Method, Request};
use super::store;
use super::token::TTL_SECONDS;

/// Where tokens are made.
const TOKEN_PATH: &str = "/latest/api/token";

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status of HTTP.
    pub status: Status,
    /// What the body is.
    pub form: Form,
    /// One header more.
    pub header: Option<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// What it says of tokens, for who counts.
    pub token: TokenUse,
}

/// How a request came by its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenUse {
    /// There was a good one, or none is asked for.
    #[default]
    Fine,
    /// There was none.
    Missing,
    /// There was one, which is not, or no more, good.
    Bad,
}

/// Status codes that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 501.
    NotImplemented,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::NotImplemented => "501 Not Implemented",
        }
    }
}

impl Answer {
    fn new(status: Status, body: impl Into<String>) -> Answer {
        let token = TokenUse::Fine;
        Answer { status, form: Form::Text, header: None, body: body.into(), token }
    }

    /// What cannot be read.
    pub fn bad_request() -> Answer {
        Answer { form: Form::Json, ..Answer::new(Status::BadRequest, "Invalid request.") }
    }

    /// HTTP of another version.
    pub fn bad_version() -> Answer {
        let body = "Unsupported HTTP version.";
        Answer { form: Form::Json, ..Answer::new(Status::NotImplemented, body) }
    }

    /// Appends all of it, as HTTP/1.1 has it; `closes` says that it is the last.
    pub fn write(&self, closes: bool, to: &mut Vec<u8>) {
        let kind = match self.form {
            Form::Text => "text/plain",
            Form::Json => "application/json",
        };
        let connection = if closes { "close" } else { "keep-alive" };
        let (status, len) = (self.status.line(), self.body.len());
        let mut head = format!(
            "HTTP/1.1 {status}\r\nServer: vmm\r\nConnection: {connection}\r\n\
             Content-Type: {kind}\r\nContent-Length: {len}\r\n"
        );
        if let Some((name, value)) = &self.header {
            head.extend([*name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        to.extend_from_slice(head.as_bytes());
        to.extend_from_slice(self.body.as_bytes());
    }
}

impl Metadata {
    /// Answers a request.
    pub fn answer(&self, request: &Request, now: Instant) -> Answer {
        if request.has_body {
            return Answer::bad_request();
        }
        match request.method {
            Method::Get => self.get(request, now),
            Method::Put => self.put(request, now),
            Method::Never => Answer {
                header: Some(("Allow", "GET, PUT".to_string())),
                ..Answer::new(Status::MethodNotAllowed, "Not allowed HTTP method.")
            },
            Method::Unknown => Answer {
                form: Form::Json,
                ..Answer::new(Status::NotImplemented, "Unsupported HTTP method.")
            },
        }
    }

    fn get(&self, request: &Request, now: Instant) -> Answer {
        let token = match &request.token {
            None => TokenUse::Missing,
            Some(token) if self.tokens.is_good(&token.value, now) => TokenUse::Fine,
            Some(_) => TokenUse::Bad,
        };
        let refused = match (self.settings.version, token) {
            (Version::V1, _) | (_, TokenUse::Fine) => None,
            (Version::V2, TokenUse::Missing) => Some(
                "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` \
                 header to specify the session token.",
            ),
            (Version::V2, TokenUse::Bad) => Some("MMDS token not valid."),
        };
        let answer = match refused {
            Some(why) => Answer::new(Status::Unauthorized, why),
            None => self.show(request),
        };
        Answer { token, ..answer }
    }

    fn show(&self, request: &Request) -> Answer {
        let document = self.store.get().unwrap_or_default();
        let Some(value) = store::find(&document, &request.path) else {
            let body = format!("Resource not found: {}.", squeezed(&request.path));
            return Answer::new(Status::NotFound, body);
        };
        let text = match request.accept {
            Form::Json if !self.settings.imds_compat => Some(value.to_string()),
            _ => store::as_text(value),
        };
        match text {
            Some(body) => Answer { form: request.accept, ..Answer::new(Status::Ok, body) },
            None => {
                let why = "Cannot retrieve value. The value has an unsupported type.";
                Answer::new(Status::NotImplemented, why)
            }
        }
    }

    fn put(&self, request: &Request, now: Instant) -> Answer {
        let path = squeezed(&request.path);
        if path != TOKEN_PATH {
            return Answer::new(Status::NotFound, format!("Resource not found: {path}."));
        }
        if request.forwarded {
            let why = "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For";
            return Answer::new(Status::BadRequest, why);
        }
        let Some(ttl) = &request.ttl else {
            let why = "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or \
                       `X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.";
            return Answer::new(Status::BadRequest, why);
        };
        let seconds = ttl.value.parse().ok().filter(|seconds| TTL_SECONDS.contains(seconds));
        let Some(seconds) = seconds else {
            let why = format!("Invalid value. Key:{}; Value:{}", ttl.name, ttl.value);
            return Answer::new(Status::BadRequest, why);
        };
        let token = self.tokens.make(Duration::from_secs(seconds.into()), now);
        let header = Some((ttl.name, seconds.to_string()));
        Answer { header, ..Answer::new(Status::Ok, token) }
    }
}

/// A path with one slash where there are more, and none at its end.
fn squeezed(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
#[path = "answer_test.rs"]
mod tests;
