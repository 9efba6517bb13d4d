//! The data folder: whether it is there, may be written to, whose it is, and how much room it has.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use omnizap_services::store::limits::ROOM_FOR_FEEDBACK;
use rustix::fs::{Access, Mode, OFlags, access, open, statvfs};
use rustix::io::Errno;

use super::bytes;
use super::finding::Finding;
use crate::cli::permission::is_writable_by_all;

/// Under which room is told before there is none.
const LITTLE_ROOM: u64 = 1 << 30;

pub(super) fn look(folder: &Path) -> Vec<Finding> {
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let what = format!("{shown} is no folder");
            return vec![Finding::fault(
                what,
                "name another with OMNIZAP_DATA or --data",
            )];
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return not_there(folder),
        Err(error) => {
            let what = format!("{shown} cannot be looked at: {error}");
            return vec![Finding::fault(
                what,
                "mend its rights, or name another folder",
            )];
        }
    }
    let mut found = Vec::new();
    found.extend(written(folder));
    found.extend(room(folder));
    if found.is_empty() {
        let free = free(folder).map_or(String::new(), |free| format!(", {} free", bytes(free)));
        let owner = std::fs::metadata(folder).map_or(String::new(), |seen| whose(&seen));
        found.push(Finding::fine(format!(
            "{shown} can be written to{owner}{free}"
        )));
    }
    found
}

/// A folder that would be made at the first use, if it can be.
fn not_there(folder: &Path) -> Vec<Finding> {
    let shown = folder.display();
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut above = folder.ancestors().skip(1);
    let Some(above) = above.find(|above| above.exists()) else {
        let what = format!("{shown} is not there, and no folder above it is");
        return vec![Finding::fault(
            what,
            "name another with OMNIZAP_DATA or --data",
        )];
    };
    if let Some(fault) = written(above) {
        let what = format!("{shown} is not there, and cannot be made");
        return vec![
            Finding::fault(what, "make it, for the user that the server runs as"),
            fault,
        ];
    }
    let mut found: Vec<_> = room(above).into_iter().collect();
    found.push(Finding::fine(format!(
        "{shown} is not there yet: the first start makes it"
    )));
    found
}

/// Why a folder cannot be written to, if so, or who else may.
fn written(folder: &Path) -> Option<Finding> {
    let shown = folder.display();
    let seen = std::fs::metadata(folder).ok();
    if let Err(error) = try_to_write(folder) {
        let whose = seen.as_ref().map_or(String::new(), whose);
        let what = format!("{shown} cannot be written to: {error}{whose}");
        let advice = "give it to the user that the server runs as (chown), or name another folder";
        return Some(Finding::fault(what, advice));
    }
    let seen = seen.filter(|seen| is_writable_by_all(seen.mode()))?;
    // In one with this bit, as /tmp is, nobody may take away what is another's.
    let is_sticky = seen.mode() & 0o1000 != 0;
    (!is_sticky).then(|| {
        let what = format!("everybody may write to {shown}{}", whose(&seen));
        Finding::warning(what, format!("`chmod o-w {shown}`: the database is in it"))
    })
}

/// Tries it with a file that has no name, so that nothing is left of it; where the file system
/// knows no such files, by what rights say.
fn try_to_write(folder: &Path) -> Result<(), Errno> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match open(folder, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
            access(folder, Access::WRITE_OK | Access::EXEC_OK)
        }
        Err(error) => Err(error),
    }
}

/// Who owns it, and who asks.
fn whose(seen: &Metadata) -> String {
    let us = std::fs::metadata("/proc/self").map(|process| process.uid());
    let us = us.map_or(String::new(), |us| format!(", this process is user {us}"));
    let (owner, mode) = (seen.uid(), seen.mode() & 0o7777);
    format!(" (owner {owner}, mode {mode:03o}{us})")
}

fn free(folder: &Path) -> Option<u64> {
    let found = statvfs(folder).ok()?;
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Too little room, if so.
fn room(folder: &Path) -> Option<Finding> {
    let free = free(folder)?;
    let what = || format!("{} are free at {}", bytes(free), folder.display());
    if free < ROOM_FOR_FEEDBACK {
        let advice = "make room: nothing but feedback is kept any more";
        return Some(Finding::fault(what(), advice));
    }
    (free < LITTLE_ROOM).then(|| Finding::warning(what(), "make room before there is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(folder: &Path) -> String {
        let found = look(folder);
        found
            .iter()
            .map(Finding::shown)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_folder_is_told_as_it_is_and_nothing_is_made_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let fine = shown(folder.path());
        assert!(
            fine.contains("can be written to") || fine.contains("are free"),
            "{fine}"
        );
        let missing = folder.path().join("a/b");
        let later = shown(&missing);
        assert!(later.contains("the first start makes it"), "{later}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(shown(&file).starts_with("fault: "), "{}", shown(&file));
        let below = shown(&file.join("data"));
        assert!(below.starts_with("fault: "), "{below}");
    }
}
