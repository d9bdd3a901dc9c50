//! castle
fn main() {}
