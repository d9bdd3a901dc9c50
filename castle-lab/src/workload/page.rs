//! What a pod answers to a browser: files of a mounted configuration map, or a
//! page that names the workload.

use serde_json::Value;

use super::fields;
use crate::kube::Resource;
use crate::world::World;

/// An answer of the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The media type of the body.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: String,
}

impl Page {
    /// A page that says nothing but its status.
    pub(crate) fn status(status: u16) -> Self {
        let body = match status {
            404 => "404 page not found\n",
            502 => "Bad Gateway\n",
            503 => "no available server\n",
            _ => "",
        };
        Self { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn file(name: &str, body: &str) -> Self {
        let content_type = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html" | "htm") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("json") => "application/json",
            Some("xml") => "application/xml",
            _ => "text/plain; charset=utf-8",
        };
        Self { status: 200, content_type, body: body.to_owned() }
    }
}

impl World {
    /// What a pod answers for a path.
    pub(super) fn page(&self, pod: &Value, path: &str) -> Page {
        let wanted = match path.trim_start_matches('/') {
            "" => "index.html",
            name => name,
        };
        let mut has_files = false;
        for volume in fields::list(pod, &["spec", "volumes"]) {
            let name = fields::text(volume, &["configMap", "name"]);
            let Ok(map) = self.kubernetes.get(&Resource::CONFIG_MAPS, fields::namespace(pod), name) else { continue };
            let items = fields::list(volume, &["configMap", "items"]);
            let key = match items.iter().find(|item| fields::text(item, &["path"]) == wanted) {
                Some(item) => fields::text(item, &["key"]),
                None if items.is_empty() => wanted,
                None => continue,
            };
            if let Some(body) = map.pointer("/data").and_then(|data| data.get(key)).and_then(Value::as_str) {
                return Page::file(wanted, body);
            }
            has_files |= map.pointer("/data/index.html").is_some();
        }
        if has_files {
            return Page::status(404);
        }
        let process = self.workloads.processes.get(fields::uid(pod));
        let name = process.map_or(fields::name(pod), |process| process.workload.1.as_str());
        Page::file("index.html", &format!("<!doctype html>\n<title>{name}</title>\n<h1>{name}</h1>\n"))
    }
}
