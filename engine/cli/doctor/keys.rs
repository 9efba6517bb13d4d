//! Keys: whether there are some, and who may read and write their files.

use std::os::unix::fs::MetadataExt as _;

use engine::http::Keys;

use super::finding::Finding;
use super::told;
use crate::cli::permission::is_writable_by_all;
use crate::cli::serve::ServeArgs;

/// Of the mode of a file, the right of everybody to read it.
const READABLE_BY_ALL: u32 = 0o004;

pub(super) fn look(serve: &ServeArgs) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in serve.key_files().into_iter().flatten() {
        let shown = file.display();
        let Ok(seen) = std::fs::metadata(file) else {
            // Whoever reads it says why it cannot be.
            continue;
        };
        if !seen.is_file() {
            // Whoever writes keys into a pipe may do so once, and for the server.
            let what = format!("{shown} is no regular file: the keys in it are left to the server");
            found.push(Finding::fine(what));
            return found;
        }
        let mode = seen.mode() & 0o7777;
        if !is_writable_by_all(mode) && mode & READABLE_BY_ALL != 0 {
            let what = format!("everybody may read the keys of {shown} (mode {mode:o})");
            found.push(Finding::warning(what, format!("`chmod 600 {shown}`")));
        }
    }
    let trust = match serve.trust() {
        Ok(trust) => trust,
        Err(failure) => {
            let (text, _) = told(&failure);
            let advice = "a server does not start with it: `openssl rand -hex 32` makes a key";
            found.push(Finding::misconfigured(text, advice));
            return found;
        }
    };
    let is_inside = serve.listen().is_loopback();
    found.extend(of(&trust.api_keys, &trust.admin_keys, is_inside));
    found
}

fn of(api: &Keys, admin: &Keys, is_inside: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if api.is_empty() && admin.is_empty() && !is_inside {
        found.push(Finding::warning(
            "no keys, and the address is no loopback one: whoever reaches it may use the service",
            "set OMNIZAP_API_KEYS_FILE, or let it listen where only its own network comes",
        ));
    } else if api.is_empty() {
        let whom = if is_inside {
            "this machine"
        } else {
            "whoever reaches the address"
        };
        found.push(Finding::fine(format!(
            "{whom} needs no key, {admin:?} of administrators"
        )));
    } else {
        let what = format!("{api:?}, and {admin:?} of administrators");
        found.push(Finding::fine(what));
    }
    if admin.is_empty() && !is_inside {
        found.push(Finding::fine(
            "no OMNIZAP_ADMIN_KEYS: the routes of administrators are closed on this address",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_service_on_every_interface_is_a_warning() {
        let none = Keys::default();
        let one = Keys::parse("0123456789abcdef").unwrap();
        let shown = |api: &Keys, admin: &Keys, is_inside: bool| {
            let found = of(api, admin, is_inside);
            found
                .iter()
                .map(Finding::shown)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert!(shown(&none, &none, false).starts_with("warning: no keys"));
        assert!(shown(&none, &none, true).starts_with("ok: this machine needs no key"));
        let both = shown(&one, &one, false);
        assert!(both.starts_with("ok: 1 keys, and 1 keys of"), "{both}");
        assert!(!both.contains("closed"), "{both}");
    }
}
