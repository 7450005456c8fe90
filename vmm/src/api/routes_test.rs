//! Tests of the table: which request finds which row.

use super::*;

fn found(method: &str, uri: &str) -> Result<(&'static str, String), String> {
    let uri: Uri = uri.parse().unwrap();
    find(&Method::from_bytes(method.as_bytes()).unwrap(), &uri)
        .map(|found| (found.route.path, found.id))
        .map_err(|refused| refused.to_string())
}

#[test]
fn each_row_is_found_by_its_own_method_and_path() {
    for route in all() {
        let path = route.path.replace("{id}", "eth0");
        let (at, id) = found(&route.verb.to_string(), &path).unwrap();
        assert_eq!(at, route.path);
        assert_eq!(id, if route.path.contains("{id}") { "eth0" } else { "" });
    }
    for (at, route) in all().enumerate() {
        let twin = |other: &Route| other.verb == route.verb && other.path == route.path;
        assert!(!all().skip(at + 1).any(twin), "{} {} twice", route.verb, route.path);
    }
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    for (method, uri, said) in [
        ("GET", "/nothing", "there is no resource /nothing"),
        ("GET", "/vm/", "there is no resource /vm/"),
        ("GET", "//", "there is no resource //"),
        ("PUT", "/network-interfaces/", "there is no resource /network-interfaces/"),
        ("PUT", "/network-interfaces/a/b", "there is no resource /network-interfaces/a/b"),
        ("DELETE", "/vm", "DELETE is not possible on /vm; GET or PATCH is"),
        ("BREW", "/actions", "BREW is not possible on /actions; PUT is"),
        ("GET", "/?a=b", "/ takes no query"),
        ("PUT", "/balloon/a", "there is no resource /balloon/a"),
        ("PUT", "/drives", "PUT is not possible on /drives; GET is"),
        (
            "POST",
            "/drives/a",
            "POST is not possible on /drives/a; PUT or PATCH or DELETE or GET is",
        ),
        (
            "POST",
            "/hotplug/memory",
            "POST is not possible on /hotplug/memory; PUT or PATCH or GET is",
        ),
        ("PUT", "/hotplug/cpu", "there is no resource /hotplug/cpu"),
        ("PUT", "/balloons", "there is no resource /balloons"),
    ] {
        assert_eq!(found(method, uri).unwrap_err(), said, "{method} {uri}");
    }
    let long = format!("/{}", "x".repeat(5000));
    assert!(found("GET", &long).unwrap_err().len() < 200);
}

#[test]
fn a_body_is_there_exactly_where_it_belongs() {
    for route in all() {
        let path: Uri = route.path.replace("{id}", "eth0").parse().unwrap();
        let method = Method::from_bytes(route.verb.to_string().as_bytes()).unwrap();
        let found = find(&method, &path).unwrap();
        let refused = match route.body {
            Some(_) if route.may_lack_body() => {
                assert!(found.read(b"").is_ok() && found.read(b"{}").is_ok(), "{}", route.path);
                continue;
            }
            Some(_) => found.read(b""),
            None => found.read(b"{}"),
        };
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("body"), "{}: {error}", route.path);
    }
}
