//! What a file loads beside itself. Its SHA-256 covers the one file: where it names the folders in
//! which its libraries are found, whoever may write there changes what runs, and the copy that is
//! opened lies elsewhere anyway. So a file may need what the system finds by itself, and no more.
//!
//! `LD_LIBRARY_PATH` is the operator's own word, and what a plugin opens by `dlopen` nobody can
//! know.

use crate::elf::Needs;
use crate::error::FileError;

/// Folders in which the loader looks anyway, and stores that nobody writes to once they are made.
const OF_THE_SYSTEM: [&str; 9] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
];

/// Refuses what the hash of the file would not cover.
///
/// # Errors
/// [`FileError::Uncovered`], with the first library or folder.
pub(crate) fn check(needs: &Needs) -> Result<(), FileError> {
    if let Some(path) = needs.libraries.iter().find(|name| name.contains('/')) {
        return Err(FileError::Uncovered(path.clone()));
    }
    match needs
        .folders
        .iter()
        .find(|folder| !is_of_the_system(folder))
    {
        Some(folder) if folder.is_empty() => Err(FileError::Uncovered(
            "libraries from the folder in which the program runs (an empty entry of its RUNPATH)"
                .into(),
        )),
        Some(folder) => Err(FileError::Uncovered(format!(
            "libraries from {folder} (its RUNPATH)"
        ))),
        None => Ok(()),
    }
}

fn is_of_the_system(folder: &str) -> bool {
    let is_plain = !folder.contains('$') && folder.split('/').all(|part| part != "..");
    let is_within = |system: &str| {
        let rest = folder.strip_prefix(system);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_plain && OF_THE_SYSTEM.into_iter().any(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_finds_by_itself_may_be_needed() {
        let said = |libraries: &[&str], folders: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let needs = Needs {
                libraries: owned(libraries),
                folders: owned(folders),
            };
            check(&needs).err().map(|error| error.to_string())
        };
        let system = [
            "/usr/lib/x86_64-linux-gnu",
            "/lib64/",
            "/nix/store/abc-glibc/lib",
        ];
        assert_eq!(said(&["libm.so.6", "libc.so.6"], &system), None);
        assert_eq!(said(&[], &[]), None);
        for folder in [
            "$ORIGIN",
            "${ORIGIN}/../lib",
            "/opt/lib",
            "/usr/library",
            "/usr/lib/../../tmp",
            "/usr/$LIB",
            "lib",
            "",
        ] {
            let said = said(&["libm.so.6"], &["/usr/lib", folder]).unwrap();
            assert!(
                said.contains(folder) && said.contains("does not cover"),
                "{said}"
            );
        }
        let said = said(&["libc.so.6", "./libhelp.so"], &[]).unwrap();
        assert!(said.contains("./libhelp.so"), "{said}");
    }
}
