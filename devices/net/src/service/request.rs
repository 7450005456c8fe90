//! Heads of HTTP requests, as a hostile guest sends them (RFC 9112).

/// Bytes of the largest head: what SDKs send is a few hundred.
pub const MOST_HEAD: usize = 8192;
const MOST_HEADERS: usize = 64;

/// Methods that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// PUT.
    Put,
    /// Known, and never possible: PATCH, DELETE.
    Never,
    /// Any other.
    Unknown,
}

/// Forms in which a client takes an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As IMDS shows it.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// A header that comes in two spellings; the client hears his own again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As it is written.
    pub name: &'static str,
    /// What it says.
    pub value: String,
}

/// What a request says, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// With what; begins with a slash.
    pub path: String,
    /// How the answer is to be shown.
    pub accept: Form,
    /// The session's token.
    pub token: Option<Named>,
    /// How long a new token is to live.
    pub ttl: Option<Named>,
    /// Others pass the request on for somebody.
    pub forwarded: bool,
    /// There is a body, or there may be.
    pub has_body: bool,
    /// The client closes after the answer, or expects it.
    pub closes: bool,
}

/// What has come of a head so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Its end has not.
    Partial,
    /// All of it, which is that many bytes.
    Whole(Box<Request>, usize),
    /// No HTTP.
    Bad,
    /// HTTP of a version that is not spoken here.
    BadVersion,
}

const TOKEN: [&str; 2] = ["X-metadata-token", "X-aws-ec2-metadata-token"];
const TTL: [&str; 2] = ["X-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token-ttl-seconds"];

/// Reads a head from the first of these bytes on.
pub fn read(bytes: &[u8]) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= MOST_HEAD => len,
        Ok(httparse::Status::Partial) if bytes.len() < MOST_HEAD => return Read::Partial,
        Err(httparse::Error::Version) => return Read::BadVersion,
        _ => return Read::Bad,
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Read::Bad;
    };
    let Some(path) = path(target) else { return Read::Bad };
    let mut request = Request {
        method: match method {
            "GET" => Method::Get,
            "PUT" => Method::Put,
            "PATCH" | "DELETE" => Method::Never,
            _ => Method::Unknown,
        },
        path: path.to_string(),
        accept: Form::Text,
        token: None,
        ttl: None,
        forwarded: false,
        has_body: false,
        closes: version == 0,
    };
    for header in head.headers.iter() {
        match std::str::from_utf8(header.value) {
            Ok(value) => request.take(header.name, value.trim()),
            Err(_) => return Read::Bad,
        }
    }
    Read::Whole(Box::new(request), len)
}

/// The path of a target, which may be a whole URI (RFC 9112, 3.2).
fn path(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    Some(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"))
}

impl Request {
    fn take(&mut self, name: &str, value: &str) {
        let spelled = |known: &[&'static str]| {
            let name = known.iter().find(|known| known.eq_ignore_ascii_case(name))?;
            Some(Named { name, value: value.to_string() })
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if let Some(token) = spelled(&TOKEN) {
            self.token = Some(token);
        } else if let Some(ttl) = spelled(&TTL) {
            self.ttl = Some(ttl);
        } else if is("Accept") {
            self.accept = accepted(value);
        } else if is("X-Forwarded-For") {
            self.forwarded = true;
        } else if is("Content-Length") {
            self.has_body |= value != "0";
        } else if is("Transfer-Encoding") {
            self.has_body = true;
        } else if is("Connection") {
            for option in value.split(',').map(str::trim) {
                if option.eq_ignore_ascii_case("close") {
                    self.closes = true;
                } else if option.eq_ignore_ascii_case("keep-alive") {
                    self.closes = false;
                }
            }
        }
    }
}

/// The first form of a list that is known.
fn accepted(list: &str) -> Form {
    let kinds = list.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut known = kinds.filter_map(|kind| match kind {
        _ if kind.eq_ignore_ascii_case("application/json") => Some(Form::Json),
        _ if kind.eq_ignore_ascii_case("text/plain") || kind == "*/*" => Some(Form::Text),
        _ => None,
    });
    known.next().unwrap_or_default()
}

#[cfg(test)]
#[path = "request_test.rs"]
mod tests;
