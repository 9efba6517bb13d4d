//! The one implementation of TLS in the program: ring, which the database's client brings.

/// Makes ring the process's TLS. To be called before an HTTP client is made, whoever is first.
pub fn use_ring() {
    // It fails where somebody chose before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
