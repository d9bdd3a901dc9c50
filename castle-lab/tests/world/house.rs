//! The house of the tests, and a client that speaks to it by function call.

use std::sync::Arc;
use std::time::Duration;

use castle_core::{Cluster, ImageRef, ImageSpec, Project};
use castle_lab::hypervisor::house::CASTLE_TOKEN;
use castle_lab::{Call, RunId, Service, World};
use serde_json::Value;

pub const IMAGE: &str = "talos-blue-v1.13.9.qcow2";

pub fn blue() -> Project {
    let text = r#"
apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: blue, talos: v1.13.9, kubernetes: v1.36.3, contract: "1.13"}
image: {extensions: [], storage: local}
network: {subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0, vip: 192.168.1.210}
hosts: {pve: {memory: 32GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 4, memory: 8GiB, disk: 40GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}
workers:
  - {name: blue-wk-01, vmid: 431, address: 192.168.1.214, host: pve}
  - {name: blue-wk-02, vmid: 432, address: 192.168.1.215, host: pve}
"#;
    fn named(_: &Cluster, image: &ImageSpec) -> castle_core::Result<ImageRef> {
        Ok(ImageRef { storage: image.storage.clone(), file: IMAGE.into(), url: "https://factory.example".into() })
    }
    Project::parse(text, named).expect("the project is well formed")
}

/// What came back.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub reason: String,
    pub body: Value,
    /// How long it was held up before its effect.
    pub delay: Duration,
    pub penalty: Duration,
    pub close: bool,
}

impl Got {
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        &self.body["data"]
    }

    #[track_caller]
    pub fn text(&self) -> String {
        self.data().as_str().expect("a text").to_owned()
    }

    #[track_caller]
    pub fn refused(&self, status: u16, reason: &str) {
        assert_eq!((self.status, self.reason.as_str()), (status, reason), "{self:?}");
        assert!(self.close, "an error ends the connection");
    }
}

/// Who asks.
#[derive(Clone)]
pub enum As {
    Castle,
    Root,
    Nobody,
    Headers(Vec<(String, String)>),
}

pub struct House {
    pub world: World,
    service: Arc<dyn Service>,
    pub who: As,
}

impl House {
    pub fn new() -> Self {
        Self::with_seed(7)
    }

    pub fn with_seed(seed: u64) -> Self {
        Self { world: World::home(&blue(), seed), service: castle_lab::server::proxmox(), who: As::Castle }
    }

    pub fn root(&mut self) -> &mut Self {
        self.who = As::Root;
        self
    }

    pub fn castle(&mut self) -> &mut Self {
        self.who = As::Castle;
        self
    }

    fn headers(&mut self) -> Vec<(String, String)> {
        match self.who.clone() {
            As::Nobody => Vec::new(),
            As::Headers(headers) => headers,
            As::Castle => {
                // A revoked token is still what the client has.
                let token = self.world.castle_token().unwrap_or_else(|| format!("{CASTLE_TOKEN}=gone"));
                vec![("authorization".into(), format!("PVEAPIToken={token}"))]
            }
            As::Root => {
                let password = self.world.root_password().expect("root has a password").to_owned();
                self.who = As::Nobody;
                let login = self.ask("POST", "/access/ticket", &[("username", "root@pam"), ("password", &password)]);
                self.who = As::Root;
                let data = login.data();
                vec![
                    ("cookie".into(), format!("PVEAuthCookie={}", data["ticket"].as_str().unwrap())),
                    ("csrfpreventiontoken".into(), data["CSRFPreventionToken"].as_str().unwrap().into()),
                ]
            }
        }
    }

    pub fn ask(&mut self, method: &str, path: &str, parameters: &[(&str, &str)]) -> Got {
        let encode = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let form: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let (form, in_query) = (form.join("&"), ["GET", "DELETE"].contains(&method));
        let headers = self.headers();
        let call = Call {
            method: method.into(),
            path: format!("/api2/json{path}"),
            query: (in_query && !form.is_empty()).then(|| form.clone()),
            headers,
            body: if in_query { String::new() } else { form }.into(),
            chunked: false,
            run: RunId(1),
        };
        self.send(&call)
    }

    pub fn send(&mut self, call: &Call) -> Got {
        let now = self.world.now();
        self.world.advance_to(now);
        let mut delay = Duration::ZERO;
        loop {
            let more = self.service.held_up(&self.world, call, delay);
            if more.is_zero() {
                break;
            }
            delay += more;
            self.world.advance_to(now + delay);
        }
        let reply = self.service.serve(&mut self.world, call);
        let body = if reply.body.is_empty() { Value::Null } else { serde_json::from_slice(&reply.body).unwrap() };
        Got {
            status: reply.status,
            reason: reply.reason.unwrap_or_default(),
            body,
            delay,
            penalty: reply.penalty,
            close: reply.close,
        }
    }

    pub fn classify(&self, call: &Call) -> castle_lab::Act {
        self.service.classify(&self.world, call)
    }

    /// Time passes.
    pub fn wait(&mut self, seconds: f64) {
        let now = self.world.now();
        self.world.advance_to(now + Duration::from_secs_f64(seconds));
    }

    /// The exit status of a task, once it and all others have ended. The guest of
    /// a machine that was started goes on booting.
    #[track_caller]
    pub fn exit(&mut self, upid: &str) -> String {
        let now = self.world.now();
        self.world.advance_to(now);
        while self.world.proxmox.tasks.iter().any(castle_lab::hypervisor::Task::is_running) {
            let at = self.world.next_event_at().expect("a running task is due");
            self.world.advance_to(at);
        }
        let status = self.ask("GET", &format!("/nodes/pve/tasks/{upid}/status"), &[]);
        assert_eq!(status.data()["status"], "stopped", "{status:?}");
        status.data()["exitstatus"].as_str().expect("an exit status").to_owned()
    }

    /// The lines of a task's log.
    #[track_caller]
    pub fn task_log(&mut self, upid: &str) -> Vec<String> {
        let log = self.ask("GET", &format!("/nodes/pve/tasks/{upid}/log"), &[("limit", "0")]);
        log.data().as_array().unwrap().iter().map(|line| line["t"].as_str().unwrap().to_owned()).collect()
    }

    /// A create as castle asks for it.
    #[track_caller]
    pub fn create(&mut self, id: u32) -> Got {
        self.create_with(id, &[])
    }

    /// The same with some parameters replaced; an empty value leaves one out.
    pub fn create_with(&mut self, id: u32, changes: &[(&str, &str)]) -> Got {
        let number = id.to_string();
        let (name, disk) = (format!("blue-{id}"), format!("local-lvm:0,import-from=local:import/{IMAGE},discard=on"));
        let (uuid, address) = (uuid_of(id), format!("ip=192.168.1.{}/24,gw=192.168.1.1", 200 + id % 50));
        let mut parameters: Vec<(&str, &str)> = vec![
            ("vmid", &number),
            ("name", &name),
            ("description", "castle/1 project=blue\n"),
            ("pool", "blue"),
            ("tags", "castle;castle.r.cp;castle.c.blue"),
            ("cores", "4"),
            ("cpu", "host"),
            ("memory", "8192"),
            ("balloon", "0"),
            ("machine", "q35"),
            ("bios", "ovmf"),
            ("ostype", "l26"),
            ("scsihw", "virtio-scsi-pci"),
            ("serial0", "socket"),
            ("smbios1", &uuid),
            ("efidisk0", "local-lvm:1,efitype=4m,pre-enrolled-keys=0"),
            ("scsi0", &disk),
            ("ide2", "local-lvm:cloudinit"),
            ("boot", "order=scsi0"),
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
            ("ipconfig0", &address),
            ("nameserver", "192.168.1.1"),
            ("protection", "1"),
            ("onboot", "1"),
        ];
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        self.ask("POST", "/nodes/pve/qemu", &parameters)
    }

    /// A machine of castle's, complete and off.
    #[track_caller]
    pub fn born(&mut self, id: u32) {
        let mac = format!("virtio=BC:24:11:00:{:02X}:{:02X},bridge=vmbr0", id >> 8, id & 0xFF);
        let upid = self.castle().create_with(id, &[("net0", &mac), ("protection", "")]).text();
        assert_eq!(self.exit(&upid), "OK");
    }

    /// A machine of castle's that runs.
    #[track_caller]
    pub fn running(&mut self, id: u32) {
        self.born(id);
        let upid = self.ask("POST", &format!("/nodes/pve/qemu/{id}/status/start"), &[]).text();
        assert_eq!(self.exit(&upid), "OK");
    }

    /// Nothing is broken and nothing is left over.
    #[track_caller]
    pub fn is_tidy(&self) {
        assert_eq!(self.world.violations(), [] as [&str; 0]);
        assert_eq!(self.world.leftovers(), [] as [&str; 0]);
    }
}

pub fn uuid_of(id: u32) -> String {
    format!("uuid=6f1c0000-0000-5000-8000-{id:012}")
}
