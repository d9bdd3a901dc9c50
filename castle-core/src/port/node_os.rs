//! What castle asks of the operating system on a machine.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::node::{Ghost, Member, NodeSite, NodeState, NodeTarget};
use crate::{Context, Credential, Env, Meter, Problem, Project, Result, SecretBytes, SecretText};

/// Configures nodes, gives birth to etcd once, and tells how far they have come.
///
/// | rule | conformance test |
/// |---|---|
/// | `render` is pure: the same bundle, project and node give the same bytes | `rendering_is_pure` |
/// | a worker's configuration holds no private key of an authority | `workers_carry_no_authority` |
/// | `look` never fails for a node that is silent, a stranger, or half booted: it says so | `a_look_tells_every_state` |
/// | `apply` sends secrets only over a connection that proved itself (pin), or, asked for, after the uuid was read on that same connection | `no_secret_on_an_unproved_connection` |
/// | `apply` refuses a node with residue of a former life | `virginity_is_proved` |
/// | `bootstrap` on a node whose etcd has data is success only if the member list shows this cluster | `bootstrap_happens_once` |
/// | `members` are told by id, never by address | `members_go_by_id` |
/// | kubeconfig and talosconfig are minted offline and kept while they are valid | `credentials_are_kept` |
///
/// # Cancellation
///
/// All methods may be cancelled by dropping them. A `look`, `members` or `ghosts` that
/// was dropped has changed nothing; of an `apply`, a `bootstrap` or a `remove_member`
/// it is not known whether it arrived, which the next look at the node decides. Each
/// call bounds its own requests: a node that neither answers nor refuses ends as an
/// error or as [`NodeState::Silent`].
#[async_trait]
pub trait NodeOs: Send + Sync + fmt::Debug {
    /// The backend's name in reports, for example `talos`.
    fn name(&self) -> &'static str;

    /// Where its requests are counted.
    fn meter(&self) -> &Meter;

    /// Judges a declaration without asking anybody.
    fn validate(&self, project: &Project) -> Vec<Problem>;

    /// The complete machine configuration of a node. Pure.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if the bundle or a patch cannot be used.
    fn render(&self, site: &NodeSite, node: &NodeTarget) -> Result<SecretBytes>;

    /// Looks once at what answers at the node's address.
    ///
    /// # Errors
    ///
    /// Only where nothing could be asked: `InvalidSpec` if the bundle cannot be used,
    /// `Unreachable` if the address may not be dialled. What the node says or does not
    /// say is a [`NodeState`].
    async fn look(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<NodeState>;

    /// Wakes whenever another look at the node may show something new: after each
    /// change that the node tells of, and, while it is silent, after a back-off.
    /// It wakes once at the beginning. Opening it is one read.
    fn watch(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> BoxStream<'static, ()>;

    /// Gives a node in maintenance its configuration, after proving on the same
    /// connection that it is the machine of this life and that its disk is blank.
    /// A node that is already configured as wanted is left alone.
    ///
    /// # Errors
    ///
    /// `ForeignOwner` for a stranger; `EvidenceMissing` for residue, with the
    /// ghost's name and cure; `InvalidSpec` if the node refuses the configuration.
    async fn apply(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()>;

    /// Gives birth to etcd on this control plane. To be called only after every
    /// control plane was asked; [`NodeOs::members`] decides after a lost answer.
    ///
    /// # Errors
    ///
    /// `Conflict` while the node cannot do it yet (its text says why);
    /// `EvidenceMissing` if its data directory holds another cluster's data.
    async fn bootstrap(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()>;

    /// The members of etcd, as this control plane lists them. Empty: its etcd does
    /// not run.
    ///
    /// # Errors
    ///
    /// `Unreachable` if the node does not answer; `ForeignOwner` if a stranger does.
    async fn members(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Vec<Member>>;

    /// The id of the member of etcd that this control plane is, by its own word. `None`:
    /// it does not know.
    async fn member_id(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Option<u64>>;

    /// Removes a member by its id; absent is success.
    ///
    /// # Errors
    ///
    /// As [`NodeOs::members`]; `QuorumLost` where the node refuses because etcd would
    /// lose its quorum; `Unsupported` if the system cannot do it.
    async fn remove_member(&self, cx: &Context, site: &NodeSite, through: &NodeTarget, id: u64) -> Result<()>;

    /// Remnants of a former life that this node shows: stale discovery entries,
    /// doubled identities, an old data directory, a foreign certificate.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if the bundle cannot be used. A node that does not answer shows
    /// no ghost and is no error.
    async fn ghosts(&self, cx: &Context, site: &NodeSite, nodes: &[NodeTarget]) -> Result<Vec<Ghost>>;

    /// An administrator's kubeconfig, minted offline. `kept`, what the store
    /// holds, is returned unchanged while it fits and has 30 days left.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if the bundle cannot be used.
    fn kubeconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText>;

    /// An administrator's talosconfig, minted offline. `kept` as above.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if the bundle cannot be used.
    fn talosconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText>;

    /// Whether a text is such a credential of this cluster, of whatever life and
    /// however old: what castle may replace. Pure; decides by the names that the
    /// credential bears, and must say no to what it cannot read.
    fn is_credential(&self, project: &Project, which: Credential, text: &SecretText) -> bool;
}
