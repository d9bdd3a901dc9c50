//! What castle asks of the GitOps engine and of the repository that it follows.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::handover::{HandoverState, Nudge, Probe, SeedPart};
use crate::step::Verdict;
use crate::{Context, Meter, Problem, Project, Result, SecretText};

/// Opens the handover of one cluster.
#[async_trait]
pub trait GitOps: Send + Sync + fmt::Debug {
    /// The name under which requests to the repository are counted: `git`. Requests
    /// to the cluster are counted by [`crate::Kubernetes`]' meter.
    fn name(&self) -> &'static str;

    /// Where requests to the repository are counted.
    fn meter(&self) -> &Meter;

    /// Looks, without changing anything and before there is a cluster, for what would
    /// stop the handover at its end: the credentials, the repository with its branch
    /// and path, the manifests of the seed. A few reads.
    ///
    /// # Errors
    ///
    /// When something that may answer later does not answer now.
    async fn preflight(&self, cx: &Context, project: &Arc<Project>) -> Result<Vec<Problem>>;

    /// Prepares the handover; asks nobody yet.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if the project declares no `gitops`, or names credentials that
    /// were not given.
    fn open(&self, cx: &Context, project: &Arc<Project>, kubeconfig: &SecretText) -> Result<Arc<dyn Handover>>;
}

/// The handover of one cluster.
///
/// | rule | conformance test |
/// |---|---|
/// | what was planted is seen as planted | `a_planted_part_stands` |
/// | planting twice writes nothing the second time | `planting_again_writes_nothing` |
/// | an object that the engine owns is never written, except its nudge | `what_flux_owns_is_left_alone` |
/// | the state is read from the cluster and the repository, and remembered nowhere | `a_new_handle_sees_the_same` |
/// | a watch begins with a wake | `a_watch_begins_with_the_present` |
///
/// # Cancellation
///
/// All methods may be cancelled by dropping them. Of a `plant` that was dropped some
/// objects may be applied: planting again applies the others. A `nudge` that was
/// dropped may have arrived; the next one looks first and does not repeat it.
#[async_trait]
pub trait Handover: Send + Sync + fmt::Debug {
    /// Whether a part of the seed stands. Reads only.
    ///
    /// # Errors
    ///
    /// `Unreachable` while the API or the repository does not answer.
    async fn stands(&self, cx: &Context, part: SeedPart) -> Result<Verdict>;

    /// Plants a part of the seed: applies what differs, in its order, and waits
    /// where one object needs another (definitions are established first).
    ///
    /// # Errors
    ///
    /// As [`Handover::stands`]; `Conflict` if somebody else holds a field that castle
    /// sets; `InvalidSpec` for a manifest that the API refuses; `Cancelled`.
    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()>;

    /// How far the handover is. Reads only, dry runs against webhooks included.
    ///
    /// # Errors
    ///
    /// As [`Handover::stands`].
    async fn observe(&self, cx: &Context) -> Result<HandoverState>;

    /// Asks Flux not to wait where waiting has become pointless. `before` is what
    /// was last observed. Each nudge is one write; none is sent twice for the same
    /// reason.
    ///
    /// # Errors
    ///
    /// As [`Handover::stands`]; `Conflict` if the object has changed meanwhile.
    async fn nudge(&self, cx: &Context, before: &HandoverState) -> Result<Vec<Nudge>>;

    /// Asks one probe. Reads only.
    ///
    /// # Errors
    ///
    /// As [`Handover::stands`]. An application that does not answer is no error but
    /// `NotYet`.
    async fn ask(&self, cx: &Context, probe: &Probe) -> Result<Verdict>;

    /// Wakes whenever something of the handover has changed, once at the beginning,
    /// and, while the cluster does not answer, after a back-off.
    fn watch(&self, cx: &Context) -> BoxStream<'static, ()>;
}
