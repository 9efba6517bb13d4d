//! The address of a server and the key for it: what can be used, and what of it may be shown.

use reqwest::Url;
use reqwest::header::HeaderValue;

/// Longest key or address, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// Checks a key.
///
/// # Errors
/// What is wrong with it, to be read behind its name. It is never shown.
pub fn check_api_key(key: &str) -> Result<(), String> {
    if key.len() > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes"));
    }
    match HeaderValue::from_str(&format!("Bearer {key}")) {
        Ok(_) => Ok(()),
        Err(_) => Err("holds characters that no HTTP header can".into()),
    }
}

/// Checks the address of an API.
///
/// # Errors
/// What is wrong with it, to be read behind its name. It is not shown: it may hold a password.
pub fn check_base_url(base_url: &str) -> Result<(), String> {
    if base_url.len() > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes"));
    }
    let url = Url::parse(base_url).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        return Err("must be a URL such as https://api.openai.com/v1".into());
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must be a URL without `?` and `#`, such as https://api.openai.com/v1".into());
    }
    Ok(())
}

/// An address as it is used and may be shown, and whether something was taken out: errors would
/// show a user and a password, which are never sent, as the key takes their place.
pub(super) fn shown(base_url: &str) -> (String, bool) {
    let mut address = base_url.trim_end_matches('/').to_owned();
    let mut has_user = false;
    if let Ok(mut url) = Url::parse(base_url) {
        has_user = !url.username().is_empty() || url.password().is_some();
        // What has a user has a host, so that taking it out cannot fail.
        if has_user && url.set_password(None).is_ok() && url.set_username("").is_ok() {
            url.as_str().trim_end_matches('/').clone_into(&mut address);
        }
    }
    (address, has_user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_taken_out_of_an_address() {
        for (given, expected, has_user) in [
            ("http://host:8080/v1/", "http://host:8080/v1", false),
            ("https://user:pass@host/v1", "https://host/v1", true),
            ("https://user@host/v1/", "https://host/v1", true),
            ("https://:pass@host/v1", "https://host/v1", true),
            ("not a url", "not a url", false),
        ] {
            assert_eq!(shown(given), (expected.to_owned(), has_user), "{given}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_showing_it() {
        assert_eq!(check_base_url("http://user:hidden@host/v1"), Ok(()));
        for bad in [
            "ftp://user:hidden@host/v1",
            "user:hidden@host/v1",
            "http://user:hidden@/v1",
            "https://host/v1?key=hidden",
            "https://host/v1#hidden",
        ] {
            let fault = check_base_url(bad).unwrap_err();
            assert!(fault.contains("must be a URL"), "{bad}: {fault}");
            assert!(!fault.contains("hidden"), "{fault}");
        }
        let fault = check_api_key("hid\nden").unwrap_err();
        assert!(!fault.contains("den"), "{fault}");
        assert!(check_api_key(&"x".repeat(MAX_BYTES + 1)).is_err());
        assert_eq!(check_api_key("sk-1"), Ok(()));
    }
}
