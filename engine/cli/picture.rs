//! Which files in a folder are pictures, by their names.

use std::ffi::OsStr;
use std::path::Path;

/// Endings of the kinds that are read, whatever their case. Any file may be named itself.
const EXTENSIONS: [&str; 9] = [
    "png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "apng",
];

/// True for the name of a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|it| EXTENSIONS.contains(&it.to_lowercase().as_str()))
}

/// The kinds, for people.
pub(super) fn kinds() -> String {
    EXTENSIONS.join(", ")
}

/// Empty files of these names, in a folder of their own.
#[cfg(test)]
pub(super) fn folder_of(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}
