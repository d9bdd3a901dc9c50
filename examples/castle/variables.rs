//! The variables of the environment that castle reads, all of them.
//!
//! The libraries read none; whatever is asked of the environment is asked here, and
//! `docs/environment.md` is printed from the table below.

/// A variable with a meaning of its own.
pub struct Variable {
    /// Its name, or what names it.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
}

/// Whether colours are wanted: no.
pub const NO_COLOR: &str = "NO_COLOR";
/// Whether colours are wanted: not by default.
pub const CLICOLOR: &str = "CLICOLOR";
/// Whether colours are wanted: always.
pub const CLICOLOR_FORCE: &str = "CLICOLOR_FORCE";
/// What the terminal can do.
pub const TERM: &str = "TERM";

/// All of them.
pub const VARIABLES: [Variable; 11] = [
    Variable {
        name: NO_COLOR,
        what: "If it is set and not empty, nothing is coloured, whatever the others say. Progress is still drawn on a \
               terminal, without colours.",
    },
    Variable {
        name: CLICOLOR_FORCE,
        what: "If it is set and not `0`, colours are printed even where no terminal listens. It draws no progress \
               there.",
    },
    Variable { name: CLICOLOR, what: "If it is `0`, nothing is coloured." },
    Variable {
        name: TERM,
        what: "If it is `dumb`, nothing is coloured and the cursor stays where it is: progress comes as plain lines.",
    },
    Variable {
        name: "COLUMNS",
        what: "How wide the text of `--help` is where the terminal does not say it. It is never wider than 80 columns.",
    },
    Variable {
        name: "`token_env`",
        what: "The option document may name the variable that holds the token of Proxmox VE, in \
               `proxmox.token_env`. It is read once, when the document is.",
    },
    Variable {
        name: "`password_env`",
        what: "The option document may name the variable that holds the token or password for the GitOps \
               repository, in `git.password_env`.",
    },
    Variable {
        name: "`client_id_env`, `client_secret_env`",
        what: "The option document may name the variables that hold a machine identity of Infisical, in \
               `secrets.infisical` and `identity`.",
    },
    Variable {
        name: "`secrets.environment.prefix`",
        what: "A store of secrets in the environment: each secret is a variable that begins with this prefix. Only \
               read; castle cannot keep a new life there.",
    },
    Variable {
        name: "SSL_CERT_FILE, SSL_CERT_DIR",
        what: "Where the authorities are that the system trusts, for servers that are judged by them: the host of \
               the GitOps repository and Infisical, where the option document names no authority of their own. \
               Proxmox VE, Talos and Kubernetes are never judged by them.",
    },
    Variable {
        name: "RUST_BACKTRACE",
        what: "If it is `1` and castle ends by a mistake of its own, the place is printed. Errors of your house \
               have no need of it.",
    },
];

/// What a variable says; nothing if it is not set or is no text.
#[allow(clippy::disallowed_methods)]
pub fn read(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The whole environment, for a store of secrets that lives there.
pub fn all() -> std::env::VarsOs {
    std::env::vars_os()
}

/// The table as a document.
pub fn markdown() -> String {
    let mut text = String::from(
        "# The environment\n\nEvery variable that castle reads. This page is printed by `castle explain --variables \
         --markdown`; a test\ncompares it with the source.\n\n| variable | what it does |\n|---|---|\n",
    );
    for Variable { name, what } in &VARIABLES {
        let name = if name.contains('`') { (*name).to_owned() } else { format!("`{}`", name.replace(", ", "`, `")) };
        text += &format!("| {name} | {what} |\n");
    }
    text += "\nWhere tokens are concerned the option document may name a file instead (`token_file` and the like), or \
             hold\nthe secret itself; see `examples/projects/house/options.example.yaml`.\n";
    text
}
