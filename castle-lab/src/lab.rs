//! The lab as a product: started in one line, broken on purpose, asked
//! afterwards what happened.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use castle_core::options::{DialMap, ProxmoxAccess, SecretsAccess};
use castle_core::{
    Clock, Env, Error, ErrorKind, NodeRole, Options, Pace, Project, Result, Secret, SecretStore, SeededEntropy,
};
use tokio::task::JoinSet;

use crate::address::{self, Block};
use crate::doors::{PROXMOX_PORT, house_of};
use crate::faults::{Fault, Faults};
use crate::floor::Floor;
use crate::front::Service;
use crate::hypervisor::house::CASTLE_TOKEN;
use crate::journal::Journal;
use crate::pki::Pki;
use crate::run::RunId;
use crate::server::talos::{NodeApiServer, NodeDoor};
use crate::server::web::WebDoor;
use crate::turns::Turnstile;
use crate::vault::Vault;
use crate::wire;
use crate::world::World;

/// The port of apid on every node.
const TALOS_PORT: u16 = 50_000;
/// The port of the API server of Kubernetes.
const API_PORT: u16 = 6443;

/// So many addresses of load balancers have doors.
const LOAD_BALANCERS_MAX: usize = 16;

/// How far a lab's time goes. Beyond lie years that no certificate can name.
const TIME_MAX: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// Each door has an address of the lab's block; the last is the sentinel's.
const DOORS_MAX: usize = 253;

/// A server of the simulated house: where the house has it, and what speaks
/// there.
#[derive(Clone)]
pub struct Door {
    /// Its address in the house, as declarations name it.
    pub house: SocketAddr,
    /// Its names, for the certificate.
    pub names: Vec<String>,
    /// What speaks there.
    pub service: Arc<dyn Service>,
}

/// What a lab shall be. Made by [`Lab::builder`].
pub struct LabBuilder {
    project: Option<Project>,
    seed: u64,
    pace: Pace,
    public: bool,
    world: Option<World>,
    journal: Journal,
    faults: Faults,
    doors: Vec<Door>,
    clusters: Vec<SocketAddr>,
}

impl LabBuilder {
    /// The seed of all chance: of the home, its durations, and the engine's random
    /// bytes. A carried world keeps its own seed for durations.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How fast time runs. Virtual if not said.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Listens at loopback addresses with the real ports, for clients of other
    /// processes. Refused in virtual time.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Goes on with a world that an earlier lab gave back.
    #[must_use]
    pub fn world(mut self, world: World) -> Self {
        self.world = Some(world);
        self
    }

    /// Writes on in an earlier lab's journal.
    #[must_use]
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = journal;
        self
    }

    /// What shall go wrong.
    #[must_use]
    pub fn faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = Faults::new(faults);
        self
    }

    /// Adds a server of one's own.
    #[must_use]
    pub fn door(mut self, door: Door) -> Self {
        self.doors.push(door);
        self
    }

    /// Adds an API server of Kubernetes at that address of the house, which serves
    /// whenever the store of the world ([`World::kubernetes`]) does and has an
    /// identity. For labs without nodes.
    #[must_use]
    pub fn cluster_at(mut self, house: SocketAddr) -> Self {
        self.clusters.push(house);
        self
    }

    /// The pace as set so far.
    #[must_use]
    pub fn pace_is(&self) -> Pace {
        self.pace
    }

    /// Opens the lab. Call it inside the runtime that will run it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for public ports in virtual time;
    /// [`ErrorKind::AddressInUse`] with address and port if one is taken;
    /// [`ErrorKind::InvalidSpec`] if the project's subnet leaves no address for
    /// its hosts, or if there are more servers than addresses.
    pub async fn start(self) -> Result<Lab> {
        let Self { project, seed, pace, public, world, journal, faults, mut doors, clusters } = self;
        let block = if public { Some(Block::claim(pace)?) } else { None };

        let mut world = world.unwrap_or_else(|| match &project {
            Some(project) => World::home(project, seed),
            None => World::empty(seed),
        });
        let wall = if pace != Pace::Virtual && world.now().is_zero() {
            // Foreign clients judge certificates and dates by the real wall. In
            // virtual time the world's own beginning stays, so that two runs of
            // one seed agree in every byte.
            let real = Clock::new(pace).wall();
            real.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(world.epoch)
        } else {
            world.wall()
        };
        // A world that was carried here goes on at another pace, from the same day.
        world.pace = pace;
        world.epoch = wall.saturating_sub(pace.on_the_wall(world.now()));
        let clock = Clock::resumed(pace, world.now(), SystemTime::UNIX_EPOCH + world.epoch);
        let pki = match &world.ledger.pki {
            Some(pki) => Arc::clone(pki),
            None => Arc::new(Pki::new(clock.wall())?),
        };
        world.ledger.pki = Some(Arc::clone(&pki));

        let mut names = BTreeMap::new();
        if let Some(project) = &project {
            let house = house_of(project)?;
            doors.splice(0..0, house.doors);
            names = house.names;
            world.furnish_certificates(project, &pki)?;
        }
        let node_doors = match &project {
            Some(project) => node_doors(project, &world),
            None => Vec::new(),
        };
        // Without public ports nodes share one address.
        let addressed = if block.is_some() { node_doors.len() } else { 0 };
        let count = doors.len() + clusters.len() + addressed;
        if count > DOORS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidSpec,
                format!("a house of {count} servers; a lab has addresses for {DOORS_MAX}"),
            ));
        }
        let floor = Arc::new(Floor::new(clock, world, journal, faults));
        let mut servers = JoinSet::new();
        let mut dial = BTreeMap::new();
        let mut fingerprints = BTreeMap::new();
        for (number, door) in (1..=u8::MAX).zip(doors) {
            let at = match &block {
                Some(block) => SocketAddr::new(block.address(number), door.house.port()),
                None => SocketAddr::new(address::loopback(), 0),
            };
            let listener = address::listen(at)?;
            let at = listener.local_addr().map_err(|error| {
                Error::new(ErrorKind::Unexpected, "a listening socket has no address").caused_by(error)
            })?;
            // Both addresses: castle asks for the house's, a foreign client for the mapped one.
            let identity = pki.server(&door.names, &[door.house.ip(), at.ip()], floor.clock.wall())?;
            dial.insert(door.house, at);
            fingerprints.insert(door.house, identity.fingerprint);
            servers.spawn(wire::serve(listener, identity.config, Arc::clone(&floor), door.service));
        }
        for (number, house) in (1..=DOORS_MAX as u8).rev().zip(clusters) {
            let at = match &block {
                Some(block) => SocketAddr::new(block.address(number), house.port()),
                None => SocketAddr::new(address::loopback(), 0),
            };
            let listener = address::listen(at)?;
            let at = listener.local_addr().map_err(|error| {
                Error::new(ErrorKind::Unexpected, "a listening socket has no address").caused_by(error)
            })?;
            dial.insert(house, at);
            let cluster = Arc::new(crate::server::kubernetes::ClusterGate::new(floor.clock.clone()));
            servers.spawn(crate::gate::serve(listener, Arc::clone(&floor), cluster));
        }
        // All ports of one address of the house are at one address of the block.
        let mut numbers = BTreeMap::new();
        for house in node_doors {
            let next = dial.len() + 1;
            let number = *numbers.entry(house.ip()).or_insert(next);
            let at = match &block {
                Some(block) => SocketAddr::new(block.address(number as u8), house.port()),
                None => SocketAddr::new(address::loopback(), 0),
            };
            let listener = address::listen(at)?;
            let at = listener.local_addr().map_err(|error| {
                Error::new(ErrorKind::Unexpected, "a listening socket has no address").caused_by(error)
            })?;
            dial.insert(house, at);
            let clock = floor.clock.clone();
            let gate: Arc<dyn crate::gate::Gate> = match house.port() {
                TALOS_PORT => Arc::new(NodeDoor::new(house.ip(), at.ip(), clock)),
                port if WebDoor::is_at(port) => Arc::new(WebDoor::new(house, clock)),
                _ => Arc::new(NodeApiServer::new(house.ip(), clock)),
            };
            servers.spawn(crate::gate::serve(listener, Arc::clone(&floor), gate));
        }
        let mapped: Vec<IpAddr> = dial.values().map(SocketAddr::ip).collect();
        floor.with_world(|world| world.nodes.listen_at(mapped));
        servers.spawn(Arc::clone(&floor).drive());
        Ok(Lab { floor, servers, block, pki, dial, names, fingerprints, seed })
    }
}

/// A running lab. Dropping it stops its servers; the world is lost then, unless
/// it was carried out by [`Lab::into_world`].
///
/// ```
/// use castle_lab::{Lab, World, runtime};
///
/// // An empty home, without any server: what is left is time and the journal.
/// let seconds = runtime::run_virtual(|| async {
///     let lab = Lab::of(World::empty(7)).start().await.unwrap();
///     lab.advance(std::time::Duration::from_secs(3600)).await.unwrap();
///     assert!(lab.journal().is_empty());
///     lab.with_world(|world| world.now().as_secs())
/// });
/// assert_eq!(seconds, 3600);
/// ```
#[derive(Debug)]
pub struct Lab {
    floor: Arc<Floor>,
    servers: JoinSet<()>,
    block: Option<Block>,
    pki: Arc<Pki>,
    /// House address to listening address.
    dial: BTreeMap<SocketAddr, SocketAddr>,
    /// Which house addresses declarations know by name and port.
    names: BTreeMap<(String, u16), SocketAddr>,
    fingerprints: BTreeMap<SocketAddr, String>,
    seed: u64,
}

impl Lab {
    /// A lab around the home that this project was written for: its hosts,
    /// storages, images, users and rights, with a stranger's machine beside.
    #[must_use]
    pub fn builder(project: &Project) -> LabBuilder {
        LabBuilder {
            project: Some(project.clone()),
            seed: 0,
            pace: Pace::Virtual,
            public: false,
            world: None,
            journal: Journal::new(),
            faults: Faults::default(),
            doors: Vec::new(),
            clusters: Vec::new(),
        }
    }

    /// A lab around a world, with only the servers that are given by
    /// [`LabBuilder::door`].
    #[must_use]
    pub fn of(world: World) -> LabBuilder {
        let seed = world.draws().seed();
        LabBuilder {
            project: None,
            seed,
            pace: Pace::Virtual,
            public: false,
            world: Some(world),
            journal: Journal::new(),
            faults: Faults::default(),
            doors: Vec::new(),
            clusters: Vec::new(),
        }
    }

    /// Allots the next engine run: a source address and random bytes of its own.
    #[must_use]
    pub fn new_run(&self) -> RunId {
        self.floor.runs.allot().0
    }

    /// Where a run's connections come from. [`RunId::FOREIGN`], and a run of an
    /// earlier lab, come from 127.0.0.1 as everybody does.
    #[must_use]
    pub fn source(&self, run: RunId) -> IpAddr {
        self.floor.runs.source(run).unwrap_or_else(address::loopback)
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.floor.runs.connections()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.floor.runs.open_connections()
    }

    /// The option document that a user would write for this house, with the
    /// addresses mapped to the lab's and the source address of `run`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if this lab has no Proxmox server, or its world no
    /// token of castle's.
    pub fn options(&self, run: RunId) -> Result<Options> {
        let house = self.dial.keys().find(|house| house.port() == PROXMOX_PORT).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "this lab has no Proxmox server")
                .hint("build it with `Lab::builder(project)`")
        })?;
        let token = self.with_world(|world| {
            let secret = &world.proxmox.access.tokens.get(CASTLE_TOKEN)?.secret;
            Some(format!("{CASTLE_TOKEN}={secret}"))
        });
        let token = token
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the house has no API token `{CASTLE_TOKEN}`")))?;
        Ok(Options {
            proxmox: Some(ProxmoxAccess {
                url: format!("https://{house}"),
                token: Secret::new(token),
                trust: self.trust(),
            }),
            maintenance: castle_core::options::MaintenanceAccess { trust_on_first_use: true, ..Default::default() },
            secrets: SecretsAccess::Memory,
            git: self.git_access(),
            identity: self.identity(),
            dial: self.dial_map(),
            source: self.floor.runs.source(run),
            pace: self.floor.clock.pace(),
            lab: true,
        })
    }

    /// Where connections to the house really go.
    #[must_use]
    pub fn dial_map(&self) -> DialMap {
        let names = self.names.iter().filter_map(|(name, house)| Some((name.clone(), self.address_of(*house)?)));
        DialMap::exclusive(self.addresses()).with_names(names)
    }

    /// Where a server that is known by its name really listens.
    #[must_use]
    pub fn address_of_name(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.names.get(&(host.to_ascii_lowercase(), port)).and_then(|house| self.address_of(*house))
    }

    /// The lab's clock. Castle's scales with it.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.floor.clock.clone()
    }

    /// Time and chance for one run: the lab's clock, and random bytes that follow
    /// from the seed and the run's number.
    #[must_use]
    pub fn env(&self, run: RunId) -> Env {
        let seed = self.seed ^ u64::from(run.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Env { clock: self.clock(), entropy: Arc::new(SeededEntropy::new(seed)) }
    }

    /// The secret store of the house, as one run sees it.
    #[must_use]
    pub fn secrets(&self, run: RunId) -> Arc<dyn SecretStore> {
        Arc::new(Vault::new(self.floor(), run))
    }

    /// Every request so far.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.floor.journal
    }

    /// The table of faults, to be added to while the lab runs.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.floor.faults
    }

    /// In which order the requests of several runs have their effects.
    #[must_use]
    pub fn turns(&self) -> &Turnstile {
        &self.floor.turns
    }

    /// The certificate authority of the house.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Where a server of the house really listens.
    #[must_use]
    pub fn address_of(&self, house: SocketAddr) -> Option<SocketAddr> {
        self.dial.get(&house).copied()
    }

    /// House addresses with the addresses they are mapped to.
    pub fn addresses(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> + '_ {
        self.dial.iter().map(|(house, at)| (*house, *at))
    }

    /// SHA-256 of a server's certificate, as Proxmox prints it.
    #[must_use]
    pub fn fingerprint_of(&self, house: SocketAddr) -> Option<&str> {
        self.fingerprints.get(&house).map(String::as_str)
    }

    /// Whether foreign clients can reach it at real ports.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.block.is_some()
    }

    /// Looks at the world as it is now, or changes it. Call it inside the
    /// runtime that runs the lab: elsewhere the lab's clock cannot be read.
    ///
    /// # Panics
    ///
    /// If the world was carried out by [`crate::runtime::run_virtual_until_cut`]
    /// while a handle to the lab was kept, or if a server panicked while it
    /// changed the world.
    pub fn with_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.floor.with_world(look).expect("a running lab has its world")
    }

    /// Moves virtual time by hand. Timers on the way fire.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] at any other pace: time cannot be pushed there.
    /// [`ErrorKind::InvalidSpec`] beyond a thousand years.
    pub async fn advance(&self, by: Duration) -> Result<()> {
        match self.floor.clock.pace() {
            Pace::Virtual => {
                let clock = &self.floor.clock;
                let goal = clock.elapsed().saturating_add(by);
                if goal > TIME_MAX {
                    let told = format!("{by:?} more would be beyond a lab's time, which is a thousand years");
                    return Err(Error::new(ErrorKind::InvalidSpec, told).hint("advance it by less, or open a new lab"));
                }
                // The runtime's timers reach some decades at most, and fire then.
                while clock.elapsed() < goal {
                    clock.sleep_until(goal).await;
                }
                Ok(())
            }
            pace => {
                Err(Error::new(ErrorKind::Unsupported, format!("a lab of pace `{pace}` cannot be advanced by hand"))
                    .hint("build it with `pace(Pace::Virtual)`, or wait"))
            }
        }
    }

    /// Marks a run dead: its connections are reset, and nothing that it has sent
    /// reaches the world any more.
    pub fn kill(&self, run: RunId) {
        self.floor.kill(run);
    }

    /// Completes with the run that a fault of the kind `Cut` struck.
    pub async fn cut_happened(&self) -> RunId {
        self.floor.cut_happened().await
    }

    /// Completes once a run is dead: by [`Lab::kill`] or by a fault of the kind `Cut`.
    pub async fn run_died(&self, run: RunId) {
        self.floor.run_died(run).await;
    }

    /// Stops all servers and gives the world back, for the next lab. Call it
    /// inside the runtime that runs the lab.
    ///
    /// # Panics
    ///
    /// As [`Lab::with_world`].
    #[must_use]
    pub fn into_world(mut self) -> World {
        self.servers.abort_all();
        self.floor.with_world(|_| ()).expect("a running lab has its world");
        self.floor.take_world().expect("the world was there a line ago")
    }

    pub(crate) fn floor(&self) -> Arc<Floor> {
        Arc::clone(&self.floor)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Requests at work hold the floor, which holds them.
        self.floor.stop();
    }
}

/// The doors of the cluster: the Talos API of every machine, the API server of
/// every control plane and of the shared address, the web at the addresses of load
/// balancers, and whatever a test has planted beside.
fn node_doors(project: &Project, world: &World) -> Vec<SocketAddr> {
    let mut doors = std::collections::BTreeSet::new();
    for machine in &project.machines {
        doors.insert(SocketAddr::new(machine.nic.address, TALOS_PORT));
        if machine.role == NodeRole::ControlPlane {
            doors.insert(SocketAddr::new(machine.nic.address, API_PORT));
        }
    }
    doors.extend(project.network.vip.map(|vip| SocketAddr::new(vip, API_PORT)));
    for address in world.nodes.further_addresses() {
        doors.extend([TALOS_PORT, API_PORT].map(|port| SocketAddr::new(address, port)));
    }
    doors.extend(load_balancers(project).into_iter().flat_map(WebDoor::ports));
    doors.into_iter().collect()
}

/// The addresses that the cluster's load balancers may take, the first ones of
/// many.
fn load_balancers(project: &Project) -> Vec<IpAddr> {
    let Some((first, last)) = project.network.load_balancers else { return Vec::new() };
    let range = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u32::from(first)..=u32::from(last),
        // MetalLB's model gives no addresses of IPv6.
        _ => return Vec::new(),
    };
    range.take(LOAD_BALANCERS_MAX).map(|address| IpAddr::V4(address.into())).collect()
}
