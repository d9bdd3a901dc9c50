//! How the simulated Proxmox VE says no.

use std::collections::BTreeMap;

/// An error answer: status, message, and what was wrong with which parameter.
///
/// Proxmox VE puts the first line of the message into the reason phrase of the
/// status line and the whole of it into the body (pve-http-server).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The message, without the final newline.
    pub message: String,
    /// Complaints by parameter.
    pub errors: BTreeMap<String, String>,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: BTreeMap::new() }
    }

    /// A 500: the call died with this text.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(500, message)
    }

    /// A 403; `detail` is what stands between the parentheses.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(403, format!("Permission check failed ({detail})"))
    }

    /// A 403 that says nothing more.
    #[must_use]
    pub fn forbidden_without_detail() -> Self {
        Self::new(403, "Permission check failed")
    }

    /// A 400 about one parameter.
    pub fn parameter(name: impl Into<String>, complaint: impl Into<String>) -> Self {
        Self::parameters(BTreeMap::from([(name.into(), complaint.into())]))
    }

    /// A 400 about several parameters.
    #[must_use]
    pub fn parameters(errors: BTreeMap<String, String>) -> Self {
        Self { errors, ..Self::new(400, "Parameter verification failed.") }
    }

    /// Any other status.
    pub fn other(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, message)
    }

    /// A 500 for a machine whose configuration is not on that host.
    #[must_use]
    pub fn no_configuration(host: &str, id: u32) -> Self {
        Self::failure(format!("Configuration file 'nodes/{host}/qemu-server/{id}.conf' does not exist"))
    }
}
