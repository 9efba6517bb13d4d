//! Who may change the files that settings come from.

/// The permission of everybody to write a file.
const WRITABLE_BY_ALL: u32 = 0o002;

/// True where everybody on this machine may write a file of that mode.
pub(super) fn is_writable_by_all(mode: u32) -> bool {
    mode & WRITABLE_BY_ALL != 0
}
