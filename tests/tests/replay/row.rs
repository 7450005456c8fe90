//! A request, and what comes of it.

/// One row. `{kernel}`, `{disk}` and the like in it stand for files of the scene.
#[derive(Clone, Copy)]
pub struct Row {
    pub method: &'static str,
    pub path: &'static str,
    pub body: &'static str,
    pub status: u16,
    /// A part of the answer's body.
    pub said: &'static str,
    /// Why it is not as Firecracker's; nothing if it is.
    pub why: Option<&'static str>,
}

/// As Firecracker does it.
pub const fn same(
    method: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
    said: &'static str,
) -> Row {
    Row { method, path, body, status, said, why: None }
}

/// Otherwise, for a reason.
pub const fn other(row: Row, why: &'static str) -> Row {
    Row { why: Some(why), ..row }
}

/// A PUT that is done.
pub const fn put(path: &'static str, body: &'static str) -> Row {
    same("PUT", path, body, 204, "")
}

/// A PUT that is refused.
pub const fn no_put(path: &'static str, body: &'static str, said: &'static str) -> Row {
    same("PUT", path, body, 400, said)
}

/// A PATCH that is done.
pub const fn patch(path: &'static str, body: &'static str) -> Row {
    same("PATCH", path, body, 204, "")
}

/// A PATCH that is refused.
pub const fn no_patch(path: &'static str, body: &'static str, said: &'static str) -> Row {
    same("PATCH", path, body, 400, said)
}

/// A GET that is answered.
pub const fn get(path: &'static str, said: &'static str) -> Row {
    same("GET", path, "", 200, said)
}
