//! A lab with a Git server, and a client that speaks in packet lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::LazyLock;

use castle_lab::git::object::{Commit, Object, ObjectId};
use castle_lab::git::pack;
use castle_lab::{Door, Lab, LabBuilder, RunId, World, server};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub static HOUSE: LazyLock<SocketAddr> = LazyLock::new(|| "192.168.1.9:443".parse().unwrap());
pub const PATH: &str = "/tazlab-k8s.git";
pub const TOKEN: &str = "a-token-of-the-tests";

pub fn files(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    entries.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// A world with a repository of three commits.
pub fn world() -> World {
    let mut world = World::empty(7);
    world.git.accounts.add("git", TOKEN.to_owned());
    for number in 1..=3 {
        let tree = files(&[("README.md", "read me\n"), ("apps/blog/page.html", &format!("version {number}\n"))]);
        world.commit_files(PATH, "main", tree, &format!("Version {number}"));
    }
    world
}

pub fn around(world: World) -> LabBuilder {
    Lab::of(world).door(Door { house: *HOUSE, names: vec!["git.castle.internal".to_owned()], service: server::git() })
}

pub fn head(lab: &Lab, branch: &str) -> Option<ObjectId> {
    lab.with_world(|world| {
        let branch = world.git.repositories[PATH].head(branch)?;
        Some(branch.commit.parse().unwrap())
    })
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The packets as text; `-` stands for a flush, `|` for a delimiter.
    pub fn lines(&self) -> Vec<String> {
        packets(&self.body).iter().map(|packet| String::from_utf8_lossy(packet).trim_end().to_owned()).collect()
    }

    /// What came over a side band.
    pub fn band(&self, band: u8) -> Vec<u8> {
        packets(&self.body)
            .into_iter()
            .filter(|packet| packet.first() == Some(&band))
            .flat_map(|p| p[1..].to_vec())
            .collect()
    }

    /// The ids of the objects in the pack, as a set.
    pub fn objects(&self, base: &[Object]) -> Vec<Object> {
        pack::read(&self.band(1), |id| base.iter().find(|object| object.id() == id).cloned()).unwrap()
    }
}

pub fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..4]).unwrap(), 16).unwrap();
        match length {
            0 => packets.push(b"-".to_vec()),
            1 => packets.push(b"|".to_vec()),
            _ => packets.push(bytes[4..length].to_vec()),
        }
        bytes = &bytes[length.max(4)..];
    }
    assert!(bytes.is_empty(), "{bytes:?} is no packet");
    packets
}

/// Lines as packets; `-` is a flush, `|` a delimiter.
pub fn said(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        match *line {
            "-" => bytes.extend(b"0000"),
            "|" => bytes.extend(b"0001"),
            line => bytes.extend(format!("{:04x}{line}\n", line.len() + 5).into_bytes()),
        }
    }
    bytes
}

pub struct Client {
    http: reqwest::Client,
    base: String,
    pub password: Option<String>,
}

impl Client {
    pub fn of(lab: &Lab, run: RunId) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(lab.pki().ca_pem().as_bytes()).unwrap()).unwrap();
        let tls = castle_wire::builder(&lab.clock()).with_root_certificates(roots).with_no_client_auth();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .local_address(lab.source(run))
            .build()
            .unwrap();
        let base = format!("https://{}", lab.address_of(*HOUSE).unwrap());
        Self { http, base, password: Some(TOKEN.to_owned()) }
    }

    pub async fn get(&self, path: &str, version: u8) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.base)), version).await
    }

    pub async fn refs(&self, program: &str, version: u8) -> Answer {
        self.get(&format!("{PATH}/info/refs?service={program}"), version).await
    }

    pub async fn post(&self, program: &str, version: u8, body: Vec<u8>) -> Answer {
        let request = self.http.post(format!("{}{PATH}/{program}", self.base));
        self.send(request.header("content-type", format!("application/x-{program}-request")).body(body), version).await
    }

    /// A request whose body is compressed.
    pub async fn zipped(&self, program: &str, version: u8, body: Vec<u8>) -> Answer {
        let request = self.http.post(format!("{}{PATH}/{program}", self.base)).header("content-encoding", "gzip");
        self.send(request.header("content-type", format!("application/x-{program}-request")).body(body), version).await
    }

    /// A command of protocol 2.
    pub async fn command(&self, command: &str, arguments: &[&str]) -> Answer {
        let command = format!("command={command}");
        let lines = [&[command.as_str(), "agent=test", "object-format=sha1", "|"], arguments, &["-"]].concat();
        self.post("git-upload-pack", 2, said(&lines)).await
    }

    /// A push of one reference.
    pub async fn push(&self, reference: &str, old: ObjectId, new: ObjectId, objects: &[Object]) -> Answer {
        self.push_all(&[(reference, old, new)], objects, "").await
    }

    pub async fn push_all(&self, updates: &[(&str, ObjectId, ObjectId)], objects: &[Object], more: &str) -> Answer {
        let mut lines: Vec<_> =
            updates.iter().map(|(reference, old, new)| format!("{old} {new} {reference}")).collect();
        lines[0].push_str(&format!("\0 report-status side-band-64k {more}"));
        lines.push("-".to_owned());
        let mut body = said(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        if updates.iter().any(|(_, _, new)| *new != ObjectId::ZERO) {
            body.extend(pack::write(objects.iter()));
        }
        self.post("git-receive-pack", 0, body).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, version: u8) -> Answer {
        let mut request = request;
        if version > 0 {
            request = request.header("git-protocol", format!("version={version}"));
        }
        if let Some(password) = &self.password {
            request = request.basic_auth("git", Some(password));
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }
}

/// The report of a push, as lines.
pub fn report(answer: &Answer) -> Vec<String> {
    let lines = packets(&answer.band(1));
    lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).filter(|line| line != "-").collect()
}

/// A commit on top of others whose tree is these files, with all its objects.
pub fn commit(parents: &[ObjectId], entries: &[(&str, &str)]) -> (ObjectId, Vec<Object>) {
    let mut store = castle_lab::git::object::Objects::default();
    let tree = store.plant(&files(entries));
    let who = "tester <tester@castle.internal> 1763711500 +0000".to_owned();
    let commit =
        Commit { tree, parents: parents.to_vec(), author: who.clone(), committer: who, message: "A test\n".to_owned() };
    let id = store.insert(commit.encode());
    let mut repository = vec![commit.encode()];
    let mut trees = vec![tree];
    while let Some(tree) = trees.pop() {
        repository.push(store.get(tree).unwrap().clone());
        for entry in store.tree(tree).unwrap() {
            match entry.is_folder() {
                true => trees.push(entry.id),
                false => repository.push(store.get(entry.id).unwrap().clone()),
            }
        }
    }
    (id, repository)
}
