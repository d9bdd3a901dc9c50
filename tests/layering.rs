//! placeholder replaced below
#[test] fn builds() {}
