//! How the option document and `castle.yaml` together say where secrets are kept,
//! what is said about an access that is wrong, and that no secret is ever told.

use std::io;
use std::path::Path;

use castle_core::memory::{EXAMPLE, MemorySecrets, plain_image};
use castle_core::options::SecretsAccess;
use castle_core::{ErrorKind, Options, Problem, Project, Secret, SecretStore, Sources};

const VAULT: &str =
    "infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}";

/// One file and one variable.
struct Desk;

impl Sources for Desk {
    fn file(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/house/word") => Ok("hunter2\n".to_owned()),
            Some("/house/nothing") => Ok(" \n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "CASTLE_WORD").then(|| "hunter2".to_owned())
    }
}

fn project(more: &str) -> Project {
    Project::parse(&format!("{EXAMPLE}{more}"), plain_image).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn read(options: &str) -> Result<Options, Vec<Problem>> {
    Options::parse(options, Path::new("/house"), &Desk)
}

/// Reads options for a project whose `castle.yaml` lies in `/projects/blue`.
fn read_for(store: &str, options: &str) -> Result<Options, Vec<Problem>> {
    let project = project(&if store.is_empty() { String::new() } else { format!("secrets: {{store: {{{store}}}}}\n") });
    Options::parse_for(&project, Path::new("/projects/blue"), options, Path::new("/house"), &Desk)
}

fn printed(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let place = problem.span.map_or("-".to_owned(), |span| format!("{}:{}", span.line, span.column));
        let hint = problem.hint.as_ref().map(|hint| format!(" => {hint}")).unwrap_or_default();
        format!("{place} {problem}{hint}\n")
    };
    problems.iter().map(line).collect()
}

fn place(access: &SecretsAccess) -> String {
    match access {
        SecretsAccess::Files(folder) => format!("files {}", folder.display()),
        SecretsAccess::Infisical(access) => {
            format!("vault {} {} {} {}", access.url, access.project, access.environment, access.path)
        }
        SecretsAccess::Sops { folder, key } => format!("sops {} {}", folder.display(), key.display()),
        SecretsAccess::Environment { prefix } => format!("environment {prefix}"),
        SecretsAccess::Memory => "memory".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_option_document_wins_key_by_key_and_store_by_store() {
    let enter = "client_id: id, client_secret_file: word";
    let cases = [
        // castle.yaml, the option document, where the secrets are
        ("", "secrets: {files: kept}".to_owned(), "files /house/kept"),
        ("files: kept", String::new(), "files /projects/blue/kept"),
        ("files: /kept", String::new(), "files /kept"),
        ("files: kept", "secrets: {files: other}".into(), "files /house/other"),
        (VAULT, "secrets: {files: kept}".into(), "files /house/kept"),
        (VAULT, "{lab: true, secrets: {memory: true}}".into(), "memory"),
        (
            VAULT,
            format!("secrets: {{infisical: {{{enter}}}}}"),
            "vault https://eu.infisical.com castle prod /castle/blue",
        ),
        (
            VAULT,
            format!("secrets: {{infisical: {{url: 'https://vault.lan:8443/', path: /, {enter}}}}}"),
            "vault https://vault.lan:8443 castle prod /",
        ),
        (
            "files: kept",
            format!("secrets: {{infisical: {{url: https://v, project: p, environment: e, path: /f/g, {enter}}}}}"),
            "vault https://v p e /f/g",
        ),
        (
            "sops: {folder: sealed}",
            "secrets: {sops: {key: age.txt}}".into(),
            "sops /projects/blue/sealed /house/age.txt",
        ),
        ("", "secrets: {sops: {folder: sealed, key: /age.txt}}".into(), "sops /house/sealed /age.txt"),
        ("environment: {prefix: BLUE_}", String::new(), "environment BLUE_"),
        ("environment: {prefix: BLUE_}", "secrets: {environment: {}}".into(), "environment BLUE_"),
        ("environment: {prefix: BLUE_}", "secrets: {environment: {prefix: RED_}}".into(), "environment RED_"),
    ];
    for (store, options, wanted) in cases {
        let options = if options.is_empty() { "pace: real\n".to_owned() } else { options };
        let read = read_for(store, &options).unwrap_or_else(|problems| panic!("{store} {options}: {problems:?}"));
        assert_eq!(place(&read.secrets), wanted, "{store} and {options}");
        if let SecretsAccess::Infisical(access) = &read.secrets {
            assert_eq!((access.client_id.as_str(), access.client_secret.expose().as_str()), ("id", "hunter2"));
        }
    }
}

#[test]
fn what_neither_document_says_is_asked_for() {
    let say = "say it here, or in castle.yaml under `secrets.store` for the same kind of store";
    let cases = [
        ("", "lab: false", "- secrets: does not say where secrets are kept => write `secrets: {files: DIR}`\n".to_owned()),
        ("", "secrets: {memory: false}", "1:10 secrets: does not say where secrets are kept => write `secrets: {files: DIR}`\n".into()),
        (VAULT, "lab: false",
         "- secrets: does not say how to get into the vault that castle.yaml names => write `secrets: {infisical: {client_id: ID, client_secret_env: VARIABLE}}`\n".into()),
        ("sops: {folder: sealed}", "lab: false",
         "- secrets: does not say which key opens the files that castle.yaml names => write `secrets: {sops: {key: FILE}}`\n".into()),
        ("files: kept", "secrets: {infisical: {client_id: id, client_secret: s, url: https://v}}",
         format!("1:22 secrets.infisical: has no `project` => {say}\n1:22 secrets.infisical: has no `environment` => {say}\n1:22 secrets.infisical: has no `path` => {say}\n")),
        (VAULT, "secrets: {sops: {key: age.txt}}", format!("1:17 secrets.sops: has no `folder` => {say}\n")),
        (VAULT, "secrets: {environment: {}}", format!("1:24 secrets.environment: has no `prefix` => {say}\n")),
        (VAULT, "secrets: {sops: {}}", "1:17 secrets.sops: key `key` is missing => add it to the mapping that ends here\n".into()),
        (VAULT, "secrets: {files: a, environment: {}}",
         "1:10 secrets: has more than one of `files`, `infisical`, `sops`, `environment`, `memory` => declare one of them\n".into()),
        (VAULT, "secrets: {infisical: {}}",
         "1:22 secrets.infisical: has none of `client_id`, `client_id_file`, `client_id_env` => declare one of them\n\
          1:22 secrets.infisical: has none of `client_secret`, `client_secret_file`, `client_secret_env` => declare one of them\n".into()),
    ];
    for (store, options, wanted) in cases {
        assert_eq!(printed(&read_for(store, options).expect_err(options)), wanted, "{store} and {options}");
    }
}

#[test]
fn every_refusal_names_the_key_and_the_way_out_and_no_value() {
    let vault = |more: &str| format!("secrets: {{infisical: {{{more}client_id: id, client_secret: hunter2}}}}");
    let with = |more: &str| format!("secrets: {{files: kept}}\n{more}\n");
    let cases = [
        (
            vault("url: 'https://hunter2@v', project: 'hunter2!', environment: '', path: hunter2, "),
            "1:28 secrets.infisical.url: is not the address of a server => write `https://host`, without user, path or query\n\
          1:58 secrets.infisical.project: is not a slug => copy it from the project's settings\n\
          1:83 secrets.infisical.environment: is not a slug => copy it from the project's settings\n\
          1:93 secrets.infisical.path: is not a folder of the vault => begin it with `/`, without `..` and without a slash at its end\n",
        ),
        (with("git: {}"), "2:6 git: has none of `password`, `password_file`, `password_env` => declare one of them\n"),
        (
            with("git: {password: hunter2, password_env: CASTLE_WORD}"),
            "2:6 git: has more than one of `password`, `password_file`, `password_env` => declare one of them\n",
        ),
        (
            with("git: {password_file: gone}"),
            "2:22 git.password_file: the file cannot be read: entity not found => write a path that is relative to the folder of this document\n",
        ),
        (
            with("git: {password_env: GONE}"),
            "2:21 git.password_env: the environment variable is not set => export it, or use `password_file`\n",
        ),
        (
            with("git: {password_file: nothing}"),
            "2:22 git.password_file: is empty => give the secret, or leave the mapping out\n",
        ),
        (
            with("git: {username: 'hunter2:x', password_file: word, ca: hunter2}"),
            "2:17 git.username: is not a user's name => write a name without `:`; with a token `git` will do\n\
          2:55 git.ca: holds no certificate in PEM => use the authority's certificate, or `fingerprints`\n",
        ),
        (
            with("git: {password_file: word, fingerprints: [hunter2]}"),
            "2:43 git.fingerprints: is not the SHA-256 of a certificate => write 32 bytes as `AA:BB:..`\n",
        ),
        (with("git: {pasword: hunter2}"), "2:7 git: unknown key => did you mean `password`?\n"),
        (
            with("identity: {client_id: hunter2}"),
            "2:11 identity: has none of `client_secret`, `client_secret_file`, `client_secret_env` => declare one of them\n",
        ),
        (
            with("identity: {client_id: hunter2, client_secret: ''}"),
            "2:47 identity.client_secret: is empty => give the secret, or leave the mapping out\n",
        ),
        (
            "secrets: {environment: {prefix: hunter-2}}".into(),
            "1:33 secrets.environment.prefix: is not the beginning of variables => write it as `CASTLE_SECRET_`\n",
        ),
        (
            "secrets: {files: ''}".into(),
            "1:18 secrets.files: is not a path => write a path that is relative to the folder of this document\n",
        ),
    ];
    for (text, wanted) in cases {
        let problems = read(&text).expect_err(&text);
        assert_eq!(printed(&problems), wanted, "{text}");
        assert!(!format!("{problems:?}").contains("hunter"), "{problems:?}");
    }
}

#[test]
fn servers_may_be_known_by_name() {
    let dial =
        |from: &str| read(&format!("secrets: {{files: kept}}\ndial: [{{from: '{from}', to: 127.0.0.1:4000}}]\n"));
    let map = dial("Git.castle.internal:443").expect("good").dial;
    let found = map.resolve_name("git.CASTLE.internal", 443).expect("mapped");
    assert_eq!(found, Some("127.0.0.1:4000".parse().expect("good")));
    // The map is exclusive, for names and addresses alike.
    let unmapped = map.resolve_name("git.castle.internal", 80).expect_err("another port");
    assert_eq!(unmapped.kind(), ErrorKind::Unreachable);
    assert!(map.resolve("192.168.1.10:8006".parse().expect("good")).is_err());
    for slip in ["192.168.1.256:443", "git.castle.internal", "git.castle.internal:0", "git castle:1", "-a:1", ":443"] {
        let told = printed(&dial(slip).expect_err(slip));
        assert!(told.starts_with("2:15 dial.from: is neither an address nor a name with a port"), "{slip}: {told}");
    }
    let twice = "dial: [{from: 'a.b:1', to: 127.0.0.1:1}, {from: 'A.b:1', to: 127.0.0.1:2}]\nsecrets: {files: kept}\n";
    assert_eq!(
        printed(&read(twice).expect_err("twice")),
        "1:49 dial.from: is mapped twice => keep one of the entries\n"
    );
}

#[test]
fn no_refusal_and_no_debug_tells_a_secret() {
    let good = "\
secrets:
  infisical:
    url: https://eu.infisical.com
    project: castle
    environment: prod
    path: /castle
    client_id: id
    client_secret_file: word
git: {username: git, password_env: CASTLE_WORD}
identity: {client_id: id, client_secret_file: word}
dial: [{from: git.castle.internal:443, to: 127.0.0.1:4000}]
";
    let options = read(good).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(!format!("{options:?}").contains("hunter2"), "{options:?}");
    assert!(options.render().expose().contains("hunter2"), "what is rendered can be read back");
    for at in 0..good.len() {
        // The secret lands in every place a slip of the hand could put it.
        let text = format!("{}hunter2{}", &good[..at], &good[at..]);
        if let Err(problems) = read(&text) {
            assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
        }
    }
}

#[tokio::test]
async fn the_repositorys_token_comes_from_the_secret_that_castle_yaml_names() {
    let gitops = |credentials: &str| {
        project(&format!(
            "gitops: {{repository: {{url: https://g/x.git, branch: main, path: a{credentials}}}, seed: [namespaces, flux]}}\n"
        ))
    };
    let named = gitops(", credentials: {secret: git}");
    let options = || read("secrets: {files: kept}\n").expect("good");
    let store = MemorySecrets::new();

    let absent = options().complete_git(&named, &store).await.expect_err("no such secret");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert_eq!(absent.to_string(), "the secret `git`, the repository's token, does not exist");

    let key = "git".parse().expect("a key");
    store.put(&key, &Secret::new(vec![0xFF, 0xFE])).await.expect("written");
    let garbled = options().complete_git(&named, &store).await.expect_err("no text");
    assert_eq!(garbled.kind(), ErrorKind::InvalidSpec);

    store.put(&key, &Secret::new(b"hunter2\n".to_vec())).await.expect("written");
    let mut taken = options();
    taken.complete_git(&named, &store).await.expect("taken");
    let git = taken.git.expect("taken");
    assert_eq!((git.username.as_str(), git.password.expose().as_str(), git.trust), ("git", "hunter2", None));

    let mut own = read("secrets: {files: kept}\ngit: {username: me, password: mine}\n").expect("good");
    own.complete_git(&named, &store).await.expect("left alone");
    assert_eq!(own.git.expect("its own").password.expose(), "mine");

    let mut unnamed = options();
    unnamed.complete_git(&gitops(""), &store).await.expect("nothing to do");
    assert!(unnamed.git.is_none());
}
