//! Birth: one request that makes the machine with everything it will ever need,
//! and the completion of what a cut left unfinished.

use std::net::IpAddr;
use std::time::Duration;

use castle_core::{Birth, Context, ErrorKind, Machine, MachineSpec, Name, Owner, Power};
use reqwest::Method;

use crate::config::{DYING, Tags, size_text};
use crate::machines::{Seen, Sight, hidden, not_ours, stub};
use crate::provider::ProxmoxProvider;
use crate::{Error, Refusal, Result};

/// How often a creation is begun before its failure is believed.
const ATTEMPTS: u32 = 4;
/// The wait after a lock was held too long, in castle's time; it grows.
const BACKOFF: Duration = Duration::from_secs(1);

impl ProxmoxProvider {
    /// Makes the machine exist, complete and off.
    ///
    /// The number is the reservation: a creation whose answer was lost is looked
    /// for by its number, and taken up if mark and uuid are those of this birth.
    pub(crate) async fn give_birth(
        &self,
        cx: &Context,
        owner: &Owner,
        spec: &MachineSpec,
        birth: &Birth,
    ) -> castle_core::Result<Machine> {
        let mark = owner.mark(spec, birth).ok_or_else(|| {
            castle_core::Error::new(ErrorKind::EvidenceMissing, "a machine is not made without the project's key")
                .with("node", &spec.node)
                .hint("bring the secret store back: it holds the key that marks machines as ours")
        })?;
        let (id, host) = (spec.id, spec.host.as_str());
        let mut last: Option<Error> = None;
        let mut made = false;
        for attempt in 0..ATTEMPTS {
            // The first look may be a short one: the number itself refuses a twin.
            let sight = match &last {
                None => self.glance(owner, id, host).await?,
                Some(_) => Some(self.sight(owner, id, host).await?),
            };
            match sight {
                Some(Sight::Seen(seen)) => return self.complete(cx, owner, spec, birth, *seen, made).await,
                Some(Sight::Stub(text)) => return Err(stub(spec, &text)),
                Some(Sight::Hidden) => return Err(hidden(spec)),
                Some(Sight::Busy(upid)) => {
                    self.outlast(cx, &upid).await?;
                    continue;
                }
                Some(Sight::Absent) | None => {}
            }
            match self.create(cx, owner, spec, birth, &mark).await {
                Ok(()) => (last, made) = (None, true),
                Err(error) if error.refusal().is_some_and(Refusal::passes_by_itself) => {
                    cx.waiting(format!("a busy lock on {host}: {error}"));
                    self.env.clock.sleep(BACKOFF * (attempt + 1)).await;
                    last = Some(error);
                }
                Err(error) if is_worth_a_look(&error) => last = Some(error),
                Err(error) => return Err(castle_core::Error::from(error).with("node", &spec.node)),
            }
        }
        // One more look: the last attempt may have been the good one.
        match self.sight(owner, id, host).await? {
            Sight::Seen(seen) => self.complete(cx, owner, spec, birth, *seen, made).await,
            Sight::Stub(text) => Err(stub(spec, &text)),
            Sight::Hidden => Err(hidden(spec)),
            Sight::Busy(_) | Sight::Absent => Err(match last {
                Some(error) => castle_core::Error::from(error).with("node", &spec.node),
                None => castle_core::Error::new(
                    ErrorKind::Conflict,
                    format!("machine {id} was made {ATTEMPTS} times and is not there"),
                )
                .with("node", &spec.node)
                .hint("see who removes it: `pvesh get /cluster/tasks` on the host"),
            }),
        }
    }

    async fn create(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth, mark: &str) -> Result<()> {
        let host = spec.host.as_str();
        let imports = self.host(host).imports(&spec.storage);
        let _room = match imports.try_acquire() {
            Ok(room) => room,
            Err(_) => {
                cx.waiting(format!("room for one more import into {} on {host}", spec.storage));
                imports.acquire().await.expect("the semaphore is never closed")
            }
        };
        let form = form(owner.cluster(), spec, birth, mark);
        let upid = self.write(cx, host, Method::POST, &["nodes", host, "qemu"], &form).await?;
        match upid {
            Some(upid) => {
                let why = format!("the import of {} for machine {}", spec.image.file, spec.id);
                self.finish(cx, &upid, &why).await
            }
            None => Ok(()),
        }
    }

    /// Grows the disk of a machine of this birth to what is declared, reads it
    /// back, and verifies it.
    async fn complete(
        &self,
        cx: &Context,
        owner: &Owner,
        spec: &MachineSpec,
        birth: &Birth,
        mut seen: Seen,
        made: bool,
    ) -> castle_core::Result<Machine> {
        for _ in 0..ATTEMPTS {
            verify(spec, birth, &seen)?;
            match seen.config.disk() {
                Some(disk) if disk >= spec.disk => {
                    // One that this very call made is off: nobody was asked to start it.
                    let power = if made { Power::Stopped } else { self.power_now(&seen.node, spec.id).await? };
                    return Ok(seen.machine(spec.id, power));
                }
                Some(_) => match self.resize(cx, spec, &seen).await {
                    Ok(()) => {}
                    // Whether it grew is read from the machine, not from the answer.
                    Err(error) if is_worth_a_look(&error) => {}
                    Err(error) => return Err(castle_core::Error::from(error).with("node", &spec.node)),
                },
                None => {
                    return Err(castle_core::Error::new(
                        ErrorKind::Conflict,
                        format!("machine {} has no system disk", spec.id),
                    )
                    .with("node", &spec.node)
                    .hint("destroy it and create it again"));
                }
            }
            let config = self.read_config(&seen.node, spec.id).await?;
            let evidence =
                castle_core::Evidence { id: spec.id, uuid: config.uuid(), description: config.description() };
            seen.standing = owner.judge(&evidence);
            seen.config = config;
        }
        Err(castle_core::Error::new(
            ErrorKind::Conflict,
            format!("the disk of machine {} does not reach {}", spec.id, spec.disk),
        )
        .with("node", &spec.node)
        .hint("see the resize tasks of the machine on the host"))
    }

    async fn resize(&self, cx: &Context, spec: &MachineSpec, seen: &Seen) -> Result<()> {
        let id = spec.id.to_string();
        // Absolute, so that a repetition changes nothing; with the digest, so that
        // it meets the machine that was judged.
        let mut params = vec![("disk", "scsi0".to_owned()), ("size", size_text(spec.disk))];
        if let Some(digest) = seen.config.digest() {
            params.push(("digest", digest.to_owned()));
        }
        let path = ["nodes", &seen.node, "qemu", &id, "resize"];
        match self.write(cx, &seen.node, Method::PUT, &path, &params).await? {
            Some(upid) => self.finish(cx, &upid, &format!("the disk of machine {id} to grow")).await,
            None => Ok(()),
        }
    }
}

/// Whether what was read is the machine of this birth.
fn verify(spec: &MachineSpec, birth: &Birth, seen: &Seen) -> castle_core::Result<()> {
    let Some(mark) = seen.standing.ours() else {
        return Err(not_ours(spec, &seen.standing));
    };
    if seen.config.uuid() != Some(birth.uuid) || mark.node != spec.node {
        return Err(castle_core::Error::new(
            ErrorKind::ForeignOwner,
            format!(
                "machine {} is ours but of another birth: {} of life {}, generation {}",
                spec.id, mark.node, mark.life, mark.generation
            ),
        )
        .with("node", &spec.node)
        .with("host", &spec.host)
        .hint("destroy it first, then create again"));
    }
    if seen.config.tags().has(DYING) {
        return Err(castle_core::Error::new(
            ErrorKind::Conflict,
            format!("the removal of machine {} has begun", spec.id),
        )
        .with("node", &spec.node)
        .hint("finish it with `castle destroy`, then create again"));
    }
    Ok(())
}

/// Whether the machine may be there in spite of the error.
fn is_worth_a_look(error: &Error) -> bool {
    error.leaves_doubt()
        || error.refusal().is_some_and(|refusal| {
            refusal.passes_by_itself()
                || matches!(refusal, Refusal::AlreadyExists | Refusal::Interrupted | Refusal::StaleDigest)
        })
}

/// The whole machine as one form: it exists with its mark or not at all.
fn form(cluster: &Name, spec: &MachineSpec, birth: &Birth, mark: &str) -> Vec<(&'static str, String)> {
    let MachineSpec { storage, image, nic, .. } = spec;
    let tags = ["castle".to_owned(), format!("castle.c.{cluster}"), format!("castle.r.{}", spec.role.short())];
    let vlan = nic.vlan.map(|tag| format!(",tag={tag}")).unwrap_or_default();
    let (ip, gw) = match nic.address {
        IpAddr::V4(_) => ("ip", "gw"),
        IpAddr::V6(_) => ("ip6", "gw6"),
    };
    let mut form = vec![
        ("vmid", spec.id.to_string()),
        ("name", spec.node.to_string()),
        ("description", mark.to_owned()),
        ("smbios1", format!("uuid={}", birth.uuid)),
        ("tags", Tags::of(tags).text()),
        ("pool", spec.pool.clone()),
        ("protection", "1".to_owned()),
        ("onboot", "1".to_owned()),
        ("ostype", "l26".to_owned()),
        ("machine", "q35".to_owned()),
        ("bios", "ovmf".to_owned()),
        // Talos halts below x86-64-v2, and the API's default is older.
        ("cpu", "host".to_owned()),
        ("cores", spec.cores.to_string()),
        ("memory", spec.memory.mib().to_string()),
        // Talos cannot give memory back, and a balloon would only hide some.
        ("balloon", "0".to_owned()),
        // The image holds no agent; a shutdown would wait for one in vain.
        ("agent", "0".to_owned()),
        ("scsihw", "virtio-scsi-pci".to_owned()),
        ("efidisk0", format!("{storage}:1,efitype=4m,pre-enrolled-keys=0")),
        ("scsi0", format!("{storage}:0,import-from={}:import/{},discard=on", image.storage, image.file)),
        ("ide2", format!("{storage}:cloudinit")),
        ("boot", "order=scsi0".to_owned()),
        ("serial0", "socket".to_owned()),
        ("net0", format!("virtio={},bridge={}{vlan}", nic.mac, nic.bridge)),
        ("ipconfig0", format!("{ip}={}/{},{gw}={}", nic.address, nic.subnet.prefix_len(), nic.gateway)),
    ];
    if !nic.dns.is_empty() {
        let servers: Vec<String> = nic.dns.iter().map(IpAddr::to_string).collect();
        form.push(("nameserver", servers.join(" ")));
    }
    form
}

#[cfg(test)]
mod tests {
    use castle_core::{ByteSize, ImageRef, MacAddress, MachineId, Nic, NodeRole};

    use super::*;

    fn spec() -> MachineSpec {
        let (cluster, node): (Name, Name) = ("blue".parse().expect("a name"), "blue-cp-01".parse().expect("a name"));
        MachineSpec {
            role: NodeRole::ControlPlane,
            id: MachineId::try_from(421).expect("in range"),
            host: "pve".parse().expect("a name"),
            pool: "castle".into(),
            storage: "local-lvm".into(),
            cores: 4,
            memory: ByteSize::gib_of(8),
            disk: ByteSize::gib_of(20),
            nic: Nic {
                address: "192.168.1.211".parse().expect("an address"),
                subnet: "192.168.1.0/24".parse().expect("a subnet"),
                gateway: "192.168.1.1".parse().expect("an address"),
                dns: vec!["1.1.1.1".parse().expect("an address"), "9.9.9.9".parse().expect("an address")],
                bridge: "vmbr0".into(),
                vlan: None,
                mac: MacAddress::of_node(&cluster, &node),
            },
            image: ImageRef { storage: "local".into(), file: "talos.qcow2".into(), url: "https://factory".into() },
            node,
        }
    }

    fn text(spec: &MachineSpec) -> String {
        let birth = Birth::of("id", 1, &spec.node, 1);
        let lines = form(&"blue".parse().expect("a name"), spec, &birth, "castle/1 ..");
        lines.into_iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
    }

    #[test]
    fn a_machine_is_written_whole() {
        let spec = spec();
        let expected = format!(
            "vmid: 421
name: blue-cp-01
description: castle/1 ..
smbios1: uuid={}
tags: castle;castle.c.blue;castle.r.cp
pool: castle
protection: 1
onboot: 1
ostype: l26
machine: q35
bios: ovmf
cpu: host
cores: 4
memory: 8192
balloon: 0
agent: 0
scsihw: virtio-scsi-pci
efidisk0: local-lvm:1,efitype=4m,pre-enrolled-keys=0
scsi0: local-lvm:0,import-from=local:import/talos.qcow2,discard=on
ide2: local-lvm:cloudinit
boot: order=scsi0
serial0: socket
net0: virtio={},bridge=vmbr0
ipconfig0: ip=192.168.1.211/24,gw=192.168.1.1
nameserver: 1.1.1.1 9.9.9.9
",
            Birth::uuid_of("id", 1, &spec.node, 1),
            spec.nic.mac
        );
        assert_eq!(text(&spec), expected);
    }

    #[test]
    fn a_vlan_and_the_newer_addresses_have_their_words() {
        let mut spec = spec();
        spec.nic.vlan = Some(20);
        spec.nic.dns.clear();
        spec.nic.address = "fd00::211".parse().expect("an address");
        spec.nic.subnet = "fd00::/64".parse().expect("a subnet");
        spec.nic.gateway = "fd00::1".parse().expect("an address");
        let text = text(&spec);
        assert!(text.contains(",bridge=vmbr0,tag=20\n"), "{text}");
        assert!(text.contains("ipconfig0: ip6=fd00::211/64,gw6=fd00::1\n"), "{text}");
        assert!(!text.contains("nameserver"), "{text}");
    }
}
