//! Secret stores.

mod disk;
mod files;

pub use files::FileSecrets;
