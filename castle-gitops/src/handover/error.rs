//! What goes wrong with a handover, beside the requests themselves.

use std::path::PathBuf;

use castle_core::ErrorKind;

use crate::manifest::BadManifest;

/// What went wrong. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The project hands nothing over.
    #[error("the project `{project}` has no part `gitops`")]
    NothingToHandOver {
        /// The project.
        project: String,
    },
    /// A part of the seed needs what the option document does not give.
    #[error("the seed has `{part}`, and the option document has no `{key}`")]
    NoCredentials {
        /// The part of the seed.
        part: &'static str,
        /// The missing key.
        key: &'static str,
    },
    /// Flux shall read the repository by credentials whose server is known by its pin.
    #[error("the seed has `{part}`, and the option document knows the git server by `fingerprints` alone")]
    OnlyPinned {
        /// The part of the seed.
        part: &'static str,
    },
    /// A manifest cannot be applied.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// The repository lacks a file.
    #[error("commit {commit} of the repository has no {path}")]
    NoFile {
        /// The file, from the root.
        path: String,
        /// The commit.
        commit: String,
    },
    /// A download is not what was declared.
    #[error("{url} has the SHA-256 {found}, declared is {wanted}")]
    OtherContent {
        /// The URL.
        url: String,
        /// As declared, in hex.
        wanted: String,
        /// As found, in hex.
        found: String,
    },
    /// A file beside `castle.yaml` cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The kustomization of `flux-system` does more than name its two files.
    #[error("{path} has {what}")]
    Customised {
        /// The file.
        path: String,
        /// What is too much.
        what: String,
    },
    /// What the repository says of the root is not what `castle.yaml` says.
    #[error("{path}: {what}")]
    OtherSync {
        /// The file.
        path: String,
        /// What differs.
        what: String,
    },
    /// The cluster follows something else already.
    #[error("the cluster has a {object} already, with {what}")]
    OtherRoot {
        /// The object.
        object: String,
        /// What differs.
        what: String,
    },
    /// Another tool looks after Flux.
    #[error("the cluster has the FluxInstance {name}, so the Flux operator looks after Flux")]
    Operated {
        /// Its namespace and name.
        name: String,
    },
    /// Somebody else holds a field of an object that castle plants.
    #[error("{object}: {fields} is held by {holder}")]
    Held {
        /// The object.
        object: String,
        /// The fields.
        fields: String,
        /// Their field manager.
        holder: String,
    },
    /// The API refused an object.
    #[error("{object} is not planted")]
    NotPlanted {
        /// The object.
        object: String,
        /// Why.
        #[source]
        source: Box<crate::kubernetes::Error>,
    },
    /// Definitions were not established in their time.
    #[error("{definition} {why}")]
    NotEstablished {
        /// The definition.
        definition: String,
        /// What it says.
        why: String,
    },
    /// An object of Flux is of another shape than Flux writes.
    #[error("an object of Flux cannot be read: {why}")]
    Strange {
        /// What is strange.
        why: String,
    },
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let out = |kind, message: &str, hint: &str| Self::new(kind, message).hint(hint);
        match &error {
            Error::NothingToHandOver { .. } => {
                out(ErrorKind::InvalidSpec, "there is nothing to hand over", "declare `gitops` in castle.yaml")
            }
            Error::NoCredentials { key, .. } => {
                Self::new(ErrorKind::InvalidSpec, "credentials of the seed are missing")
                    .hint(format!("give `{key}` in the option document, or take the part out of `gitops.seed`"))
            }
            Error::OnlyPinned { .. } => out(
                ErrorKind::InvalidSpec,
                "Flux cannot be told whom to trust",
                "give `git.ca_file` in the place of `git.fingerprints`: Flux takes no pin",
            ),
            Error::Manifest(_) => out(
                ErrorKind::InvalidSpec,
                "a manifest of the seed cannot be planted",
                "correct the manifest at that place",
            ),
            Error::NoFile { path, .. } => {
                Self::new(ErrorKind::NotFound, "the GitOps repository lacks a file of the seed")
                    .hint(format!("commit {path}, as `flux bootstrap` writes it"))
            }
            Error::OtherContent { .. } => out(
                ErrorKind::InvalidSpec,
                "a manifest is not the one that was declared",
                "look at what the URL gives now; if it is meant, write its SHA-256 into castle.yaml",
            ),
            Error::File { .. } => {
                out(ErrorKind::InvalidSpec, "a manifest cannot be read", "paths are relative to castle.yaml")
            }
            Error::Customised { .. } => out(
                ErrorKind::Unsupported,
                "flux-system is customised, which castle does not build",
                "bring the patches into gotk-components.yaml, or plant Flux by `flux bootstrap`",
            ),
            Error::OtherSync { .. } => out(
                ErrorKind::InvalidSpec,
                "the repository's root does not follow what castle.yaml names",
                "make url, branch and path of both equal",
            ),
            Error::OtherRoot { .. } => out(
                ErrorKind::ForeignOwner,
                "the cluster follows another repository or path, so Flux is not planted over it",
                "correct `gitops.repository` in castle.yaml, or remove that root first",
            ),
            Error::Operated { .. } => out(
                ErrorKind::ForeignOwner,
                "Flux is managed by another tool, so castle does not plant it",
                "take `flux` out of `gitops.seed`, or remove the FluxInstance",
            ),
            Error::Held { .. } => out(
                ErrorKind::ForeignOwner,
                "an object of the seed is held by somebody else",
                "let that manager release the fields, or take the object out of the seed",
            ),
            Error::NotPlanted { source, .. } => {
                let meaning = Self::from(source.as_ref().clone());
                Self::new(meaning.kind(), "an object of the seed is not planted")
                    .hint(meaning.advice().unwrap_or("read the cause"))
                    .retry(meaning.retry_class())
            }
            Error::NotEstablished { .. } => out(
                ErrorKind::DeadlineExceeded,
                "a definition of the seed is not established",
                "look at its conditions: kubectl get crd -o yaml",
            )
            .retry(castle_core::Retry::AfterObserving),
            Error::Strange { .. } => {
                out(ErrorKind::Unsupported, "the cluster's Flux is not one that castle knows", "use Flux 2.7 or newer")
            }
        }
        .caused_by(error)
    }
}
