//! `probes` of a `castle.yaml`: what shows that the applications serve.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::handover::{Probe, ProbeKind, ProbeTls};
use crate::value::locator;
use crate::value::{self, Findings, on_line};
use crate::yaml::place;
use crate::{Problem, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProbeText {
    name: Spanned<String>,
    http: Option<Spanned<HttpText>>,
    tcp: Option<Spanned<TcpText>>,
    condition: Option<Spanned<ConditionText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpText {
    host: Spanned<String>,
    path: Option<Spanned<String>>,
    service: Spanned<String>,
    expect: Option<Spanned<i64>>,
    tls: Option<Spanned<String>>,
    authorities: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TcpText {
    service: Spanned<String>,
    port: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionText {
    #[serde(rename = "apiVersion")]
    api_version: Spanned<String>,
    kind: Spanned<String>,
    namespace: Option<Spanned<String>>,
    name: Spanned<String>,
    condition: Spanned<String>,
}

/// Which of the three ways a probe asks.
enum Way {
    Http(HttpText),
    Tcp(TcpText),
    Condition(ConditionText),
}

/// The probes, and where the first one is that needs a load balancer's address.
pub(crate) fn probes(findings: &mut Findings, texts: Vec<Spanned<ProbeText>>) -> (Option<Vec<Probe>>, Option<Span>) {
    let mut names: BTreeMap<String, Option<Span>> = BTreeMap::new();
    let mut probes = Some(Vec::with_capacity(texts.len()));
    let mut needs_address = None;
    for (index, probe) in texts.into_iter().enumerate() {
        let at = place(probe.referenced);
        let text = probe.value;
        let name_at = place(text.name.referenced);
        let name = value::name(findings, &format!("probes[{index}].name"), &text.name).map(|name| name.to_string());
        let label = name.clone().unwrap_or_else(|| format!("probes[{index}]"));
        if let Some(name) = &name {
            match names.get(name) {
                Some(first) => {
                    let message = format!("name {name} is taken already{}", on_line(*first));
                    let problem = Problem::error("duplicate-probe", format!("probes[{index}]"), message);
                    findings.push(problem.hint("choose another name").at(name_at));
                }
                None => {
                    names.insert(name.clone(), name_at);
                }
            }
        }
        let choices = [
            ("http", text.http.map(|text| Way::Http(text.value))),
            ("tcp", text.tcp.map(|text| Way::Tcp(text.value))),
            ("condition", text.condition.map(|text| Way::Condition(text.value))),
        ];
        let kind = value::one_of(findings, "one-probe", &label, choices, at).and_then(|(key, way)| {
            let subject = format!("{label}.{key}");
            if !matches!(way, Way::Condition(_)) {
                needs_address = needs_address.or(at);
            }
            match way {
                Way::Http(text) => http(findings, &subject, &text),
                Way::Tcp(text) => tcp(findings, &subject, &text),
                Way::Condition(text) => condition(findings, &subject, &text),
            }
        });
        probes = probes.zip(name.zip(kind)).map(|(mut probes, (name, kind))| {
            probes.push(Probe { name, kind });
            probes
        });
    }
    (probes, needs_address)
}

fn http(findings: &mut Findings, subject: &str, text: &HttpText) -> Option<ProbeKind> {
    let host = locator::host_name(findings, &format!("{subject}.host"), &text.host);
    let path = match &text.path {
        Some(path) => locator::http_path(findings, &format!("{subject}.path"), path),
        None => Some("/".to_owned()),
    };
    let service = locator::service(findings, &format!("{subject}.service"), &text.service);
    let expect = match &text.expect {
        Some(status) => value::status(findings, &format!("{subject}.expect"), status),
        None => Some(200),
    };
    let tls = tls(findings, subject, text);
    Some(ProbeKind::Http { host: host?, path: path?, service: service?, expect: expect?, tls: tls? })
}

/// Without a word a certificate is asked for, and it must name the host.
fn tls(findings: &mut Findings, subject: &str, text: &HttpText) -> Option<ProbeTls> {
    let word = match &text.tls {
        Some(word) => {
            let known = [("name-only", true), ("none", false)];
            Some(value::word(findings, ("unknown-tls", &format!("{subject}.tls"), "kind of TLS"), word, &known)?)
        }
        None => None,
    };
    let Some(authorities) = &text.authorities else {
        return Some(if word == Some(false) { ProbeTls::None } else { ProbeTls::NameOnly });
    };
    let subject = format!("{subject}.authorities");
    let at = place(authorities.referenced);
    if word.is_some() {
        let message = "stands beside `tls`, which names no authority";
        let hint = "remove `tls`: with authorities the certificate is always judged";
        findings.push(Problem::error("tls-twice", subject, message).hint(hint).at(at));
        return None;
    }
    if !authorities.value.contains("-----BEGIN CERTIFICATE-----") {
        let message = "holds no certificate in PEM";
        let hint = "put the text of the authority's certificate here, after `authorities: |`";
        findings.push(Problem::error("invalid-authority", subject, message).hint(hint).at(at));
        return None;
    }
    Some(ProbeTls::Authorities(authorities.value.clone()))
}

fn tcp(findings: &mut Findings, subject: &str, text: &TcpText) -> Option<ProbeKind> {
    let service = locator::service(findings, &format!("{subject}.service"), &text.service);
    let port = value::port(findings, &format!("{subject}.port"), &text.port);
    Some(ProbeKind::Tcp { service: service?, port: port? })
}

fn condition(findings: &mut Findings, subject: &str, text: &ConditionText) -> Option<ProbeKind> {
    let own = |key: &str| format!("{subject}.{key}");
    let api_version = locator::api_version(findings, &own("apiVersion"), &text.api_version);
    let kind = locator::camel(findings, &own("kind"), &text.kind, "a kind such as `Deployment`", "");
    let namespace = match &text.namespace {
        Some(namespace) => value::name(findings, &own("namespace"), namespace).map(|name| name.to_string()),
        None => Some(String::new()),
    };
    let name = locator::object_name(findings, &own("name"), &text.name);
    let wanted = "a condition such as `Available`";
    let condition = locator::camel(findings, &own("condition"), &text.condition, wanted, "-_./");
    Some(ProbeKind::Condition {
        api_version: api_version?,
        kind: kind?,
        namespace: namespace?,
        name: name?,
        condition: condition?,
    })
}
