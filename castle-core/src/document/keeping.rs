//! `secrets`, `escrow` and `datasets` of a `castle.yaml`: what is kept, and where.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::handover::{Dataset, Escrow};
use crate::project::SecretsPlace;
use crate::value::locator::{self, UrlPath};
use crate::value::{self, Findings, on_line};
use crate::yaml::place;
use crate::{Name, Problem, SecretKey, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretsText {
    store: Spanned<StoreText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreText {
    infisical: Option<InfisicalText>,
    files: Option<Spanned<String>>,
    sops: Option<SopsText>,
    environment: Option<EnvironmentText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InfisicalText {
    url: Spanned<String>,
    project: Spanned<String>,
    environment: Spanned<String>,
    path: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SopsText {
    folder: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentText {
    prefix: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EscrowText {
    kubeconfig: Option<Spanned<String>>,
    talosconfig: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatasetText {
    name: Spanned<String>,
    what: Spanned<String>,
}

/// Which of the ways a store speaks of.
enum Way {
    Infisical(Box<InfisicalText>),
    Files(Spanned<String>),
    Sops(SopsText),
    Environment(EnvironmentText),
}

/// Where the secrets shall be kept.
pub(crate) fn secrets(findings: &mut Findings, text: SecretsText) -> Option<SecretsPlace> {
    let subject = "secrets.store";
    let at = place(text.store.referenced);
    let store = text.store.value;
    let choices = [
        ("infisical", store.infisical.map(|text| Way::Infisical(Box::new(text)))),
        ("files", store.files.map(Way::Files)),
        ("sops", store.sops.map(Way::Sops)),
        ("environment", store.environment.map(Way::Environment)),
    ];
    let (key, way) = value::one_of(findings, "one-store", subject, choices, at)?;
    let own = |part: &str| format!("{subject}.{key}.{part}");
    match way {
        Way::Files(folder) => locator::local_path(findings, &format!("{subject}.files"), &folder)
            .map(PathBuf::from)
            .map(SecretsPlace::Files),
        Way::Sops(text) => {
            locator::local_path(findings, &own("folder"), &text.folder).map(PathBuf::from).map(SecretsPlace::Sops)
        }
        Way::Environment(text) => {
            let prefix = locator::variable_prefix(findings, &own("prefix"), &text.prefix)?;
            Some(SecretsPlace::Environment { prefix })
        }
        Way::Infisical(text) => {
            let wanted = "write `https://host`, without a path";
            let url = locator::https_url(findings, (&own("url"), wanted), &text.url, UrlPath::Forbidden);
            let project = locator::slug(findings, &own("project"), &text.project);
            let environment = locator::slug(findings, &own("environment"), &text.environment);
            let path = locator::vault_folder(findings, &own("path"), &text.path);
            Some(SecretsPlace::Infisical { url: url?, project: project?, environment: environment?, path: path? })
        }
    }
}

/// Where an administrator's credentials are put: two names, outside of castle's
/// own corner of the store.
/// `taken` are the other secrets that `castle.yaml` names, each with its place there.
pub(crate) fn escrow(
    findings: &mut Findings,
    text: EscrowText,
    project: Option<&Name>,
    taken: &[(&str, &SecretKey)],
) -> Option<Escrow> {
    let mut read = |key: &str, declared: &Option<Spanned<String>>| -> Option<Option<SecretKey>> {
        let Some(declared) = declared else { return Some(None) };
        let subject = format!("escrow.{key}");
        let secret = locator::secret_key(findings, &subject, declared)?;
        if let Some(project) = project.filter(|project| secret.is_below(project.as_str())) {
            let message = format!("`{secret}` lies where castle keeps its own secrets, below `{project}`");
            let problem = Problem::error("escrow-reserved", subject, message);
            findings.push(problem.hint("choose a name outside of it").at(place(declared.referenced)));
            return None;
        }
        if let Some((owner, _)) = taken.iter().find(|(_, key)| **key == secret) {
            let message = format!("has the same name as `{owner}`, so the credential would overwrite what is there");
            let problem = Problem::error("escrow-twice", subject, message);
            findings.push(problem.hint("choose another name").at(place(declared.referenced)));
            return None;
        }
        Some(Some(secret))
    };
    let kubeconfig = read("kubeconfig", &text.kubeconfig);
    let talosconfig = read("talosconfig", &text.talosconfig);
    let escrow = Escrow { kubeconfig: kubeconfig?, talosconfig: talosconfig? };
    if escrow.kubeconfig.is_some() && escrow.kubeconfig == escrow.talosconfig {
        let message = "has the same name as `escrow.kubeconfig`, so one would overwrite the other";
        let at = text.talosconfig.as_ref().and_then(|text| place(text.referenced));
        findings.push(Problem::error("escrow-twice", "escrow.talosconfig", message).hint("choose another name").at(at));
        return None;
    }
    Some(escrow)
}

/// The data that must be proved safe before anything is destroyed.
pub(crate) fn datasets(findings: &mut Findings, texts: &[Spanned<DatasetText>]) -> Option<Vec<Dataset>> {
    let mut names: BTreeMap<Name, Option<Span>> = BTreeMap::new();
    let mut datasets = Some(Vec::with_capacity(texts.len()));
    for (index, text) in texts.iter().enumerate() {
        let subject = format!("datasets[{index}]");
        let (name_at, what_at) = (place(text.value.name.referenced), place(text.value.what.referenced));
        let name = value::name(findings, &format!("{subject}.name"), &text.value.name);
        let what = text.value.what.value.trim();
        if what.is_empty() || what.contains(char::is_control) {
            let message = "does not say in one line what the data is";
            let hint = "write what would be lost: it is shown to whoever is about to destroy it";
            findings.push(Problem::error("invalid-dataset", format!("{subject}.what"), message).hint(hint).at(what_at));
            datasets = None;
        }
        let Some(name) = name else {
            datasets = None;
            continue;
        };
        if let Some(first) = names.get(&name) {
            let message = format!("name {name} is taken already{}", on_line(*first));
            findings
                .push(Problem::error("duplicate-dataset", subject, message).hint("choose another name").at(name_at));
        }
        names.entry(name.clone()).or_insert(name_at);
        if let Some(datasets) = &mut datasets {
            datasets.push(Dataset { name: name.to_string(), what: what.to_owned() });
        }
    }
    datasets
}
