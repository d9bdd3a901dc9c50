//! Requests, counted when they are over.

use std::sync::Arc;

use castle_core::Meter;

/// Counts one request when it is dropped, which may be long before its answer: from its
/// sending on, the server may have it.
pub(crate) struct Count {
    meter: Arc<Meter>,
    is_read: bool,
    is_sent: bool,
}

impl Count {
    /// A request that is about to be sent.
    pub(crate) fn of(meter: &Arc<Meter>, is_read: bool) -> Self {
        Self { meter: Arc::clone(meter), is_read, is_sent: true }
    }

    /// It found no server, so it was never sent.
    pub(crate) fn never_sent(&mut self) {
        self.is_sent = false;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        match (self.is_sent, self.is_read) {
            (false, _) => {}
            (true, true) => self.meter.count_read(),
            (true, false) => self.meter.count_write(),
        }
    }
}
