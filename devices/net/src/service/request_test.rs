//! Tests of heads of requests, whole, in pieces and of no sense.

use proptest::prelude::*;

use super::*;

fn whole(text: &str) -> Request {
    match read(text.as_bytes()) {
        Read::Whole(request, len) => {
            assert_eq!(len, text.len());
            *request
        }
        other => panic!("{other:?}"),
    }
}

fn with(headers: &str) -> Request {
    whole(&format!("GET / HTTP/1.1\r\n{headers}\r\n"))
}

#[test]
fn a_head_says_what_is_to_be_done() {
    let text = "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\
                x-aws-EC2-metadata-token-ttl-seconds:  21600 \r\nContent-Length: 0\r\n\r\n";
    let request = whole(text);
    assert_eq!((request.method, request.path.as_str()), (Method::Put, "/latest/api/token"));
    let name = "X-aws-ec2-metadata-token-ttl-seconds";
    assert_eq!(request.ttl, Some(Named { name, value: "21600".into() }));
    assert!(!request.has_body && !request.closes && !request.forwarded);
    let request = with("X-Metadata-Token: abc\r\nX-Forwarded-For: me\r\nContent-Length: 5\r\n");
    assert_eq!(request.token.unwrap().value, "abc");
    assert!(request.has_body && request.forwarded);
    assert!(with("Transfer-Encoding: chunked\r\n").has_body);
}

#[test]
fn methods_and_versions_are_told_apart() {
    let method = |word: &str| whole(&format!("{word} / HTTP/1.0\r\n\r\n")).method;
    assert_eq!(method("GET"), Method::Get);
    assert_eq!((method("PATCH"), method("DELETE")), (Method::Never, Method::Never));
    assert_eq!(
        (method("POST"), method("HEAD"), method("get")),
        (Method::Unknown, Method::Unknown, Method::Unknown)
    );
    assert_eq!(read(b"GET / HTTP/2.0\r\n\r\n"), Read::BadVersion);
    for bad in [
        "GET /\r\n\r\n",
        "\u{1}\r\n\r\n",
        "GET x HTTP/1.1\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        assert_eq!(read(bad.as_bytes()), Read::Bad, "{bad:?}");
    }
}

#[test]
fn a_target_may_be_a_whole_uri() {
    let path = |target: &str| whole(&format!("GET {target} HTTP/1.1\r\n\r\n")).path;
    assert_eq!(path("http://169.254.169.254/latest"), "/latest");
    assert_eq!(path("http://[fd00:ec2::254]"), "/");
    assert_eq!(path("/a?b"), "/a?b");
}

#[test]
fn the_first_form_that_is_known_counts() {
    let accept = |list: &str| with(&format!("Accept: {list}\r\n")).accept;
    assert_eq!(with("").accept, Form::Text);
    for json in ["application/json", "Application/JSON;q=1", "text/html, application/json"] {
        assert_eq!(accept(json), Form::Json, "{json}");
    }
    for text in ["*/*", "text/plain", "text/html", "text/plain, application/json", ""] {
        assert_eq!(accept(text), Form::Text, "{text}");
    }
}

#[test]
fn a_connection_is_kept_unless_somebody_closes_it() {
    assert!(!with("").closes);
    assert!(with("Connection: close\r\n").closes);
    assert!(with("Connection: x, Close\r\n").closes);
    assert!(whole("GET / HTTP/1.0\r\n\r\n").closes);
    assert!(!whole("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").closes);
}

#[test]
fn a_head_without_an_end_is_given_up() {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    head.resize(MOST_HEAD - 1, b'a');
    assert_eq!(read(&head), Read::Partial);
    head.push(b'a');
    assert_eq!(read(&head), Read::Bad);
    let many = "a: b\r\n".repeat(MOST_HEADERS + 1);
    assert_eq!(read(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()), Read::Bad);
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_and_a_whole_head_is_within_them(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Read::Whole(request, len) = read(&bytes) {
            prop_assert!(len <= bytes.len() && request.path.starts_with('/'));
        }
    }

    #[test]
    fn a_head_is_partial_until_its_last_byte(path in "/[a-z/]{0,20}", token in "[A-Za-z0-9+/=]{0,60}", more in prop::collection::vec(any::<u8>(), 0..40)) {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-metadata-token: {token}\r\n\r\n");
        for len in 0..text.len() {
            prop_assert_eq!(read(&text.as_bytes()[..len]), Read::Partial);
        }
        let Read::Whole(request, len) = read(&[text.as_bytes(), &more].concat()) else {
            return Err(TestCaseError::fail("not whole"));
        };
        prop_assert_eq!(len, text.len());
        prop_assert_eq!(request.path, path);
        prop_assert_eq!(request.token.map(|token| token.value), Some(token));
    }

    #[test]
    fn words_of_http_in_any_order_are_read_in_any_pieces(words in prop::collection::vec(prop::sample::select(vec!["GET ", "PUT ", "/", "HTTP/1.1", "\r\n", "\n", " ", ":", "Content-Length", "X-metadata-token", "\u{e4}", "a", "0"]), 0..40)) {
        let text = words.concat();
        let at_once = read(text.as_bytes());
        if let Read::Whole(_, len) = &at_once {
            for cut in 0..*len {
                prop_assert!(!matches!(read(&text.as_bytes()[..cut]), Read::Whole(..)));
            }
        }
    }
}
