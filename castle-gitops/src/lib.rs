//! castle
