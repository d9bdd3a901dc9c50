//! `gitops` of a `castle.yaml`: the repository, the seed, and where its manifests come from.

use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::handover::{HandoverSpec, ManifestSource, Repository, SeedPart};
use crate::value::locator::{self, UrlPath};
use crate::value::{self, Findings, on_line};
use crate::yaml::place;
use crate::{Problem, SecretKey, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitOpsText {
    repository: RepositoryText,
    seed: Spanned<Vec<Spanned<String>>>,
    flux: Option<Spanned<SourceText>>,
    external_secrets: Option<Spanned<SourceText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryText {
    url: Spanned<String>,
    branch: Spanned<String>,
    path: Spanned<String>,
    credentials: Option<CredentialsText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsText {
    secret: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceText {
    repository: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
}

impl GitOpsText {
    /// The handover, and the secret that holds the repository's token.
    pub fn read(self, findings: &mut Findings) -> (Option<HandoverSpec>, Option<SecretKey>) {
        let text = self.repository;
        let wanted = "write `https://host/path.git`; castle reads the repository over https";
        let url = locator::https_url(findings, ("gitops.repository.url", wanted), &text.url, UrlPath::Needed);
        let branch = locator::branch(findings, "gitops.repository.branch", &text.branch);
        let path = locator::repository_path(findings, "gitops.repository.path", &text.path);
        let credentials = text.credentials.and_then(|credentials| {
            locator::secret_key(findings, "gitops.repository.credentials.secret", &credentials.secret)
        });
        let external_secrets_at = self.external_secrets.as_ref().and_then(|text| place(text.referenced));
        let has_external_secrets = self.external_secrets.is_some();
        let seed = seed(findings, &self.seed, has_external_secrets);
        let flux = self.flux.map(|text| source(findings, "gitops.flux", text));
        let external_secrets = self.external_secrets.map(|text| source(findings, "gitops.external_secrets", text));
        if let (Some(seed), true) = (&seed, has_external_secrets)
            && !seed.contains(&SeedPart::ExternalSecrets)
        {
            let message = "is not planted, because `external-secrets` is not in the seed";
            let problem = Problem::warning("unused-source", "gitops.external_secrets", message);
            findings.push(problem.hint("add it to `seed`, or remove the source").at(external_secrets_at));
        }
        let assemble = || {
            Some(HandoverSpec {
                repository: Repository { url: url?, branch: branch?, path: path? },
                seed: seed?,
                flux: transposed(flux)?,
                external_secrets: transposed(external_secrets)?,
            })
        };
        (assemble(), credentials)
    }
}

/// `Some(None)` is what was not declared, `None` what was refused.
fn transposed<T>(declared: Option<Option<T>>) -> Option<Option<T>> {
    declared.map_or(Some(None), |read| read.map(Some))
}

/// The parts of the seed: each once, in the order of planting, none without what
/// it stands on.
fn seed(
    findings: &mut Findings,
    texts: &Spanned<Vec<Spanned<String>>>,
    has_external_secrets: bool,
) -> Option<Vec<SeedPart>> {
    let subject = "gitops.seed";
    let known = SeedPart::ALL.map(|part| (part.name(), part));
    let mut parts: Vec<(SeedPart, Option<Span>)> = Vec::with_capacity(texts.value.len());
    let mut every_word_is_known = true;
    for text in &texts.value {
        let Some(part) = value::word(findings, ("unknown-seed", subject, "part"), text, &known) else {
            every_word_is_known = false;
            continue;
        };
        let at = place(text.referenced);
        let mut refuse = |code: &'static str, message: String, hint: String| {
            findings.push(Problem::error(code, subject, message).hint(hint).at(at));
        };
        if let Some((_, first)) = parts.iter().find(|(other, _)| *other == part) {
            refuse("duplicate-seed", format!("`{part}` appears twice{}", on_line(*first)), "remove one".into());
            continue;
        }
        if let Some((later, _)) = parts.iter().find(|(other, _)| *other > part) {
            let order = SeedPart::ALL.map(SeedPart::name).join(", ");
            refuse(
                "seed-order",
                format!("`{part}` stands behind `{later}`, but is planted before it"),
                format!("the order is {order}"),
            );
        }
        parts.push((part, at));
    }
    if !every_word_is_known {
        return None; // what was misspelt would be missed below as well
    }
    let has = |wanted: SeedPart| parts.iter().any(|(part, _)| *part == wanted);
    let mut missing = |code: &'static str, message: String, hint: String, at: Option<Span>| {
        findings.push(Problem::error(code, subject, message).hint(hint).at(at));
    };
    if !has(SeedPart::Flux) {
        let message = "has no `flux`, so nothing would ever follow the repository".to_owned();
        missing("seed-incomplete", message, "add `flux` at its end".into(), place(texts.referenced));
    }
    for (part, at) in &parts {
        for ground in grounds(*part) {
            if !has(*ground) {
                let message = format!("`{part}` needs `{ground}`");
                missing("seed-incomplete", message, format!("add `{ground}` before it"), *at);
            }
        }
        if *part == SeedPart::ExternalSecrets && !has_external_secrets {
            let hint = "add `gitops.external_secrets: {repository: FILE}`, or `{url, sha256}`, or `{file}`";
            missing("seed-incomplete", format!("`{part}` has no manifest"), hint.into(), *at);
        }
    }
    Some(parts.into_iter().map(|(part, _)| part).collect())
}

/// What a part stands on.
fn grounds(part: SeedPart) -> &'static [SeedPart] {
    match part {
        SeedPart::Namespaces => &[],
        SeedPart::ExternalSecrets | SeedPart::GitCredentials | SeedPart::Flux => &[SeedPart::Namespaces],
        SeedPart::MachineIdentity => &[SeedPart::Namespaces, SeedPart::ExternalSecrets],
    }
}

/// Which of the three ways a source speaks of.
enum Way {
    Repository(Spanned<String>),
    Url(Spanned<String>),
    File(Spanned<String>),
}

fn source(findings: &mut Findings, subject: &str, text: Spanned<SourceText>) -> Option<ManifestSource> {
    let at = place(text.referenced);
    let text = text.value;
    let choices = [
        ("repository", text.repository.map(Way::Repository)),
        ("url", text.url.map(Way::Url)),
        ("file", text.file.map(Way::File)),
    ];
    let (key, way) = value::one_of(findings, "one-source", subject, choices, at)?;
    let here = format!("{subject}.{key}");
    let digest_subject = format!("{subject}.sha256");
    let digest_is_declared = text.sha256.is_some();
    let digest = text.sha256.and_then(|digest| locator::sha256(findings, &digest_subject, &digest));
    if digest_is_declared != matches!(way, Way::Url(_)) {
        // What a server sends today it may not have sent yesterday.
        let (message, hint) = match way {
            Way::Url(_) => (
                "has a `url` without the SHA-256 of its content",
                "add `sha256`: download the manifest, read it, and run `sha256sum` on it",
            ),
            _ => (
                "has a `sha256` without a `url`",
                "remove it: the repository and this folder have histories of their own",
            ),
        };
        findings.push(Problem::error("source-digest", subject, message).hint(hint).at(at));
    }
    match way {
        Way::Repository(path) => locator::repository_path(findings, &here, &path).map(ManifestSource::Repository),
        Way::File(path) => locator::local_path(findings, &here, &path).map(PathBuf::from).map(ManifestSource::File),
        Way::Url(url) => {
            let wanted = "write the `https` address of the manifest";
            let url = locator::https_url(findings, (&here, wanted), &url, UrlPath::Needed);
            Some(ManifestSource::Url { url: url?, sha256: digest? })
        }
    }
}
