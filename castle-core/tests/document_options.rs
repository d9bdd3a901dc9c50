//! What the option document accepts, what it says about what it refuses, and that it never tells a secret.

use std::io;
use std::path::Path;

use castle_core::clock::Pace;
use castle_core::options::{
    DialMap, GitAccess, InfisicalAccess, MachineIdentity, MaintenanceAccess, ProxmoxAccess, SecretsAccess, Trust,
};
use castle_core::{Options, Problem, Secret, Sources};

const TOKEN: &str = "castle@pve!main=5d0b2c1e-7a34-4c7e-9d3f-0a1b2c3d4e5f";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const GOOD: &str = "\
proxmox:
  url: https://192.168.1.10:8006
  token_file: token
  ca_file: /etc/pve-root-ca.pem
secrets: {files: secrets}
";

/// Two files and one variable.
struct Desk;

impl Sources for Desk {
    fn file(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/house/token") => Ok(format!("{TOKEN}\n")),
            Some("/etc/pve-root-ca.pem") => Ok(PEM.to_owned()),
            Some("/house/word") => Ok("odd #word\n".to_owned()),
            Some("/house/id") => Ok("id".to_owned()),
            Some("/house/nothing") => Ok(" \n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "CASTLE_TOKEN" => Some(TOKEN.to_owned()),
            "CASTLE_WORD" => Some("odd #word".to_owned()),
            "CASTLE_ID" => Some("id".to_owned()),
            _ => None,
        }
    }
}

fn read(text: &str) -> Result<Options, Vec<Problem>> {
    Options::parse(text, Path::new("/house"), &Desk)
}

fn refused(text: &str) -> String {
    let line = |problem: &Problem| {
        let place = problem.span.map_or("-".to_owned(), |span| format!("{}:{}", span.line, span.column));
        let hint = problem.hint.as_ref().map(|hint| format!(" => {hint}")).unwrap_or_default();
        format!("{place} {problem}{hint}\n")
    };
    read(text).expect_err(text).iter().map(line).collect()
}

fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from} is in the document");
    GOOD.replacen(from, to, 1)
}

#[test]
fn files_and_variables_are_read_through_the_sources() {
    for text in [GOOD.to_owned(), changed("token_file: token", "token_env: CASTLE_TOKEN")] {
        let options = read(&text).expect("a good document");
        let access = options.proxmox.expect("declared");
        assert_eq!((access.url.as_str(), access.token.expose().as_str()), ("https://192.168.1.10:8006", TOKEN));
        assert_eq!(access.trust, Trust::Authorities(PEM.to_owned()));
        assert!(matches!(options.secrets, SecretsAccess::Files(folder) if folder == Path::new("/house/secrets")));
        assert!(options.git.is_none() && options.identity.is_none());
        assert_eq!(
            (options.dial, options.source, options.pace, options.lab),
            (DialMap::direct(), None, Pace::Real, false)
        );
    }
}

#[test]
fn every_secret_may_be_given_here_in_a_file_or_in_a_variable() {
    let ways = [
        "password: 'odd #word'\nidentity: {client_id: id, client_secret: 'odd #word'}",
        "password_file: word\nidentity: {client_id_file: id, client_secret_file: word}",
        "password_env: CASTLE_WORD\nidentity: {client_id_env: CASTLE_ID, client_secret_env: CASTLE_WORD}",
    ];
    for way in ways {
        let options = read(&format!("{GOOD}git:\n  {way}\n")).unwrap_or_else(|problems| panic!("{way}: {problems:?}"));
        let git = options.git.expect("declared");
        assert_eq!(
            (git.username.as_str(), git.password.expose().as_str(), git.trust),
            ("git", "odd #word", None),
            "{way}"
        );
        let identity = options.identity.expect("declared");
        assert_eq!(
            (identity.client_id.expose().as_str(), identity.client_secret.expose().as_str()),
            ("id", "odd #word")
        );
    }
}

/// Everything that options hold, secrets included.
fn shown(options: &Options) -> String {
    let git = options.git.as_ref().map(|git| (&git.username, git.password.expose(), &git.trust));
    let identity =
        options.identity.as_ref().map(|identity| (identity.client_id.expose(), identity.client_secret.expose()));
    let proxmox = options.proxmox.as_ref().map(|access| access.token.expose());
    let vault = match &options.secrets {
        SecretsAccess::Infisical(access) => Some(access.client_secret.expose()),
        _ => None,
    };
    format!("{options:?} {git:?} {identity:?} {proxmox:?} {vault:?}")
}

#[test]
fn what_is_rendered_reads_back() {
    let access = |trust| ProxmoxAccess { url: "https://pve:8006".into(), token: Secret::new(TOKEN.into()), trust };
    let odd = || Secret::new(String::from(" 'odd': \"#word\" {x} \\n "));
    let house = Options {
        proxmox: Some(access(Trust::Fingerprints(vec![[0xAB; 32], [1; 32]]))),
        maintenance: MaintenanceAccess::default(),
        secrets: SecretsAccess::Files("/var/lib/castle: a # strange folder".into()),
        git: None,
        identity: None,
        dial: DialMap::direct(),
        source: None,
        pace: Pace::Real,
        lab: false,
    };
    let dial = [("192.168.1.10:8006".parse().expect("good"), "127.0.0.1:4000".parse().expect("good"))];
    let names = [(("git.castle.internal".to_owned(), 443), "127.0.0.1:4001".parse().expect("good"))];
    let lab = Options {
        proxmox: Some(access(Trust::Authorities(PEM.to_owned()))),
        maintenance: MaintenanceAccess { pins: [("blue-cp-01".to_owned(), [7; 32])].into(), trust_on_first_use: true },
        secrets: SecretsAccess::Memory,
        git: Some(GitAccess {
            username: "lab user".into(),
            password: odd(),
            trust: Some(Trust::Authorities(PEM.to_owned())),
        }),
        identity: Some(MachineIdentity { client_id: odd(), client_secret: Secret::new("012".into()) }),
        dial: DialMap::exclusive(dial).with_names(names.clone()),
        source: Some("127.42.0.1".parse().expect("good")),
        pace: Pace::scaled(60.0).unwrap(),
        lab: true,
    };
    let vault = |trust| {
        SecretsAccess::Infisical(Box::new(InfisicalAccess {
            url: "https://eu.infisical.com".into(),
            project: "castle".into(),
            environment: "prod".into(),
            path: "/".into(),
            client_id: "5d0b".into(),
            client_secret: odd(),
            trust,
        }))
    };
    let others = [
        Options { proxmox: None, dial: DialMap::exclusive([]), ..house.clone() },
        Options { dial: DialMap::direct().with_names(names), ..house.clone() },
        Options { secrets: vault(None), ..house.clone() },
        Options { secrets: vault(Some(Trust::Fingerprints(vec![[9; 32]]))), ..house.clone() },
        Options { secrets: vault(Some(Trust::Authorities(PEM.into()))), ..house.clone() },
        Options { secrets: SecretsAccess::Environment { prefix: "CASTLE_".into() }, ..house.clone() },
        Options {
            secrets: SecretsAccess::Sops { folder: "/house/sealed".into(), key: "/etc/age keys".into() },
            git: Some(GitAccess { username: "git".into(), password: odd(), trust: None }),
            ..house.clone()
        },
    ];
    for options in others.into_iter().chain([lab, house]) {
        let text = options.render();
        let again = read(text.expose()).unwrap_or_else(|problems| panic!("{problems:?}\n{}", text.expose()));
        assert_eq!(shown(&again), shown(&options));
        assert_eq!(again.render().expose(), text.expose());
    }
}

#[test]
fn an_absent_dial_map_dials_directly_and_an_empty_one_dials_nothing() {
    let house = "192.168.1.10:8006".parse().expect("good");
    assert!(read(GOOD).expect("good").dial.resolve(house).is_ok());
    assert!(read(&format!("{GOOD}dial: []\n")).expect("good").dial.resolve(house).is_err());
    let mapped = read(&format!("{GOOD}dial: [{{from: 192.168.1.10:8006, to: 127.0.0.1:4000}}]\n")).expect("good").dial;
    assert_eq!(mapped.resolve(house).expect("mapped"), "127.0.0.1:4000".parse().expect("good"));
}

#[test]
fn every_refusal_names_the_key_and_the_way_out() {
    let one = "declare one of them";
    let broken = "cannot be read as YAML from here on => see whether a quote or a bracket is left open, a blank is \
                  missing behind a colon, or a line is indented unlike its neighbours\n";
    let cases = [
        (changed("url:", "ulr:"), "2:3 proxmox: unknown key => did you mean `url`?\n".to_owned()),
        (changed("secrets: {files: secrets}\n", ""), "- secrets: does not say where secrets are kept => write `secrets: {files: DIR}`\n".into()),
        (changed("{files: secrets}", "{memory: true}"),
         "5:10 secrets: `memory` forgets the project's key at the end of the run => use `files` with a folder; `memory` is for a lab\n".into()),
        (changed("{files: secrets}", "{memory: yes}"), "5:19 secrets.memory: is not `true` or `false`\n".into()),
        (changed("  token_file: token", "\ttoken_file: token"),
         "2:8 proxmox.url: cannot be read as YAML from here on => indent with blanks: YAML takes no tab there\n".into()),
        (format!("{GOOD}dial: {{from: a, to: b}}\n"), "6:7 dial: is not a list\n".into()),
        (changed("token_file: token", "token_file: [hunter2]"), "3:15 proxmox.token_file: is not a text\n".into()),
        (changed("token_file: token", "token_file: 'hunter2"), format!("4:3 proxmox.ca_file: {broken}")),
        (changed("  url: https://192.168.1.10:8006\n", ""), "3:3 proxmox: key `url` is missing => add it to the mapping that ends here\n".into()),
        (changed("token_file: token", "token_file: *hunter2"),
         "3:15 proxmox.token_file: cannot be read as YAML from here on => put a text that begins with `*`, `&` or `!` into quotes\n".into()),
        (changed("token_file: token", "token_file: token\n  token_file: hunter2"), "4:3 proxmox.token_file: a key appears twice (line 3) => remove one of the two\n".into()),
        (changed("proxmox:", "hunter2:"),
         "1:1 options: unknown key => known here: proxmox, talos, secrets, git, identity, dial, source, pace, lab\n".into()),
        (changed("  token_file: token\n", ""), format!("2:3 proxmox: has none of `token`, `token_file`, `token_env` => {one}\n")),
        (changed("token_file: token\n", &format!("token_file: token\n  token: {TOKEN}\n")),
         format!("2:3 proxmox: has more than one of `token`, `token_file`, `token_env` => {one}\n")),
        (changed("token_file: token", "token_file: gone"),
         "3:15 proxmox.token_file: the file cannot be read: entity not found => write a path that is relative to the folder of this document\n".into()),
        (changed("token_file: token", "token_env: GONE"),
         "3:14 proxmox.token_env: the environment variable is not set => export it, or use `token_file`\n".into()),
        (changed("token_file: token", "token: hunter2"),
         "3:10 proxmox.token: is not an API token => write it as `user@realm!name=uuid`; the uuid is shown once, when the token is made\n".into()),
        (changed("  ca_file: /etc/pve-root-ca.pem\n", ""), format!("2:3 proxmox: has none of `ca`, `ca_file`, `fingerprints` => {one}\n")),
        (changed("ca_file:", "fingerprints: []\n  ca_file:"), format!("2:3 proxmox: has more than one of `ca`, `ca_file`, `fingerprints` => {one}\n")),
        (changed("ca_file: /etc/pve-root-ca.pem", "fingerprints: []"),
         "2:3 proxmox.fingerprints: is empty, so no host could be trusted => declare the SHA-256 of the host's certificate\n".into()),
        (changed("ca_file: /etc/pve-root-ca.pem", "fingerprints: [AA:BB]"),
         "4:18 proxmox.fingerprints: is not the SHA-256 of a certificate => write 32 bytes as `AA:BB:..`\n".into()),
        (changed("ca_file: /etc/pve-root-ca.pem", "ca: hunter2"),
         "4:7 proxmox.ca: holds no certificate in PEM => use the host's /etc/pve/pve-root-ca.pem, or `fingerprints`\n".into()),
        (format!("{GOOD}pace: 60x\n"), "6:7 pace: only a lab can be faster than the clock => remove it, or say `lab: true`\n".into()),
        (format!("{GOOD}pace: hunter2\nsource: hunter2\n"),
         "6:7 pace: is not a pace => use `virtual`, `real`, or a factor from `0.001x` to `100000x` such as `60x`\n7:9 source: is not an IP address\n".into()),
        (format!("{GOOD}dial: [{{from: 'pve_1:8006', to: 127.0.0.1}}]\n"),
         "6:15 dial.from: is neither an address nor a name with a port => write `192.168.1.10:8006` or `git.example.net:443`\n6:33 dial.to: is not an address with a port\n".into()),
        (format!("{GOOD}dial: [{{from: 1.1.1.1:1, to: 1.1.1.1:2}}, {{from: 1.1.1.1:1, to: 1.1.1.1:3}}]\n"),
         "6:49 dial.from: is mapped twice => keep one of the entries\n".into()),
    ];
    for (text, wanted) in cases {
        assert_eq!(refused(&text), wanted, "{text}");
    }
    for url in [
        "http://pve:8006",
        "https://",
        "https://root:x@pve:8006",
        "https://pve:0",
        "https://pve:8006/api2",
        "https://p ve",
        "https://[fe80",
        "pve",
    ] {
        let wanted =
            "2:8 proxmox.url: is not the address of an API => write `https://host:8006`, without user, path or query\n";
        assert_eq!(refused(&changed("https://192.168.1.10:8006", url)), wanted, "{url}");
    }
    for url in ["https://pve", "https://pve.lan:8006/", "https://[fd00::10]:8006"] {
        assert!(read(&changed("https://192.168.1.10:8006", url)).is_ok(), "{url}");
    }
}

#[test]
fn no_refusal_tells_a_value() {
    let secret = "hunter2-5d0b2c1e";
    for at in 0..GOOD.len() {
        // The secret lands in every place a slip of the hand could put it.
        let text = format!("{}{secret}{}", &GOOD[..at], &GOOD[at..]);
        if let Err(problems) = read(&text) {
            assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
        }
    }
    let options = read(&changed("token_file: token", &format!("token: {TOKEN}"))).expect("good");
    assert!(!format!("{options:?}").contains("5d0b2c1e"));
}

/// What may be quoted is what the readers know, and nothing else.
#[test]
fn the_keys_that_may_be_quoted_are_those_that_are_read() {
    let mut known = std::collections::BTreeSet::new();
    let places = [
        "x?: 1",
        "proxmox: {x?: 1}",
        "talos: {x?: 1}",
        "secrets: {x?: 1}",
        "secrets: {infisical: {x?: 1}}",
        "secrets: {sops: {x?: 1}}",
        "secrets: {environment: {x?: 1}}",
        "git: {x?: 1}",
        "identity: {x?: 1}",
        "dial: [{x?: 1}]",
    ];
    for text in places {
        let problems = read(text).expect_err(text);
        let hint = problems[0].hint.as_deref().expect("a way out");
        let keys = hint.strip_prefix("known here: ").unwrap_or_else(|| panic!("{text}: {hint}"));
        known.extend(keys.split(", ").map(str::to_owned));
    }
    assert_eq!(known.into_iter().collect::<Vec<_>>(), Options::KEYS);
}

/// A slip of indentation, or of the clipboard, puts a token where a node's name belongs.
#[test]
fn a_token_in_the_place_of_a_node_s_name_is_not_quoted() {
    let text = format!("{GOOD}talos:\n  pins:\n    {TOKEN}: x\n");
    let problems = read(&text).map(drop).expect_err("no fingerprint");
    let told: Vec<_> =
        problems.iter().map(|problem| (problem.to_string(), problem.span.map(|span| span.line))).collect();
    assert_eq!(told, [("talos.pins: holds what is not a fingerprint".to_owned(), Some(8))]);
    assert!(!format!("{problems:?}").contains(TOKEN), "{problems:?}");
}
