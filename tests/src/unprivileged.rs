//! A vmm as somebody without any privilege starts it, under the name of a vmm: for suites that take its path in `VMM_BIN`.
//!
//! Who has none is the one who runs the tests, in a user namespace in which he is an ordinary user: files are his as they are, so that no
//! owner, mode or mount of the host is changed; of the host's network he has what is everybody's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How he starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it is.
    Plain,
    /// In a jail that he builds without root (`vmm jail --rootless`), in which the workspace and the folder of temporary files
    /// are at their own places; commands that run no machine are outside.
    Jailed,
}

const USER: &str = "unshare --user --map-user=4711 --map-group=4712";

/// In a mount namespace of its own; what is mounted on lies in the folder of the jail.
const JAILED: &str = r#"
base=$(mktemp -d "$1/jails.XXXXXX")
shift
root=$base/$(basename "$VMM")/one/root
for folder in "$SHOWN" "$TMPDIR"; do
    mkdir -p "$root$folder" && mount --rbind "$folder" "$root$folder" || exit 99
done
exec setpriv --inh-caps=-all --ambient-caps=-all -- "$VMM" jail --rootless --id one --chroot-base-dir "$base" -- "$@"
"#;

/// Writes a program into `folder`, which is in that of temporary files, that starts `vmm` in this way. Fails if `folder` cannot be written.
pub fn start_by(way: Way, vmm: &Path, workspace: &Path, folder: &Path) -> Result<PathBuf> {
    let (vmm, shown, here) = (vmm.display(), workspace.display(), folder.display());
    let text = match way {
        Way::Plain => format!("#!/bin/sh\nexec {USER} -- '{vmm}' \"$@\"\n"),
        Way::Jailed => {
            fs::write(folder.join("jailed"), JAILED).context("no script")?;
            format!(
                "#!/bin/sh\ncase \"$1\" in ctl|snapshot|disk) exec {USER} -- '{vmm}' \"$@\";; esac\nexport VMM='{vmm}' SHOWN='{shown}'\nexec {USER} --mount --keep-caps -- bash '{here}/jailed' '{here}' \"$@\"\n"
            )
        }
    };
    let program = folder.join("vmm");
    fs::write(&program, text).context("no program")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}
