//! What the host has in memory for this process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

/// In bytes, as the kernel counts them; guest memory is by far the most of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Pages in memory, those of the host's pool included.
    pub resident: u64,
    /// Of these what is nowhere else, such as guest memory: all but pages of files.
    pub anonymous: u64,
    /// Pages in swap.
    pub swapped: u64,
}

/// Opened once: a thread that is shut in has no paths.
static STATUS: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/status"));
/// More than the kernel tells.
const MOST: usize = 8 << 10;

/// Makes it possible to look when no file can be opened any more.
pub fn begin() {
    LazyLock::force(&STATUS);
}

/// Looks. Fails where there is no `/proc`.
pub fn now() -> io::Result<Resident> {
    let status = STATUS.as_ref().map_err(|error| io::Error::from(error.kind()))?;
    let mut text = [0; MOST];
    let len = status.read_at(&mut text, 0)?;
    Ok(parse(&String::from_utf8_lossy(text.get(..len).unwrap_or_default())))
}

/// Reads `/proc/PID/status` (Linux `Documentation/filesystems/proc.rst`); what it does not tell is 0.
fn parse(status: &str) -> Resident {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    let pool = bytes("HugetlbPages");
    Resident {
        resident: bytes("VmRSS").saturating_add(pool),
        anonymous: bytes("RssAnon").saturating_add(pool),
        swapped: bytes("VmSwap"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_pool_count_as_resident() {
        let status = "Name:\tvmm\nVmRSS:\t    2048 kB\nRssAnon:\t 1024 kB\nVmSwap:\t  4 kB\n\
                      HugetlbPages:\t    8192 kB\n";
        let told = Resident { resident: 10 << 20, anonymous: 9 << 20, swapped: 4096 };
        assert_eq!(parse(status), told);
        assert_eq!(parse(""), Resident::default());
    }

    #[test]
    fn this_process_has_something() {
        let told = now().unwrap();
        assert!(told.anonymous > 0 && told.resident >= told.anonymous);
    }
}
