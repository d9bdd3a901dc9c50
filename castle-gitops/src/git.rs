//! Reading a repository over smart HTTP, without a clone.
//!
//! Castle wants to know where a branch stands, and what a few files say there.
//! Two requests tell the first; one or two more fetch the newest commit alone,
//! where the server can without the files that nobody asked for. Every object is
//! taken by the name that its bytes have, from the commit down.
//!
//! Reading an answer takes at most 192 MiB of memory: 64 MiB for what is sent, 128
//! for what is in it. What is larger is refused with the bound that it passes.

mod error;
mod object;
mod pack;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use castle_core::handover::Repository;
use castle_core::options::GitAccess;
use castle_core::words::heard;
use castle_core::{Env, Meter, Options};

pub use error::{Error, Result};

use crate::https::{self, Answer, Client, Origin, Request, Trust};
use object::{Flaw, Kind, ObjectId, Objects};
use wire::{Lines, Packet, Packets};

/// How many bytes of a pack are read.
const PACK_MAX: usize = 64 << 20;
/// How long a pack may take, in the time of the house.
const PACK_BUDGET: Duration = Duration::from_secs(120);
/// How many files are asked for at once.
const WANTED_MAX: usize = 10_000;
/// How many branches an error names.
const NAMED: usize = 8;

/// Reads one repository.
///
/// What a commit holds never changes, so it is fetched once for each reader;
/// where a branch stands is asked each time.
///
/// # Example
///
/// ```no_run
/// # async fn example(
/// #     options: castle_core::Options, env: castle_core::Env, repository: castle_core::handover::Repository,
/// # ) -> castle_gitops::git::Result<()> {
/// use castle_gitops::git::Reader;
///
/// let reader = Reader::new(&options, &env, &repository)?;
/// let head = reader.head("main").await?;
/// let files = reader.files(&head, &["clusters/blue/flux-system", "README.md"]).await?;
/// println!("{head}: {:?}", files.keys());
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    client: Client,
    /// Without credentials: for messages.
    url: String,
    path: String,
    access: Option<GitAccess>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    /// Whether the server leaves files out when asked to; known once it was asked.
    filters: Option<bool>,
    /// The newest commit that was read, and its files.
    commit: Option<(ObjectId, Arc<BTreeMap<String, ObjectId>>)>,
    blobs: BTreeMap<ObjectId, Vec<u8>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Reader {
    /// Prepares access to a repository. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::BadRepository`]; [`Error::Unreachable`] if the dial map does not lead
    /// there.
    pub fn new(options: &Options, env: &Env, repository: &Repository) -> Result<Self> {
        let url = repository.url.as_str();
        let bad = |error: https::Error| match error {
            https::Error::BadUrl { why } => Error::BadRepository { why },
            source => Error::Unreachable { url: url.to_owned(), source },
        };
        let (origin, path) = Origin::split(url).map_err(bad)?;
        if !origin.is_tls() {
            return Err(Error::BadRepository { why: "does not begin with `https://`".into() });
        }
        if path == "/" || path.contains('?') {
            return Err(Error::BadRepository { why: "names a server and no repository".into() });
        }
        let trust = Trust::of(options.git.as_ref().and_then(|git| git.trust.as_ref()));
        let client = Client::new(options, env, &origin, &trust).map_err(bad)?;
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { client, url: url.to_owned(), path, access: options.git.clone(), cache: Mutex::default() })
    }

    /// Counts its requests on `meter`, which others may share.
    #[must_use]
    pub fn counted_on(mut self, meter: Arc<Meter>) -> Self {
        self.client = self.client.counted_on(meter);
        self
    }

    /// Where its requests are counted; all of them read.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        self.client.meter()
    }

    /// Where a branch stands: the commit's 40 hex digits.
    ///
    /// # Errors
    ///
    /// [`Error::NoBranch`] with the branches that there are.
    pub async fn head(&self, branch: &str) -> Result<String> {
        let wanted = format!("refs/heads/{branch}");
        if branch.is_empty() || branch.contains(|letter: char| letter.is_control() || letter == ' ') {
            return Err(self.no_branch(branch, Vec::new()));
        }
        let found = self.refs(&wanted).await?;
        if let Some((_, id)) = found.iter().find(|(name, _)| *name == wanted) {
            return Ok(id.to_string());
        }
        let all = self.refs("refs/heads/").await?;
        let names = all.iter().filter_map(|(name, _)| name.strip_prefix("refs/heads/"));
        Err(self.no_branch(branch, names.take(NAMED).map(heard).collect()))
    }

    /// The files of a commit that are wanted: each is the path of a file from the
    /// root, or of a folder, which stands for all files below it; the empty path
    /// stands for everything. What is not there is not in the answer; links and
    /// submodules are not either.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the server has no such commit any more,
    /// [`Error::TooLarge`].
    pub async fn files(&self, commit: &str, wanted: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
        let id = ObjectId::parse(commit).ok_or_else(|| self.malformed("a commit is no name of 40 hex digits"))?;
        let all = self.files_of(id).await?;
        let is_wanted = |path: &str| {
            wanted.iter().map(|wanted| wanted.trim_matches('/')).any(|wanted| {
                wanted.is_empty()
                    || path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let found: Vec<(&String, ObjectId)> =
            all.iter().filter(|(path, _)| is_wanted(path)).map(|(path, id)| (path, *id)).collect();
        let missing: BTreeSet<ObjectId> = {
            let cache = self.cache();
            found.iter().map(|(_, id)| *id).filter(|id| !cache.blobs.contains_key(id)).collect()
        };
        if !missing.is_empty() {
            self.fetch_blobs(&missing).await?;
        }
        let cache = self.cache();
        let file = |(path, id): (&String, ObjectId)| match cache.blobs.get(&id) {
            Some(bytes) => Ok((path.clone(), bytes.clone())),
            None => Err(self.malformed(format!("the file {path} is missing"))),
        };
        found.into_iter().map(file).collect()
    }

    /// All files of a commit, by path.
    async fn files_of(&self, commit: ObjectId) -> Result<Arc<BTreeMap<String, ObjectId>>> {
        if let Some((known, files)) = &self.cache().commit
            && *known == commit
        {
            return Ok(Arc::clone(files));
        }
        let filters = self.filters().await?;
        let mut lines = Lines::command("fetch").line("no-progress").line("ofs-delta").line("deepen 1");
        if filters {
            lines = lines.line("filter blob:none");
        }
        let objects = self.fetch(lines.line(&format!("want {commit}")).line("done").end()).await?;
        let files = Arc::new(object::files_of(&objects, commit).map_err(|flaw| self.flawed(flaw))?);
        let mut cache = self.cache();
        cache.commit = Some((commit, Arc::clone(&files)));
        // What the newest commit does not name any more is not asked for again.
        let named: BTreeSet<ObjectId> = files.values().copied().collect();
        cache.blobs.retain(|id, _| named.contains(id));
        keep_blobs(&mut cache, objects);
        Ok(files)
    }

    async fn fetch_blobs(&self, wanted: &BTreeSet<ObjectId>) -> Result<()> {
        if wanted.len() > WANTED_MAX {
            let why = format!("has {} files where {WANTED_MAX} are read", wanted.len());
            return Err(Error::TooLarge { url: self.url.clone(), why });
        }
        let mut lines = Lines::command("fetch").line("no-progress").line("ofs-delta");
        for id in wanted {
            lines = lines.line(&format!("want {id}"));
        }
        let objects = self.fetch(lines.line("done").end()).await?;
        keep_blobs(&mut self.cache(), objects);
        Ok(())
    }

    /// Whether the server leaves files out when asked to. Asks for its abilities
    /// once.
    async fn filters(&self) -> Result<bool> {
        if let Some(known) = self.cache().filters {
            return Ok(known);
        }
        let answer = self.send(Request::get(format!("{}/info/refs?service=git-upload-pack", self.path))).await?;
        self.check_type(&answer, "application/x-git-upload-pack-advertisement")?;
        let can = read_abilities(&answer.body).map_err(|why| self.malformed(why))?;
        let Some(can) = can else {
            return Err(self.unsupported("does not speak version 2 of git's protocol"));
        };
        if can.iter().any(|line| line.strip_prefix("object-format=").is_some_and(|format| format != "sha1")) {
            return Err(self.unsupported("names its objects by another hash than SHA-1"));
        }
        let fetch = can.iter().find_map(|line| line.strip_prefix("fetch")).unwrap_or_default();
        let filters = fetch.trim_start_matches('=').split(' ').any(|ability| ability == "filter");
        self.cache().filters = Some(filters);
        Ok(filters)
    }

    /// The references that begin with `prefix`.
    async fn refs(&self, prefix: &str) -> Result<Vec<(String, ObjectId)>> {
        self.filters().await?;
        let body = Lines::command("ls-refs").line(&format!("ref-prefix {prefix}")).end();
        let answer = self.ask(body).await?;
        let mut packets = Packets(&answer);
        let mut refs = Vec::new();
        while let Some(line) = packets.text().map_err(|why| self.malformed(why))? {
            if let Some(said) = line.strip_prefix("ERR ") {
                return Err(self.refused(said));
            }
            let mut words = line.split(' ');
            let id = words.next().and_then(ObjectId::parse);
            let (Some(id), Some(name)) = (id, words.next()) else {
                return Err(self.malformed("a reference cannot be read"));
            };
            refs.push((name.to_owned(), id));
        }
        Ok(refs)
    }

    /// Sends a fetch and reads the pack that comes.
    async fn fetch(&self, body: Vec<u8>) -> Result<Objects> {
        let answer = self.ask(body).await?;
        let fetched = read_pack(&answer).map_err(|why| self.malformed(why))?;
        // What the pack holds needs room of its own.
        drop(answer);
        match fetched {
            Fetched::Pack(pack) => pack::read(&pack).map_err(|flaw| self.flawed(flaw)),
            Fetched::Refused(said) => Err(self.refused(&said)),
        }
    }

    async fn ask(&self, body: Vec<u8>) -> Result<Bytes> {
        let request = Request::post(format!("{}/git-upload-pack", self.path), body)
            .header("content-type", "application/x-git-upload-pack-request")
            .header("accept", "application/x-git-upload-pack-result")
            .reading()
            .cap(PACK_MAX)
            .within(PACK_BUDGET);
        let answer = self.send(request).await?;
        self.check_type(&answer, "application/x-git-upload-pack-result")?;
        Ok(answer.body)
    }

    async fn send(&self, request: Request) -> Result<Answer> {
        let mut request = request.header("git-protocol", "version=2").header("user-agent", "git/castle");
        let unreachable = |source| match source {
            https::Error::TooLong { cap, .. } => {
                Error::TooLarge { url: self.url.clone(), why: format!("sends more than {cap} bytes") }
            }
            source => Error::Unreachable { url: self.url.clone(), source },
        };
        if let Some(access) = &self.access {
            request = request.basic(&access.username, &access.password).map_err(unreachable)?;
        }
        let answer = self.client.send(request).await.map_err(unreachable)?;
        let (url, had_token) = (self.url.clone(), self.access.is_some());
        match answer.status {
            200 => Ok(answer),
            status @ (401 | 403) => Err(Error::NotLetIn { url, status, had_token }),
            404 => Err(Error::NoRepository { url, had_token }),
            301 | 302 | 303 | 307 | 308 => {
                // The query is ours; what is behind it may be a login page's secret.
                let place = answer.header("location").and_then(|place| place.split('?').next()).unwrap_or("nowhere");
                let place = https::shown(place.trim_end_matches("/info/refs"));
                Err(Error::Moved { url, place })
            }
            status => Err(Error::Status { url, status }),
        }
    }

    fn check_type(&self, answer: &Answer, wanted: &str) -> Result<()> {
        let found = answer.header("content-type").unwrap_or("nothing");
        if found.split(';').next().is_some_and(|found| found.trim() == wanted) {
            return Ok(());
        }
        Err(Error::NotGit { url: self.url.clone(), why: heard(&format!("it answers with {found}")) })
    }

    fn no_branch(&self, branch: &str, seen: Vec<String>) -> Error {
        Error::NoBranch { url: self.url.clone(), branch: branch.to_owned(), seen }
    }

    fn malformed(&self, why: impl Into<String>) -> Error {
        Error::Malformed { url: self.url.clone(), why: heard(&why.into()) }
    }

    fn flawed(&self, flaw: Flaw) -> Error {
        match flaw {
            Flaw::Broken(why) => self.malformed(why),
            Flaw::TooLarge(why) => Error::TooLarge { url: self.url.clone(), why },
        }
    }

    fn unsupported(&self, why: &str) -> Error {
        Error::Unsupported { url: self.url.clone(), why: why.to_owned() }
    }

    fn refused(&self, said: &str) -> Error {
        Error::Refused { url: self.url.clone(), said: heard(said) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Every change of the cache is whole, also when its maker panics later.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_blobs(cache: &mut Cache, objects: Objects) {
    let blobs = objects.into_iter().filter(|(_, (kind, _))| *kind == Kind::Blob);
    cache.blobs.extend(blobs.map(|(id, (_, bytes))| (id, bytes)));
}

/// The abilities that a server of version 2 names; `None` for older ones.
fn read_abilities(body: &[u8]) -> std::result::Result<Option<Vec<String>>, String> {
    let mut packets = Packets(body);
    let mut first = packets.text()?;
    if first.is_some_and(|line| line.starts_with("# service=")) {
        // The banner is a message of its own; version 2 may leave it out.
        packets.next()?;
        first = packets.text()?;
    }
    if first != Some("version 2") {
        return Ok(None);
    }
    let mut lines = Vec::new();
    while let Some(line) = packets.text()? {
        lines.push(line.to_owned());
    }
    Ok(Some(lines))
}

/// What a fetch came to.
enum Fetched {
    Pack(Vec<u8>),
    Refused(String),
}

/// Reads the sections of a fetch's answer down to the pack.
fn read_pack(body: &[u8]) -> std::result::Result<Fetched, String> {
    let mut packets = Packets(body);
    loop {
        match packets.next()? {
            Some(Packet::Line(b"packfile\n" | b"packfile")) => break,
            Some(Packet::Line(line)) => {
                if let Some(said) = line.strip_prefix(b"ERR ") {
                    return Ok(Fetched::Refused(String::from_utf8_lossy(said).trim().to_owned()));
                }
            }
            Some(Packet::Delimiter) => {}
            Some(Packet::Flush | Packet::End) | None => return Err("the answer holds no pack".into()),
        }
    }
    let mut pack = Vec::with_capacity(packets.0.len());
    loop {
        match packets.next()? {
            Some(Packet::Line([1, data @ ..])) => pack.extend_from_slice(data),
            Some(Packet::Line([2, ..])) => {} // what the server tells people
            Some(Packet::Line([3, said @ ..])) => {
                return Ok(Fetched::Refused(String::from_utf8_lossy(said).trim().to_owned()));
            }
            Some(Packet::Flush) => return Ok(Fetched::Pack(pack)),
            Some(_) => return Err("the pack is mixed with something else".into()),
            None => return Err("the pack ends early".into()),
        }
    }
}
